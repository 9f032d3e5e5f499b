"""What AWS refuses or does with Network Load Balancers and moto 5.2.5 does not. Applied to moto's classes."""

import ipaddress
import re

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.elbv2 import models
from moto.elbv2.exceptions import ELBClientError
from moto.elbv2.models import ELBv2Backend, FakeAction, FakeHealthStatus, FakeLoadBalancer

from .worlds import WORLDS

LISTENERS = 50
TARGETS = 1000
_NETWORK = ("TCP", "UDP", "TCP_UDP", "TLS")


def forwards_to(listener):
    """The ARN of the target group a listener forwards to."""
    return listener.default_actions[0].data["TargetGroupArn"]


def targets(group):
    """The targets of a group by (id, port), those that are gone left out."""
    now = WORLDS.of(group.account_id).now()
    all_of = getattr(group, "herald_targets", {})
    for key in [key for key, state in all_of.items() if state["until"] is not None and state["until"] <= now]:
        del all_of[key]
    group.herald_targets = all_of
    return all_of


def _fail(code, message):
    raise ELBClientError(code, message)


def _mappings(subnet_ids, subnet_mappings):
    return [{"SubnetId": subnet} for subnet in subnet_ids] or list(subnet_mappings or [])


def _check_subnets(backend, mappings):
    zones = {}
    for mapping in mappings:
        subnet = next((s for by_zone in backend.ec2_backend.subnets.values() for s in by_zone.values()
                       if s.id == mapping["SubnetId"]), None)
        if subnet is None:
            _fail("SubnetNotFound", f"The subnet ID '{mapping['SubnetId']}' is not valid")
        if subnet.availability_zone in zones:
            _fail("InvalidConfigurationRequest", "A load balancer cannot be attached to multiple subnets in the same zone")
        zones[subnet.availability_zone] = subnet
        if mapping.get("AllocationId"):
            known = [a.allocation_id for a in backend.ec2_backend.addresses]
            if mapping["AllocationId"] not in known:
                _fail("AllocationIdNotFound", f"The allocation ID '{mapping['AllocationId']}' does not exist")
            for lb in backend.load_balancers.values():
                if mapping["AllocationId"] in [m.get("AllocationId") for m in lb.herald_mappings]:
                    _fail("ResourceInUse", f"{mapping['AllocationId']} is in use by {lb.name}")
        if mapping.get("PrivateIPv4Address"):
            if ipaddress.ip_address(mapping["PrivateIPv4Address"]) not in ipaddress.ip_network(subnet.cidr_block):
                _fail("InvalidConfigurationRequest", "The private IPv4 address is not within the subnet")


def _check_groups(backend, groups):
    for group in groups:
        if backend.ec2_backend.get_security_group_from_id(group) is None:
            _fail("InvalidSecurityGroup", f"The security group '{group}' does not exist")


_create_load_balancer = ELBv2Backend.create_load_balancer


def create_load_balancer(self, name, security_groups, subnet_ids, subnet_mappings=None, scheme="internet-facing",
                         loadbalancer_type=None, ip_address_type="ipv4", tags=None):
    mappings = _mappings(subnet_ids, subnet_mappings)
    if not re.fullmatch(r"(?!internal-)(?!-)[A-Za-z0-9-]{1,32}(?<!-)", name):
        _fail("ValidationError", f"Load balancer name '{name}' is not valid")
    same = [lb for lb in self.load_balancers.values() if lb.name == name]
    if same:
        lb = same[0]
        settings = (lb.scheme, lb.ip_address_type, sorted(lb.security_groups), lb.herald_mappings)
        if settings != (scheme, ip_address_type, sorted(security_groups), mappings):
            _fail("DuplicateLoadBalancerName", f"A load balancer with the same name '{name}' exists, but with different settings")
        return lb
    _check_subnets(self, mappings)
    _check_groups(self, security_groups)
    lb = _create_load_balancer(self, name, security_groups, [], mappings, scheme, loadbalancer_type, ip_address_type, tags)
    suffix = lb.arn.rsplit("/", 1)[1]
    lb.dns_name = f"{name}-{suffix}.elb.{self.region_name}.amazonaws.com"
    lb.herald_mappings = mappings
    lb.herald_account = self.account_id
    lb.herald_since = WORLDS.of(self.account_id).now()
    return lb


