"""Where a load balancer stands: subnets, zones and addresses."""

import ipaddress
from dataclasses import dataclass

from moto.ec2.exceptions import EC2ClientError

from rules.errors import invalid, misconfigured, refuse


@dataclass
class Zone:
    """A load balancer in one subnet, in the form that moto writes into answers."""

    subnet_id: str
    zone_name: str
    load_balancer_addresses: list[dict]

    @property
    def key(self) -> tuple:
        """What makes two of them the same."""
        return self.subnet_id, *(sorted(one.items()) for one in self.load_balancer_addresses)


def mappings(params: dict) -> list[dict]:
    """The subnets a request names, in one form."""
    subnets, mapped = params.get("Subnets") or [], params.get("SubnetMappings") or []
    if subnets and mapped:
        invalid("You can specify either subnets or subnet mappings, not both")
    if not subnets and not mapped:
        invalid("At least one subnet must be specified")
    return [{"SubnetId": one} for one in subnets] or mapped


def nets(subnet) -> dict[int, list]:
    """A subnet's networks by IP version."""
    v6 = [one["ipv6CidrBlock"] for one in subnet.ipv6_cidr_block_associations.values()]
    v4 = [subnet.cidr_block] if subnet.cidr_block else []
    return {4: [ipaddress.ip_network(one) for one in v4], 6: [ipaddress.ip_network(one) for one in v6]}


def check_family(backend, subnets: list, address_type: str) -> None:
    """Refuses dualstack where a subnet has no IPv6."""
    if address_type not in ("ipv4", "dualstack"):
        invalid(f"Value '{address_type}' at 'ipAddressType' must be one of ipv4, dualstack")
    for subnet in subnets if address_type == "dualstack" else []:
        if not nets(subnet)[6]:
            misconfigured(f"Subnet {subnet.id} has no IPv6 CIDR block, which dualstack needs")


def place(backend, params: dict, scheme: str, address_type: str, own: str | None) -> tuple[list, list[Zone]]:
    """Subnets and zones a request asks for; `own` is the load balancer's ARN, if it is there already."""
    wanted = mappings(params)
    subnets, zones = [], []
    for mapping in wanted:
        identity = mapping.get("SubnetId", "")
        try:
            subnets.append(backend.ec2_backend.get_subnet(identity))
        except EC2ClientError:
            refuse("SubnetNotFound", f"The subnet ID '{identity}' does not exist")
    if len({subnet.vpc_id for subnet in subnets}) > 1:
        misconfigured("All subnets must be in one VPC")
    if len({subnet.availability_zone for subnet in subnets}) < len(subnets):
        misconfigured("A load balancer cannot be attached to multiple subnets in the same Availability Zone")
    check_family(backend, subnets, address_type)
    for name in ("AllocationId", "PrivateIPv4Address", "IPv6Address"):
        if len({bool(mapping.get(name)) for mapping in wanted}) > 1:
            misconfigured(f"{name} must be given for all subnets or for none")
    for mapping, subnet in zip(wanted, subnets, strict=True):
        addresses = _addresses(backend, mapping, subnet, scheme, address_type, own)
        zones.append(Zone(subnet.id, subnet.availability_zone, addresses))
    return subnets, zones


def _addresses(backend, mapping: dict, subnet, scheme: str, address_type: str, own: str | None) -> list[dict]:
    """What the answer echoes of one mapping's addresses."""
    address = {}
    if allocation := mapping.get("AllocationId"):
        if scheme != "internet-facing":
            misconfigured("Elastic IP addresses are for internet-facing load balancers")
        held = _held(backend, "AllocationId", own)
        elastic = {one.allocation_id: one for one in backend.ec2_backend.describe_addresses()}
        if allocation not in elastic or allocation in held or elastic[allocation].association_id:
            refuse("AllocationIdNotFound", f"The allocation IDs '{allocation}' are not available for use")
        address |= {"AllocationId": allocation, "IpAddress": elastic[allocation].public_ip}
    if private := mapping.get("PrivateIPv4Address"):
        if scheme != "internal":
            misconfigured("Private IPv4 addresses are for internal load balancers")
        _check_inside(private, subnet, 4, _held(backend, "PrivateIPv4Address", own))
        address["PrivateIPv4Address"] = private
    if v6 := mapping.get("IPv6Address"):
        if address_type != "dualstack":
            misconfigured("IPv6 addresses are for dualstack load balancers")
        _check_inside(v6, subnet, 6, _held(backend, "IPv6Address", own))
        address["IPv6Address"] = v6
    return [address] if address else []


def _check_inside(text: str, subnet, version: int, held: set) -> None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        invalid(f"'{text}' is not an IPv{version} address")
    if address.version != version or not any(address in net for net in nets(subnet)[version]):
        misconfigured(f"The address '{text}' is not in the CIDR blocks of subnet {subnet.id}")
    if text in held:
        misconfigured(f"The address '{text}' is in use")


def _held(backend, kind: str, own: str | None) -> set[str]:
    """Addresses of one kind that other load balancers have."""
    zones = (zone for arn, one in backend.load_balancers.items() if arn != own for zone in one.availability_zones)
    found = (address.get(kind) for zone in zones for address in getattr(zone, "load_balancer_addresses", []))
    return {one for one in found if one}
