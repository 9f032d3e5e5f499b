"""Security groups: that they exist, and that one in use stays."""

from moto.ec2.models import EC2Backend
from moto.elbv2.models import elbv2_backends

from rules.errors import refuse, refuse_ec2


def check(backend, groups: list[str], vpc: str) -> None:
    """Refuses groups that a load balancer of the VPC cannot have."""
    for identity in groups:
        found = backend.ec2_backend.get_security_group_from_id(identity)
        if found is None or found.vpc_id != vpc:
            refuse("InvalidSecurityGroup", f"One or more security groups are invalid: {identity}")


def release(backend, balancer) -> None:
    """Its interfaces hold its groups for a while after it is gone."""
    until = backend.clock.now() + backend.region.settings.release
    backend.held.append((frozenset(balancer.security_groups), until))


def users(backend, identity: str) -> list[str]:
    """What still uses a security group."""
    ec2 = backend.ec2_backend
    now = backend.clock.now()
    found = [one.arn for one in backend.load_balancers.values() if identity in one.security_groups]
    backend.held = [(groups, until) for groups, until in backend.held if until > now]
    found += ["interfaces of a deleted load balancer" for groups, _ in backend.held if identity in groups]
    for groups in ec2.groups.values():
        for other in groups.values():
            rules = [*other.ingress_rules, *other.egress_rules]
            if other.id != identity and any((rule.source_group or {}).get("GroupId") == identity for rule in rules):
                found.append(other.id)
    for interface in ec2.enis.values():
        if any(group.id == identity for group in interface.group_set):
            found.append(interface.id)
    return found


def install() -> None:
    """DeleteSecurityGroup refuses while something uses the group."""
    original = EC2Backend.delete_security_group

    def delete_security_group(self, name=None, group_id=None):
        backend = elbv2_backends[self.account_id][self.region_name]
        identity = group_id
        if identity is None and (found := self.get_security_group_by_name_or_id(name)):
            identity = found.id
        if identity and (using := users(backend, identity)):
            refuse_ec2("DependencyViolation", f"resource {identity} has a dependent object: {using[0]}")
        return original(self, name, group_id)

    EC2Backend.delete_security_group = delete_security_group