def activate(self):
    world = WORLDS.of(self.herald_account)
    self.state = "active" if world.now() >= self.herald_since + world.provisioning else "provisioning"


def availability_zones(self):
    zones = []
    by_subnet = {mapping["SubnetId"]: mapping for mapping in self.herald_mappings}
    for subnet in self.subnets:
        zone = models.AvailabilityZone(subnet)
        mapping = by_subnet.get(subnet.id, {})
        given = {k: v for k, v in mapping.items() if k in ("AllocationId", "PrivateIPv4Address", "IPv6Address") and v}
        zone.load_balancer_addresses = [given] if given else []
        zones.append(zone)
    return zones


_delete_load_balancer = ELBv2Backend.delete_load_balancer


def delete_load_balancer(self, arn):
    lb = self.load_balancers.get(arn)
    if lb and lb.attrs.get("deletion_protection.enabled") == "true":
        _fail("OperationNotPermitted", f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled")
    _delete_load_balancer(self, arn)


_create_target_group = ELBv2Backend.create_target_group
_SETTINGS = ("protocol", "vpc_id", "target_type", "healthcheck_protocol", "healthcheck_port", "healthcheck_path")


def create_target_group(self, name, **kwargs):
    for group in self.target_groups.values():
        if group.name == name:
            settings = {key: kwargs.get(key) for key in _SETTINGS}
            if settings != group.herald_settings:
                _fail("DuplicateTargetGroupName", f"A target group with the same name '{name}' exists, but with different settings")
            return group
    settings = {key: kwargs.get(key) for key in _SETTINGS}
    group = _create_target_group(self, name, **kwargs)
    group.herald_settings = settings
    return group


_modify_target_group = ELBv2Backend.modify_target_group


def modify_target_group(self, arn, *args, **kwargs):
    group = _modify_target_group(self, arn, *args, **kwargs)
    if kwargs.get("http_codes"):
        group.matcher = {"HttpCode": kwargs["http_codes"]}
    return group


def delete_target_group(self, target_group_arn):
    group = self.target_groups.get(target_group_arn)
    if group is None:
        return None
    if self._any_listener_using(target_group_arn):
        _fail("ResourceInUse", f"Target group '{target_group_arn}' is currently in use by a listener or a rule")
    return self.target_groups.pop(target_group_arn)


def _check_listener(self, lb, protocol, certificate, group_arn, but=None):
    if protocol not in _NETWORK:
        _fail("UnsupportedProtocol", f"Protocol {protocol} is not supported by Network Load Balancers")
    group = self.target_groups.get(group_arn)
    if group is None:
        _fail("TargetGroupNotFound", f"Target groups '{group_arn}' not found")
    fits = group.protocol in ("TCP", "TLS") if protocol == "TLS" else group.protocol == protocol
    if not fits:
        _fail("InvalidConfigurationRequest", f"Target group protocol {group.protocol} does not fit listener protocol {protocol}")
    if (protocol == "TLS") != bool(certificate):
        _fail("CertificateNotFound", "A certificate must be specified for TLS listeners, and for those only")
    for other in self.load_balancers.values():
        if other is not lb and any(forwards_to(listener) == group_arn for listener in other.listeners.values()):
            _fail("TargetGroupAssociationLimit", f"Target group '{group_arn}' is associated with another load balancer")


_create_listener = ELBv2Backend.create_listener


def create_listener(self, load_balancer_arn, protocol, port, ssl_policy, certificate, actions, alpn_policy=None, tags=None):
    lb = self.load_balancers.get(load_balancer_arn)
    if lb is None:
        _fail("LoadBalancerNotFound", f"Load balancer '{load_balancer_arn}' not found")
    if any(int(listener.port) == int(port) for listener in lb.listeners.values()):
        _fail("DuplicateListener", "A listener already exists on this port for this load balancer")
    if len(lb.listeners) >= LISTENERS:
        _fail("TooManyListeners", f"Load balancer '{lb.name}' has the maximum of {LISTENERS} listeners")
    _check_listener(self, lb, protocol, certificate, actions[0]["TargetGroupArn"])
    policy = ssl_policy if protocol == "TLS" else None
    return _create_listener(self, load_balancer_arn, protocol, port, policy, certificate, actions, alpn_policy, tags)


def modify_listener(self, arn, port=None, protocol=None, ssl_policy=None, certificates=None, actions=None):
    found = [(lb, lb.listeners[arn]) for lb in self.load_balancers.values() if arn in lb.listeners]
    if not found:
        _fail("ListenerNotFound", f"Listener '{arn}' not found")
    lb, listener = found[0]
    certificate = certificates[0]["CertificateArn"] if certificates else None
    protocol = protocol or listener.protocol
    group = actions[0]["TargetGroupArn"] if actions else forwards_to(listener)
    _check_listener(self, lb, protocol, certificate or (listener.certificate if protocol == "TLS" else None), group)
    listener.port = port or listener.port
    listener.protocol = protocol
    listener.ssl_policy = (ssl_policy or listener.ssl_policy) if protocol == "TLS" else None
    if certificate:
        listener.certificates = [certificate] + [c for c in listener.certificates[1:] if c != certificate]
        listener.certificate = certificate
    if protocol != "TLS":
        listener.certificate, listener.certificates = None, []
    if actions:
        listener.default_actions = [FakeAction(action) for action in actions]
        listener._default_rule[0].actions = listener.default_actions
    return listener


def register_targets(self, target_group_arn, instances):
    group = self.target_groups.get(target_group_arn)
    if group is None:
        _fail("TargetGroupNotFound", f"Target groups '{target_group_arn}' not found")
    now = WORLDS.of(group.account_id).now()
    nets = [ipaddress.ip_network(vpc.cidr_block) for vpc in self.ec2_backend.vpcs.values() if vpc.id == group.vpc_id]
    known = targets(group)
    for target in instances:
        key = (target["Id"], int(target.get("Port", group.port)))
        if group.target_type == "instance":
            instance = self.ec2_backend.get_instance_by_id(target["Id"])
            if instance is None or instance.state != "running":
                _fail("InvalidTarget", f"The following targets are not in a running state or do not exist: '{target['Id']}'")
        elif target.get("AvailabilityZone") != "all" and ":" not in target["Id"]:
            if not any(ipaddress.ip_address(target["Id"]) in net for net in nets):
                _fail("ValidationError", f"The IP address '{target['Id']}' is not within the VPC")
        if key not in known and len(known) >= TARGETS:
            _fail("TooManyTargets", f"Target group '{group.name}' has the maximum of {TARGETS} targets")
        if key not in known or known[key]["until"] is not None:
            known[key] = {"since": now, "until": None, "zone": target.get("AvailabilityZone")}


def deregister_targets(self, target_group_arn, instances):
    group = self.target_groups.get(target_group_arn)
    if group is None:
        _fail("TargetGroupNotFound", f"Target groups '{target_group_arn}' not found")
    world = WORLDS.of(group.account_id)
    known = targets(group)
    keys = [(target["Id"], int(target.get("Port", group.port))) for target in instances]
    for key in keys:
        if key not in known:
            _fail("InvalidTarget", f"The target '{key[0]}' on port {key[1]} is not registered")
    for key in keys:
        known[key]["until"] = world.now() + world.draining


def describe_target_health(self, target_group_arn, targets_asked):
    group = self.target_groups.get(target_group_arn)
    if group is None:
        _fail("TargetGroupNotFound", f"Target groups '{target_group_arn}' not found")
    world = WORLDS.of(group.account_id)
    users = [lb for lb in self.load_balancers.values()
             if any(forwards_to(listener) == target_group_arn for listener in lb.listeners.values())]
    asked = {(t["Id"], int(t.get("Port", group.port))) for t in targets_asked or []}
    answers = []
    for (target, port), state in targets(group).items():
        if asked and (target, port) not in asked:
            continue
        health, reason = _health(world, users, target, port, state)
        status = FakeHealthStatus(target, str(port), group.health_check_port, health, reason)
        status.__class__ = _Health
        status.zone = state["zone"]
        answers.append(status)
    return answers


class _Health(FakeHealthStatus):
    """A health status that says its zone, as AWS does for targets outside the VPC."""

    @property
    def target(self):
        zone = {"AvailabilityZone": self.zone} if self.zone else {}
        return {"Id": self.instance_id, "Port": self.port, **zone}


def _health(world, users, target, port, state):
    if state["until"] is not None:
        return "draining", "Target.DeregistrationInProgress"
    if not users:
        return "unused", "Target.NotInUse"
    ready = max(state["since"], users[0].herald_since + world.provisioning) + world.registration
    if world.now() < ready:
        return "initial", "Elb.RegistrationInProgress"
    reported = world.health.get((target, port))
    if reported and reported != "healthy":
        return reported, "Target.FailedHealthChecks"
    return "healthy", None


def set_security_groups(self, arn, sec_groups):
    lb = self.load_balancers.get(arn)
    if lb is None:
        _fail("LoadBalancerNotFound", f"Load balancer '{arn}' not found")
    if bool(lb.security_groups) != bool(sec_groups):
        _fail("InvalidConfigurationRequest", "Security groups can be neither added to nor taken from a Network Load Balancer as a whole")
    _check_groups(self, sec_groups)
    lb.security_groups = sec_groups


def set_subnets(self, arn, subnets, subnet_mappings):
    lb = self.load_balancers.get(arn)
    if lb is None:
        _fail("LoadBalancerNotFound", f"Load balancer '{arn}' not found")
    mappings = _mappings(subnets, subnet_mappings)
    wanted = [mapping["SubnetId"] for mapping in mappings]
    kept = [mapping for mapping in lb.herald_mappings if mapping["SubnetId"] in wanted]
    if kept != lb.herald_mappings:
        _fail("InvalidConfigurationRequest", "Subnets of a Network Load Balancer cannot be removed")
    new = [mapping for mapping in mappings if mapping["SubnetId"] not in [m["SubnetId"] for m in kept]]
    _check_subnets(self, new)
    lb.herald_mappings = kept + new
    lb.subnets = [self.ec2_backend.get_subnet(mapping["SubnetId"]) for mapping in lb.herald_mappings]
    return lb.availability_zones


_delete_security_group = SecurityGroupBackend.delete_security_group


def delete_security_group(self, name=None, group_id=None):
    elb = models.elbv2_backends[self.account_id][self.region_name]
    member = any(group_id in lb.security_groups for lb in elb.load_balancers.values())
    source = any(rule.source_group and rule.source_group.get("GroupId") == group_id and group.id != group_id
                 for all_of in self.groups.values() for group in all_of.values() for rule in group.ingress_rules)
    if member or source:
        raise EC2ClientError("DependencyViolation", f"resource {group_id} has a dependent object")
    return _delete_security_group(self, name, group_id)


def apply():
    """Puts the rules in force."""
    of_arn = models.make_arn_for_load_balancer
    models.make_arn_for_load_balancer = lambda **kwargs: of_arn(**kwargs).replace("loadbalancer/app/", "loadbalancer/net/")
    for rule in (create_load_balancer, delete_load_balancer, create_target_group, modify_target_group,
                 delete_target_group, create_listener, modify_listener, register_targets, deregister_targets,
                 describe_target_health, set_security_groups, set_subnets):
        setattr(ELBv2Backend, rule.__name__, rule)
    FakeLoadBalancer.activate = activate
    FakeLoadBalancer.availability_zones = property(availability_zones)
    SecurityGroupBackend.delete_security_group = delete_security_group
