"""Targets: one for each id and port, with the health that time and reports give them."""

import ipaddress
from dataclasses import dataclass

from clocks import plain
from moto.elbv2.models import ELBv2Backend, FakeHealthStatus

from rules.errors import invalid, refuse

PER_GROUP = 1000
OUTSIDE = [ipaddress.ip_network(one) for one in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")]
"""Addresses outside the VPC that can be targets."""


@dataclass
class Target:
    """A registered target."""

    id: str
    port: int
    zone: str | None
    since: float
    draining_until: float | None = None


class Status(FakeHealthStatus):
    """Health in the form that moto writes into answers."""

    zone: str | None = None

    @property
    def target(self):
        found = {"Id": self.instance_id, "Port": self.port}
        return found | {"AvailabilityZone": self.zone} if self.zone else found


class Targets(ELBv2Backend):
    """RegisterTargets, DeregisterTargets, DescribeTargetHealth."""

    def targets_of(self, group) -> dict[tuple[str, int], Target]:
        """Targets that are there now: those that have finished draining are gone."""
        if not hasattr(group, "by_port"):
            group.by_port = {}
        now = self.clock.now()
        for key, target in list(group.by_port.items()):
            instance = self._instance(target.id)
            if instance is not None and instance.state == "terminated" and target.draining_until is None:
                self._drain(group, target)
            if target.draining_until is not None and target.draining_until <= now:
                del group.by_port[key]
        return group.by_port

    def register_targets(self, target_group_arn, instances):
        group = self.group(target_group_arn)
        if group.target_type not in ("instance", "ip"):
            return super().register_targets(target_group_arn, instances)
        there = self.targets_of(group)
        wanted = {}
        for given in instances:
            target = self._check_target(group, given)
            wanted[plain(target.id), target.port] = target
        kept = [key for key, target in there.items() if target.draining_until is None]
        if len(set(kept) | set(wanted)) > PER_GROUP:
            refuse("TooManyTargets", f"Target group '{group.name}' can have {PER_GROUP} targets")
        for key, target in wanted.items():
            if key not in kept:
                there[key] = target
        return None

    def deregister_targets(self, target_group_arn, instances):
        group = self.group(target_group_arn)
        if group.target_type not in ("instance", "ip"):
            return super().deregister_targets(target_group_arn, instances)
        there = self.targets_of(group)
        for given in instances:
            # API reference: "If the specified target does not exist, the action returns successfully."
            target = there.get((plain(given["Id"]), int(given.get("Port") or group.port)))
            if target and target.draining_until is None:
                self._drain(group, target)
        return None

    def _drain(self, group, target: Target) -> None:
        seconds = self.region.settings.draining
        if seconds is None:
            seconds = float(group.attributes["deregistration_delay.timeout_seconds"])
        if not self.users_of(group.arn):
            seconds = 0
        target.draining_until = self.clock.now() + seconds

    def _instance(self, identity: str):
        return self.ec2_backend.get_instance_by_id(identity) if identity.startswith("i-") else None

    def _check_target(self, group, given: dict) -> Target:
        identity, port = given.get("Id") or "", int(given.get("Port") or group.port)
        if not 1 <= port <= 65535:
            invalid(f"Port '{port}' of target '{identity}' must be between 1 and 65535")
        zone = given.get("AvailabilityZone")
        if group.target_type == "instance":
            if zone:
                invalid("An Availability Zone cannot be specified for targets of type instance")
            self._check_instance(group, identity)
        else:
            zone = self._check_address(group, identity, zone)
        return Target(identity, port, zone, self.clock.now())

    def _check_instance(self, group, identity: str) -> None:
        if not identity.startswith("i-"):
            refuse("InvalidTarget", f"The following targets are not instances: '{identity}'")
        if self.region.settings.instances == "any":
            return
        instance = self._instance(identity)
        if instance is None or instance.vpc_id != group.vpc_id:
            refuse("InvalidTarget", f"The following targets are not in VPC {group.vpc_id}: '{identity}'")
        if instance.state != "running":
            text = f"The following targets are not in a running state and cannot be registered: '{identity}'"
            refuse("InvalidTarget", text)

    def _check_address(self, group, identity: str, zone: str | None) -> str | None:
        try:
            address = ipaddress.ip_address(identity)
        except ValueError:
            invalid(f"The IP address '{identity}' is not valid")
        if address.version != (6 if group.ip_address_type == "ipv6" else 4):
            invalid(f"The IP address '{identity}' is not of the target group's type {group.ip_address_type}")
        vpc = self.ec2_backend.get_vpc(group.vpc_id)
        blocks = vpc.get_cidr_block_association_set(ipv6=address.version == 6)
        if any(address in ipaddress.ip_network(block["cidr_block"]) for block in blocks):
            if zone == "all":
                invalid(f"The IP address '{identity}' is inside the VPC: its Availability Zone cannot be 'all'")
            return zone or self._zone_of(group.vpc_id, address)
        if zone != "all" or not any(address in net for net in OUTSIDE if net.version == address.version):
            invalid(f"The IP address '{identity}' is outside the VPC: it must be private, and its zone 'all'")
        return zone

    def _zone_of(self, vpc: str, address) -> str | None:
        """AWS finds the zone of an address in a subnet by itself."""
        for subnet in self.ec2_backend.describe_subnets(filters={"vpc-id": [vpc]}):
            v6 = [one["ipv6CidrBlock"] for one in subnet.ipv6_cidr_block_associations.values()]
            for block in filter(None, [subnet.cidr_block, *v6]):
                if address in ipaddress.ip_network(block):
                    return subnet.availability_zone
        return None

    def attached(self, listener) -> None:
        """Notes since when the groups a listener forwards to take part."""
        for group in self.groups_of(listener):
            if not getattr(group, "attached_at", None) or group.attached_to != listener.load_balancer_arn:
                group.attached_at, group.attached_to = self.clock.now(), listener.load_balancer_arn

    def describe_target_health(self, target_group_arn, targets):
        group = self.group(target_group_arn)
        if group.target_type not in ("instance", "ip"):
            return super().describe_target_health(target_group_arn, targets)
        there = self.targets_of(group)
        if not targets:
            return [self._health(group, one.id, one.port, one) for one in there.values()]
        asked = [(one["Id"], int(one.get("Port") or group.port)) for one in targets]
        return [self._health(group, identity, port, there.get((plain(identity), port))) for identity, port in asked]

    def _health(self, group, identity: str, port: int, target: Target | None) -> Status:
        probe = group.health_check_port
        probe = str(port) if probe in (None, "traffic-port") else str(probe)
        status = Status(identity, port, probe, *self._state(group, target))
        status.zone = target.zone if target else None
        return status

    def _state(self, group, target: Target | None) -> tuple[str, str | None, str | None]:
        """State, reason and description, as time and circumstances have it."""
        if target is None:
            return "unused", "Target.NotRegistered", "Target is not registered to the target group"
        if target.draining_until is not None:
            return "draining", "Target.DeregistrationInProgress", "Target deregistration is in progress"
        users = self.users_of(group.arn)
        if not users:
            return "unused", "Target.NotInUse", "Target group is not configured to receive traffic"
        instance = self._instance(target.id)
        if instance is not None and instance.state != "running":
            return "unused", "Target.InvalidState", "Target is in the stopped state"
        balancer = self.balancer(users[0])
        since = max(target.since, getattr(group, "attached_at", 0), getattr(balancer, "active_at", 0))
        if self.clock.now() < since + self.region.settings.registration:
            return "initial", "Elb.RegistrationInProgress", "Target registration is in progress"
        found = self.region.health((group.arn, group.name), target.id, target.port)
        reasons = {"unhealthy": "Target.FailedHealthChecks", "initial": "Elb.InitialHealthChecking"}
        default = {"unhealthy": "Health checks failed", "initial": "Initial health checks in progress"}
        state = found["state"]
        return state, found.get("reason") or reasons.get(state), found.get("description") or default.get(state)
