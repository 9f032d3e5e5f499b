"""Network Load Balancers: names, idempotent creation, placement, state, protection."""

import re

from clocks import world
from moto.elbv2.models import ELBv2Backend, FakeLoadBalancer
from moto.moto_api._internal import mock_random

from rules import attributes, placement, security, tags
from rules.errors import invalid, misconfigured, refuse

NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,32}(?<!-)")
UDP = ("UDP", "TCP_UDP")


class NetworkLoadBalancer(FakeLoadBalancer):
    """A load balancer with what moto does not remember."""

    zones: list
    active_at: float
    backend: "Balancers"
    enforce_security_group_inbound_rules_on_private_link_traffic: str | None = None
    enable_prefix_for_ipv6_source_nat: str = "off"

    @property
    def availability_zones(self):
        return self.zones

    def activate(self):
        """Moto makes it active when it is first described; here the clock does."""
        if self.backend.clock.now() >= self.active_at:
            self.state = "active"

    def settings(self) -> tuple:
        """What a repeated creation must agree with."""
        zones = sorted(zone.key for zone in self.zones)
        groups = sorted(self.security_groups)
        return self.scheme, self.ip_address_type, zones, groups, self.enable_prefix_for_ipv6_source_nat


def check_name(name: str) -> None:
    if not name or not NAME.fullmatch(name):
        invalid(f"The load balancer name '{name}' must have 1 to 32 letters, digits and hyphens, no hyphen at its ends")
    if name.lower().startswith("internal-"):
        invalid(f"The load balancer name '{name}' cannot begin with 'internal-'")


