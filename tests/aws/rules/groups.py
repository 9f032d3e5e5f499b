"""Target groups: idempotent creation, health checks, association with one load balancer."""

from moto.elbv2.models import ELBv2Backend, FakeTargetGroup

from rules import attributes, tags
from rules.errors import invalid, misconfigured, refuse

NETWORK = ("TCP", "UDP", "TCP_UDP", "TLS")
PROBES = ("TCP", "HTTP", "HTTPS")
FIXED = ("vpc_id", "protocol", "port", "target_type", "ip_address_type")
CHECK = (
    "health_check_protocol",
    "health_check_port",
    "health_check_path",
    "health_check_interval_seconds",
    "health_check_timeout_seconds",
    "healthy_threshold_count",
    "unhealthy_threshold_count",
)


def settings(group: FakeTargetGroup) -> list[str]:
    """What a repeated creation must agree with."""
    values = [getattr(group, name, None) for name in (*FIXED, *CHECK, "matcher")]
    return [str(value) for value in values]


def complete(group: FakeTargetGroup) -> None:
    """Defaults of a Network Load Balancer's target group, where moto has an application's."""
    if group.health_check_protocol == "TCP":
        group.matcher, group.health_check_path = None, None
    else:
        group.matcher = getattr(group, "matcher", None) or {"HttpCode": "200-399"}
        group.health_check_path = group.health_check_path or "/"


def check_probe(group: FakeTargetGroup) -> None:
    """Limits of a health check."""
    if group.health_check_protocol not in PROBES:
        misconfigured(f"Health check protocol '{group.health_check_protocol}' must be one of {', '.join(PROBES)}")
    for name, low, high in (
        ("health_check_interval_seconds", 5, 300),
        ("health_check_timeout_seconds", 2, 120),
        ("healthy_threshold_count", 2, 10),
        ("unhealthy_threshold_count", 2, 10),
    ):
        if not low <= int(getattr(group, name)) <= high:
            invalid(f"{name} '{getattr(group, name)}' must be between {low} and {high}")
    if int(group.health_check_timeout_seconds) > int(group.health_check_interval_seconds):
        invalid("The health check timeout must be at most the interval")
    if (port := str(group.health_check_port)) != "traffic-port" and not (port.isdecimal() and 1 <= int(port) <= 65535):
        invalid(f"Health check port '{port}' must be traffic-port or a number from 1 to 65535")


class Groups(ELBv2Backend):
    """The calls on target groups."""

    def group(self, arn: str) -> FakeTargetGroup:
        if (found := self.target_groups.get(arn)) is None:
            refuse("TargetGroupNotFound", f"One or more target groups not found: {arn}")
        return found

    def create_target_group(self, name, **named):
        named = dict(named)
        if named.get("protocol") not in NETWORK:
            return super().create_target_group(name, **named)
        given = named.pop("tags", None) or []
        tags.check(given)
        matcher = named.get("matcher")
        probe = named.get("healthcheck_protocol") or "TCP"
        if matcher and probe == "TCP":
            misconfigured("Health check matchers are not supported for health check protocol TCP")
        if probe != "TCP" and not matcher:
            named["matcher"] = {"HttpCode": "200-399"}
        if not 1 <= int(named.get("port") or 0) <= 65535:
            invalid("A port from 1 to 65535 must be specified")
        # Moto refuses every second group of one name, so the one that is there steps aside to be compared.
        existing = next((one for one in self.target_groups.values() if one.name == name), None)
        if existing:
            del self.target_groups[existing.arn]
        made = None
        try:
            made = super().create_target_group(name, **named)
            made.load_balancer_arns = []
            made.attributes = attributes.of_group(made.protocol, made.target_type)
            complete(made)
            check_probe(made)
        except Exception:
            if made:
                del self.target_groups[made.arn]
            raise
        finally:
            if existing:
                if made:
                    self.target_groups.pop(made.arn, None)
                self.target_groups[existing.arn] = existing
        if existing is None:
            self.tagging_service.tag_resource(made.arn, given)
            return made
        wanted = {tag["Key"]: tag.get("Value") or "" for tag in given}
        if settings(existing) == settings(made) and self.tags_of(existing.arn) == wanted:
            return existing
        text = f"A target group with the same name '{name}' exists, but with different settings"
        refuse("DuplicateTargetGroupName", text)

    def modify_network_group(self, group: FakeTargetGroup, params: dict) -> None:
        """ModifyTargetGroup: all or nothing."""
        before = {name: getattr(group, name, None) for name in (*CHECK, "matcher")}
        names = {
            "HealthCheckProtocol": "health_check_protocol",
            "HealthCheckPort": "health_check_port",
            "HealthCheckPath": "health_check_path",
            "HealthCheckIntervalSeconds": "health_check_interval_seconds",
            "HealthCheckTimeoutSeconds": "health_check_timeout_seconds",
            "HealthyThresholdCount": "healthy_threshold_count",
            "UnhealthyThresholdCount": "unhealthy_threshold_count",
        }
        try:
            for name, field in names.items():
                if name in params:
                    setattr(group, field, params[name])
            if matcher := params.get("Matcher"):
                if group.health_check_protocol == "TCP":
                    misconfigured("Health check matchers are not supported for health check protocol TCP")
                if not FakeTargetGroup.HTTP_CODE_REGEX.fullmatch(matcher.get("HttpCode", "")):
                    invalid("HttpCode must be like 200, 200-399 or 200,201")
                group.matcher = {"HttpCode": matcher["HttpCode"]}
            complete(group)
            check_probe(group)
        except Exception:
            for name, value in before.items():
                setattr(group, name, value)
            raise

    def describe_target_groups(self, load_balancer_arn, target_group_arns, names):
        for arn, group in self.target_groups.items():
            group.load_balancer_arns = self.users_of(arn)
        if load_balancer_arn:
            self.balancer(load_balancer_arn)
            # AWS answers with an empty list where moto says that there is no such group.
            using = [one for one in self.target_groups.values() if load_balancer_arn in one.load_balancer_arns]
            return sorted(using, key=lambda group: group.name)
        return super().describe_target_groups(load_balancer_arn, target_group_arns, names)

    def delete_target_group(self, target_group_arn):
        if target_group_arn not in self.target_groups:
            return None
        deleted = super().delete_target_group(target_group_arn)
        self.tagging_service.delete_all_tags_for_resource(target_group_arn)
        return deleted

    def users_of(self, arn: str) -> list[str]:
        """Load balancers with a listener or rule that forwards to a target group."""
        balancers = self.load_balancers.values()
        return [one.arn for one in balancers if any(arn in self.forwards_to(each) for each in one.listeners.values())]
