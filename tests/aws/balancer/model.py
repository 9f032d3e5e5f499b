"""Load balancers, listeners and target groups, as far as traffic is concerned."""

import ipaddress
from dataclasses import dataclass, field

SENT_TO = ("healthy",)
SENT_TO_IF_NONE_IS_HEALTHY = ("unhealthy", "unavailable")
"""AWS fails open; a target that has not been checked yet gets nothing all the same."""


def version(address: str) -> int:
    return ipaddress.ip_address(address).version


@dataclass(frozen=True)
class Target:
    """A registered target."""

    id: str
    address: str
    port: int
    state: str
    probe_port: int = 0
    """Where it is checked; 0 is its own port."""

    @property
    def name(self) -> str:
        return f"{self.id}_{self.port}".replace(":", "-")


@dataclass(frozen=True)
class Check:
    """How a target group's targets are checked."""

    protocol: str
    path: str
    codes: str
    interval: float
    timeout: float
    healthy: int
    unhealthy: int


@dataclass(frozen=True)
class Group:
    """A target group that a listener forwards to."""

    arn: str
    protocol: str
    version: int
    check: Check | None
    attributes: dict = field(hash=False, default_factory=dict)
    targets: tuple[Target, ...] = ()

    def on(self, attribute: str) -> bool:
        return self.attributes.get(attribute) == "true"

    @property
    def keeps_client(self) -> bool:
        return self.on("preserve_client_ip.enabled") or self.protocol in ("UDP", "TCP_UDP")

    @property
    def proxy_protocol(self) -> bool:
        return self.on("proxy_protocol_v2.enabled")

    @property
    def sticks(self) -> bool:
        return self.on("stickiness.enabled")

    def chosen(self) -> list[Target]:
        """Targets that get new connections."""
        for states in (SENT_TO, SENT_TO_IF_NONE_IS_HEALTHY):
            found = [target for target in self.targets if target.state in states]
            if found:
                return sorted(found, key=lambda target: (target.address, target.port))
        return []


@dataclass(frozen=True)
class Listener:
    """One port of a load balancer, with its target group."""

    arn: str
    addresses: tuple[str, ...]
    protocol: str
    port: int
    group: Group | None
    certificates: tuple[str, ...] = ()
    alpn: str = ""
    idle: int = 350

    def proxied(self, address: str) -> bool:
        """Whether TCP to this address of it goes through HAProxy: the packets cannot be sent on as they are."""
        if self.protocol == "UDP" or self.group is None:
            return False
        if self.protocol == "TLS" or self.group.protocol == "TLS":
            return True
        group = self.group
        return group.proxy_protocol or not group.keeps_client or group.version != version(address)

    def kernel(self) -> list[tuple[str, str]]:
        """Addresses and protocols that nf_tables forwards."""
        found = []
        for address in self.addresses:
            if self.protocol in ("TCP", "TCP_UDP") and not self.proxied(address):
                found.append((address, "tcp"))
            if self.protocol in ("UDP", "TCP_UDP"):
                found.append((address, "udp"))
        return found


@dataclass(frozen=True)
class Zone:
    """A load balancer in one subnet: the addresses that were asked for, and the networks to take others from."""

    subnet: str
    networks: tuple[str, ...]
    wanted: tuple[str, ...]


@dataclass(frozen=True)
class Balancer:
    """A load balancer."""

    arn: str
    name: str
    active: bool
    dualstack: bool
    zones: tuple[Zone, ...]