class Balancers(ELBv2Backend):
    """The calls on load balancers. `params` is the request as its client sent it."""

    @property
    def region(self):
        return world.region(self.region_name)

    @property
    def clock(self):
        return self.region.clock

    def balancer(self, arn: str) -> FakeLoadBalancer:
        if (found := self.load_balancers.get(arn)) is None:
            refuse("LoadBalancerNotFound", f"One or more load balancers not found: {arn}")
        return found

    def create_network_load_balancer(self, params: dict) -> FakeLoadBalancer:
        name = params.get("Name") or ""
        check_name(name)
        scheme = params.get("Scheme") or "internet-facing"
        if scheme not in ("internet-facing", "internal"):
            refuse("InvalidScheme", f"The requested scheme is not valid: {scheme}")
        address_type = params.get("IpAddressType") or "ipv4"
        given = params.get("Tags") or []
        tags.check(given)
        same = [one for one in self.load_balancers.values() if one.name == name]
        own = same[0].arn if same else None
        subnets, zones = placement.place(self, params, scheme, address_type, own)
        groups = list(params.get("SecurityGroups") or [])
        security.check(self, groups, subnets[0].vpc_id)
        identity = mock_random.get_random_hex(length=16)
        prefix = f"arn:{self.partition}:elasticloadbalancing:{self.region_name}:{self.account_id}"
        made = NetworkLoadBalancer(
            name=name,
            security_groups=groups,
            subnets=subnets,
            vpc_id=subnets[0].vpc_id,
            arn=f"{prefix}:loadbalancer/net/{name}/{identity}",
            dns_name=f"{name}-{identity}.elb.{self.region_name}.amazonaws.com",
            state="provisioning",
            scheme=scheme,
            loadbalancer_type="network",
            ip_address_type=address_type,
        )
        made.attrs = dict(attributes.LOAD_BALANCER)
        made.zones, made.backend = zones, self
        made.active_at = self.clock.now() + self.region.settings.provisioning
        made.enable_prefix_for_ipv6_source_nat = params.get("EnablePrefixForIpv6SourceNat") or "off"
        if groups:
            made.enforce_security_group_inbound_rules_on_private_link_traffic = "on"
        if same:
            return self._again(same[0], made, given)
        networks = [one for one in self.load_balancers.values() if one.type == "network"]
        if len(networks) >= self.region.settings.load_balancers:
            refuse("TooManyLoadBalancers", "You've reached the limit on the number of load balancers for your account")
        self.load_balancers[made.arn] = made
        self.tagging_service.tag_resource(made.arn, given)
        return made

    def _again(self, existing, made: NetworkLoadBalancer, given: list[dict]):
        wanted = {tag["Key"]: tag.get("Value") or "" for tag in given}
        if (
            isinstance(existing, NetworkLoadBalancer)
            and existing.settings() == made.settings()
            and self.tags_of(existing.arn) == wanted
        ):
            existing.activate()
            return existing
        text = f"A load balancer with the same name '{made.name}' exists, but with different settings"
        refuse("DuplicateLoadBalancerName", text)

    def create_load_balancer(self, name, *arguments, **named):
        """Any other type, as moto makes it; names are common to all types."""
        check_name(name)
        if any(one.name == name for one in self.load_balancers.values()):
            refuse("DuplicateLoadBalancerName", f"A load balancer with the same name '{name}' exists")
        return super().create_load_balancer(name, *arguments, **named)

    def describe_load_balancers(self, arns, names):
        if arns and names:
            invalid("Load balancer names and load balancer ARNs cannot be specified at the same time")
        if max(len(arns or []), len(names or [])) > 20:
            invalid("DescribeLoadBalancers takes at most 20 names or ARNs")
        found = list(self.load_balancers.values())
        for one in found:
            one.activate()
        if arns:
            return [self.balancer(arn) for arn in dict.fromkeys(arns)]
        by_name = {one.name: one for one in found}
        if unknown := [name for name in names or [] if name not in by_name]:
            refuse("LoadBalancerNotFound", f"Load balancers '[{', '.join(unknown)}]' not found")
        return [by_name[name] for name in dict.fromkeys(names)] if names else found

    def delete_load_balancer(self, arn):
        if (found := self.load_balancers.get(arn)) is None:
            return
        if found.attrs.get("deletion_protection.enabled") == "true":
            text = f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
            refuse("OperationNotPermitted", text)
        security.release(self, found)
        for resource in (arn, *found.listeners):
            self.tagging_service.delete_all_tags_for_resource(resource)
        del self.load_balancers[arn]

    def set_network_subnets(self, balancer: NetworkLoadBalancer, params: dict) -> None:
        address_type = params.get("IpAddressType") or balancer.ip_address_type
        subnets, zones = placement.place(self, params, balancer.scheme, address_type, balancer.arn)
        if subnets[0].vpc_id != balancer.vpc_id:
            misconfigured(f"Subnet {subnets[0].id} is not in VPC {balancer.vpc_id}")
        before = {zone.subnet_id: zone for zone in balancer.zones}
        for zone in zones:
            if zone.subnet_id in before and zone.key != before[zone.subnet_id].key:
                misconfigured(f"The addresses in subnet {zone.subnet_id} cannot be changed")
        left_out = set(before) - {zone.subnet_id for zone in zones}
        if left_out and not self.region.settings.subnet_removal:
            misconfigured(f"Subnets cannot be removed: {', '.join(sorted(left_out))}")
        self._check_type(balancer, address_type)
        balancer.subnets, balancer.zones, balancer.ip_address_type = subnets, zones, address_type
        if prefix := params.get("EnablePrefixForIpv6SourceNat"):
            balancer.enable_prefix_for_ipv6_source_nat = prefix

    def set_ip_address_type(self, arn, ip_type):
        balancer = self.balancer(arn)
        placement.check_family(self, balancer.subnets, ip_type)
        self._check_type(balancer, ip_type)
        balancer.ip_address_type = ip_type

    def _check_type(self, balancer, address_type: str) -> None:
        """An address type must suit the listeners."""
        for listener in balancer.listeners.values():
            if address_type == "dualstack" and listener.protocol in UDP:
                misconfigured(f"dualstack is not possible with the {listener.protocol} listener of port {listener.port}")
            for group in self.groups_of(listener):
                if address_type == "ipv4" and group.ip_address_type == "ipv6":
                    misconfigured(f"ipv4 is not possible with IPv6 target group {group.name}")

    def set_security_groups(self, arn, sec_groups):
        balancer = self.balancer(arn)
        if balancer.type == "network" and not balancer.security_groups:
            misconfigured("You cannot set security groups on a load balancer that was created without any")
        if not sec_groups:
            misconfigured("You cannot remove all security groups of a load balancer")
        security.check(self, sec_groups, balancer.vpc_id)
        balancer.security_groups = sec_groups
