"""Worlds for tests, made and read in moto's own stores: no call to AWS, and milliseconds for each.

| call | body or query | answer |
| --- | --- | --- |
| POST /herald/scene/cluster | `{"region", "instances": [names]}` | `{"vpc", "subnets", "ipv6", "node_group", "instances"}` |
| GET /herald/scene/resources | `?region=` | what exists, in lines |
| GET /herald/scene/serving | `?region=&hostname=&port=` | how many targets |
"""

import ipaddress

from moto.core.base_backend import BackendDict
from moto.ec2.models import ec2_backends
from moto.elbv2.models import elbv2_backends

ACCOUNT = "123456789012"
"""The account of every access key but those that STS handed out."""
ZONES = "ab"


def cluster(region: str, instances: list[str] | None = None) -> dict:
    """A dual-stack VPC with a public and a private subnet in each of two zones, a security group for nodes, and
    running instances with these names."""
    ec2 = ec2_backends[ACCOUNT][region]
    vpc = ec2.create_vpc("10.0.0.0/16", amazon_provided_ipv6_cidr_block=True)
    (block,) = vpc.get_cidr_block_association_set(ipv6=True)
    v6 = list(ipaddress.ip_network(block["cidr_block"]).subnets(new_prefix=64))[: 2 * len(ZONES)]
    gateway = ec2.create_internet_gateway().id
    ec2.attach_internet_gateway(gateway, vpc.id)
    table = ec2.create_route_table(vpc.id).id
    ec2.create_route(table, "0.0.0.0/0", gateway_id=gateway)
    subnets = []
    for n, block in enumerate(v6):
        zone = f"{region}{ZONES[n % len(ZONES)]}"
        subnet = ec2.create_subnet(vpc.id, f"10.0.{n}.0/24", str(block), zone)
        if n < len(ZONES):
            ec2.associate_route_table(table, subnet_id=subnet.id)
        subnets.append(subnet.id)
    group = ec2.create_security_group("nodes", "nodes", vpc.id)
    made = {}
    for name in instances or []:
        tags = {"instance": {"Name": name}}
        reservation = ec2.run_instances(
            "ami-12c6146b", 1, None, [], subnet_id=subnets[-1], tags=tags, region_name=region,
            instance_type="m1.small", is_instance_type_default=True, placement=None,
        )  # fmt: skip
        made[name] = reservation.instances[0].id
    nets = [str(block) for block in v6]
    return {"vpc": vpc.id, "subnets": subnets, "ipv6": nets, "node_group": group.id, "instances": made}


def reset(region: str) -> None:
    """Everything in one region is as at the start."""
    for backend in list(BackendDict._instances):
        for account in backend.values():
            if region in account.keys():
                account[region].reset()


def resources(region: str) -> list[str]:
    """One line for each thing, the same text for the same thing in every world. Without the region's default VPC."""
    elb, ec2 = elbv2_backends[ACCOUNT][region], ec2_backends[ACCOUNT][region]
    groups = {group.id: group for of_vpc in ec2.groups.values() for group in of_vpc.values()}

    def name(group: str) -> str:
        return groups[group].name if group in groups else group

    lines = []
    for balancer in elb.load_balancers.values():
        own = sorted(name(group) for group in balancer.security_groups)
        retire = elb.tags_of(balancer.arn).get("heraldlb.io/retire-at")
        lines.append(f"nlb {balancer.name} {balancer.scheme} {own} retire {retire}")
        for listener in balancer.listeners.values():
            forwards = ",".join(sorted(group.name for group in elb.groups_of(listener)))
            lines.append(f"listener {balancer.name} {listener.port} {listener.protocol} {forwards}")
    for group in elb.target_groups.values():
        live = [(one.id, one.port) for one in elb.targets_of(group).values() if one.draining_until is None]
        lines.append(f"target group {group.name} {sorted((_target(ec2, identity), port) for identity, port in live)}")
    for group in groups.values():
        if group.is_default:
            continue
        lines.append(f"security group {group.name}")
        for rule in group.ingress_rules:
            source = name(rule.source_group["GroupId"]) if rule.source_group else rule.ip_range
            lines.append(f"rule {group.name} {rule.ip_protocol} {rule.from_port}-{rule.to_port} {source}")
    return sorted(lines)


def _target(ec2, identity: str) -> str:
    """The name of an instance, or what else it is."""
    instance = ec2.get_instance_by_id(identity) if identity.startswith("i-") else None
    names = [tag["value"] for tag in instance.get_tags() if tag["key"] == "Name"] if instance else []
    return names[0] if names else identity


def serving(region: str, hostname: str, port: int) -> int:
    """How many targets that are not draining are behind a port of an active load balancer."""
    elb = elbv2_backends[ACCOUNT][region]
    for balancer in elb.load_balancers.values():
        balancer.activate()
        if balancer.dns_name.lower() != hostname or balancer.state != "active":
            continue
        for listener in balancer.listeners.values():
            if int(listener.port) == port:
                targets = [one for group in elb.groups_of(listener) for one in elb.targets_of(group).values()]
                return sum(1 for one in targets if one.draining_until is None)
    return 0
