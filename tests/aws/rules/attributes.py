"""Attributes: the keys a Network Load Balancer's parts have, and their defaults."""

from moto.elbv2.models import ELBv2Backend

from rules.errors import invalid, misconfigured, refuse

LOAD_BALANCER = {
    "access_logs.s3.bucket": "",
    "access_logs.s3.enabled": "false",
    "access_logs.s3.prefix": "",
    "deletion_protection.enabled": "false",
    "dns_record.client_routing_policy": "any_availability_zone",
    "ipv6.deny_all_igw_traffic": "false",
    "load_balancing.cross_zone.enabled": "false",
    "secondary_ips.auto_assigned.per_subnet": "0",
    "zonal_shift.config.enabled": "false",
}
TARGET_GROUP = {
    "deregistration_delay.connection_termination.enabled": "false",
    "deregistration_delay.timeout_seconds": "300",
    "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
    "preserve_client_ip.enabled": "true",
    "proxy_protocol_v2.enabled": "false",
    "stickiness.enabled": "false",
    "stickiness.type": "source_ip",
    "target_group_health.dns_failover.minimum_healthy_targets.count": "1",
    "target_group_health.dns_failover.minimum_healthy_targets.percentage": "off",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "1",
    "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
    "target_health_state.unhealthy.connection_termination.enabled": "true",
    "target_health_state.unhealthy.draining_interval_seconds": "0",
}
LISTENER = {"tcp.idle_timeout.seconds": "350"}

BOOLEAN = ("true", "false")
ROUTING = ("any_availability_zone", "availability_zone_affinity", "partial_availability_zone_affinity")
CROSS_ZONE = (*BOOLEAN, "use_load_balancer_configuration")
RANGES = {
    "deregistration_delay.timeout_seconds": (0, 3600),
    "target_health_state.unhealthy.draining_interval_seconds": (0, 360_000),
    "tcp.idle_timeout.seconds": (60, 6000),
    "secondary_ips.auto_assigned.per_subnet": (0, 7),
}


def check(kind: str, known: dict, given: dict) -> None:
    """Refuses keys that are not known and values that they cannot have."""
    for key, value in given.items():
        if key not in known:
            invalid(f"{kind} attribute key '{key}' is not recognized")
        allowed = None
        if key == "dns_record.client_routing_policy":
            allowed = ROUTING
        elif kind == "Target group" and key == "load_balancing.cross_zone.enabled":
            allowed = CROSS_ZONE
        elif known[key] in BOOLEAN:
            allowed = BOOLEAN
        elif key in RANGES:
            low, high = RANGES[key]
            if not value.isdecimal() or not low <= int(value) <= high:
                invalid(f"'{key}' value '{value}' must be between '{low}-{high}' inclusive")
        if allowed and value not in allowed:
            invalid(f"'{key}' value '{value}' must be one of {', '.join(allowed)}")


def of_group(protocol: str, target_type: str) -> dict[str, str]:
    """Attributes of a new target group."""
    attributes = dict(TARGET_GROUP)
    kept = target_type == "instance" or protocol in ("UDP", "TCP_UDP")
    attributes["preserve_client_ip.enabled"] = "true" if kept else "false"
    return attributes


class Attributes(ELBv2Backend):
    """The Modify…Attributes calls. Each answers with all attributes, as AWS does."""

    def modify_load_balancer_attributes(self, arn, attrs):
        balancer = self.load_balancers.get(arn)
        if balancer is None or balancer.type != "network":
            return super().modify_load_balancer_attributes(arn, attrs)
        check("Load balancer", LOAD_BALANCER, attrs)
        after = balancer.attrs | attrs
        if after["access_logs.s3.enabled"] == "true" and not after["access_logs.s3.bucket"]:
            misconfigured("access_logs.s3.bucket must be set when access logs are enabled")
        balancer.attrs = after
        return balancer.attrs

    def modify_target_group_attributes(self, target_group_arn, attributes):
        group = self.target_groups.get(target_group_arn)
        if group is None:
            refuse("TargetGroupNotFound", "One or more target groups not found")
        check("Target group", TARGET_GROUP, attributes)
        if group.protocol in ("UDP", "TCP_UDP") and attributes.get("preserve_client_ip.enabled") == "false":
            misconfigured(f"preserve_client_ip.enabled cannot be false with protocol {group.protocol}")
        if group.protocol == "TLS" and attributes.get("stickiness.enabled") == "true":
            misconfigured("You cannot enable stickiness on target groups with the TLS protocol")
        group.attributes.update(attributes)

    def modify_listener_attributes(self, listener_arn, attrs):
        listener = self.listener(listener_arn)
        given = {one["Key"]: one.get("Value", "") for one in attrs}
        check("Listener", LISTENER, given)
        if given and listener.protocol != "TCP":
            misconfigured(f"tcp.idle_timeout.seconds is an attribute of TCP listeners, not of {listener.protocol}")
        listener.attributes.update(given)
        return listener.attributes
