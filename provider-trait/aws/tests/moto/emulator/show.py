"""Everything that exists, read from moto's records without a call."""

from moto.ec2.models import ec2_backends
from moto.elbv2.models import elbv2_backends

from . import rules


def _tags(backend, arn):
    return {tag["Key"]: tag["Value"] for tag in backend.tagging_service.list_tags_for_resource(arn)["Tags"]}


def _target_name(ec2, target):
    instance = ec2.get_instance_by_id(target)
    names = [tag["value"] for tag in instance.get_tags() if tag["key"] == "Name"] if instance else []
    return names[0] if names else target


def resources(account, region):
    """One line for each thing, the same text for the same thing in every world."""
    elb, ec2 = elbv2_backends[account][region], ec2_backends[account][region]
    groups = {group.id: group for all_of in ec2.groups.values() for group in all_of.values()}
    name = lambda group: groups[group].name if group in groups else group
    lines = []
    for lb in elb.load_balancers.values():
        own = sorted(name(group) for group in lb.security_groups)
        retire = _tags(elb, lb.arn).get("heraldlb.io/retire-at")
        lines.append(f"nlb {lb.name} {lb.scheme} {own} retire {retire}")
        for listener in lb.listeners.values():
            group = elb.target_groups[rules.forwards_to(listener)].name
            lines.append(f"listener {lb.name} {listener.port} {listener.protocol} {group}")
    for group in elb.target_groups.values():
        live = [key for key, state in rules.targets(group).items() if state["until"] is None]
        lines.append(f"target group {group.name} {sorted((_target_name(ec2, i), p) for i, p in live)}")
    for group in groups.values():
        if group.is_default:
            continue
        lines.append(f"security group {group.name}")
        for rule in group.ingress_rules:
            source = name(rule.source_group["GroupId"]) if rule.source_group else rule.ip_range
            lines.append(f"rule {group.name} {rule.ip_protocol} {rule.from_port}-{rule.to_port} {source}")
    return sorted(lines)


def serving(account, region, hostname, port):
    """How many live targets are behind a port of an active load balancer."""
    elb = elbv2_backends[account][region]
    for lb in elb.load_balancers.values():
        if lb.dns_name.lower() != hostname:
            continue
        lb.activate()
        for listener in lb.listeners.values():
            if lb.state == "active" and int(listener.port) == port:
                group = elb.target_groups[rules.forwards_to(listener)]
                return sum(1 for state in rules.targets(group).values() if state["until"] is None)
    return 0
