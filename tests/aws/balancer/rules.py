"""Rules of nf_tables for what is forwarded packet by packet: connections whose client address is kept, and UDP.

Each connection's target is chosen by its first packet; connection tracking keeps it, whatever the rules say later.
"""

import ipaddress

from balancer.model import Listener, Target, version

TABLE = "herald_nlb"
CHAINS = f"""table inet {TABLE} {{
    chain strangers {{
        type filter hook prerouting priority -150;
    }}
    chain targets {{
        type nat hook prerouting priority -100;
    }}
    chain sources {{
        type nat hook postrouting priority 100;
    }}
}}
"""


def render(listeners: list[Listener], near: list[str], mark: int) -> str:
    """A whole transaction. `near` are networks whose hosts a target would answer past the load balancer: their
    address is not kept. `mark` sends packets to the proxy's connections that were made with the client's address."""
    lines = [f"add rule inet {TABLE} strangers meta l4proto tcp socket transparent 1 meta mark set {mark} accept"]
    for listener in listeners:
        for address, protocol in listener.kernel():
            lines += _listener(listener, address, protocol)
    addresses = sorted({address for listener in listeners for address, _ in listener.kernel()})
    for address in addresses:
        family = "ip6" if version(address) == 6 else "ip"
        networks = [one for one in near if ipaddress.ip_network(one).version == version(address)]
        if networks:
            back = f"ct status dnat ct original {family} daddr {address} {family} saddr {{ {', '.join(networks)} }}"
            lines.append(f"add rule inet {TABLE} sources {back} masquerade")
    return CHAINS + f"flush table inet {TABLE}\n" + "".join(f"{line}\n" for line in lines)


def _listener(listener: Listener, address: str, protocol: str) -> list[str]:
    family = "ip6" if version(address) == 6 else "ip"
    meets = f"{family} daddr {address} {protocol} dport {listener.port}"
    lines = []
    if protocol == "tcp":
        # The rest of a connection that was cut must not become a new one to another target.
        middle = "ct state new tcp flags & (fin | syn | rst | ack) != syn"
        lines.append(f"add rule inet {TABLE} strangers {meets} {middle} reject with tcp reset")
    group = listener.group
    chosen = group.chosen() if group and group.version == version(address) else []
    if chosen:
        to = _to(family, chosen, "jhash" if group.sticks else "numgen")
        lines.append(f"add rule inet {TABLE} targets {meets} {to}")
    elif protocol == "tcp":
        lines.append(f"add rule inet {TABLE} strangers {meets} ct state new reject with tcp reset")
    else:
        lines.append(f"add rule inet {TABLE} strangers {meets} ct state new drop")
    return lines


def _to(family: str, chosen: list[Target], how: str) -> str:
    count = len(chosen)
    if how == "jhash":
        pick = f"jhash {family} saddr mod {count}"
    else:
        pick = f"numgen random mod {count}"
    ends = ", ".join(f"{number} : {one.address} . {one.port}" for number, one in enumerate(chosen))
    return f"dnat {family} to {pick} map {{ {ends} }}"
