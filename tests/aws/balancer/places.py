"""Which load balancer has which addresses."""

import ipaddress

from balancer.model import Balancer

FIRST = 10
"""Of a network's hosts, the first that is given away: AWS keeps the first few."""


class Places:
    """Addresses given away; a load balancer keeps what it has while it is there."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str], str] = {}
        """(load balancer, network) to address."""

    def give(self, balancers: list[Balancer]) -> dict[str, tuple[str, ...]]:
        """Addresses of every load balancer by ARN, IPv4 first."""
        wanted = {address for one in balancers for zone in one.zones for address in zone.wanted}
        there = {(one.arn, network) for one in balancers for zone in one.zones for network in zone.networks}
        self._given = {key: address for key, address in self._given.items() if key in there}
        found = {}
        for one in balancers:
            addresses = []
            for zone in one.zones:
                addresses += zone.wanted
                versions = {ipaddress.ip_address(address).version for address in zone.wanted}
                for network in zone.networks:
                    if ipaddress.ip_network(network).version not in versions:
                        addresses.append(self._give((one.arn, network), wanted))
            found[one.arn] = tuple(sorted(addresses, key=lambda address: (":" in address, address)))
        return found

    def _give(self, key: tuple[str, str], wanted: set[str]) -> str:
        """The address it has, or the first free one."""
        taken = wanted | {address for other, address in self._given.items() if other != key}
        if self._given.get(key) in taken:
            del self._given[key]
        if key not in self._given:
            network = ipaddress.ip_network(key[1])
            hosts = (str(network[number]) for number in range(FIRST, min(network.num_addresses - 1, 65_536)))
            self._given[key] = next(host for host in hosts if host not in taken)
        return self._given[key]
