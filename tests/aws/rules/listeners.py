"""Listeners: ports, protocols, and the target groups they forward to."""

from moto.elbv2.models import ELBv2Backend, FakeAction, FakeListener
from moto.moto_api._internal import mock_random

from rules import tags
from rules.errors import invalid, misconfigured, refuse

PER_LOAD_BALANCER = 50
SUITS = {
    "TCP": ("TCP", "TCP_UDP"),
    "UDP": ("UDP", "TCP_UDP"),
    "TCP_UDP": ("TCP_UDP",),
    "TLS": ("TLS", "TCP"),
}
"""Protocol of a listener to those of the target groups it can forward to."""
POLICY = "ELBSecurityPolicy-2016-08"


class Listeners(ELBv2Backend):
    """The calls on listeners of Network Load Balancers; others are moto's."""

    def listener(self, arn: str) -> FakeListener:
        for balancer in self.load_balancers.values():
            if arn in balancer.listeners:
                return balancer.listeners[arn]
        refuse("ListenerNotFound", f"One or more listeners not found: {arn}")

    def forwards_to(self, listener: FakeListener) -> set[str]:
        """ARNs of the target groups that a listener and its rules use."""
        actions = [action for rule in listener.rules.values() for action in rule.actions]
        return {arn for action in actions for arn in self._get_target_group_arns_from(action_data=action.data)}

    def groups_of(self, listener: FakeListener) -> list:
        return [self.target_groups[arn] for arn in self.forwards_to(listener) if arn in self.target_groups]

    def create_network_listener(self, params: dict) -> FakeListener:
        balancer = self.balancer(params["LoadBalancerArn"])
        protocol, port = params.get("Protocol"), params.get("Port")
        given = params.get("Tags") or []
        tags.check(given)
        certificates = [one.get("CertificateArn", "") for one in params.get("Certificates") or []]
        alpn = list(params.get("AlpnPolicy") or [])
        policy = params.get("SslPolicy")
        actions = self._check(balancer, protocol, port, params.get("DefaultActions"))
        self.check_tls(protocol, certificates, policy, alpn)
        made = FakeListener(
            balancer.arn,
            f"{balancer.arn.replace(':loadbalancer/', ':listener/')}/{mock_random.get_random_hex(16)}",
            protocol,
            port,
            (policy or POLICY) if protocol == "TLS" else None,
            certificates[0] if certificates else None,
            actions,
            alpn,
        )
        if protocol != "TCP":
            made.attributes = {}
        for existing in balancer.listeners.values():
            if int(existing.port) == int(port):
                wanted = {tag["Key"]: tag.get("Value") or "" for tag in given}
                if self._settings(existing) == self._settings(made) and self.tags_of(existing.arn) == wanted:
                    return existing
                refuse("DuplicateListener", f"A listener already exists on port {port} for this load balancer")
        if len(balancer.listeners) >= PER_LOAD_BALANCER:
            refuse("TooManyListeners", f"A load balancer can have {PER_LOAD_BALANCER} listeners")
        balancer.listeners[made.arn] = made
        self.attached(made)
        self.tagging_service.tag_resource(made.arn, given)
        return made

    def _settings(self, listener: FakeListener) -> tuple:
        forwards = sorted(self.forwards_to(listener))
        return listener.protocol, listener.ssl_policy, listener.certificate, tuple(listener.alpn_policy), forwards

    def modify_network_listener(self, listener: FakeListener, params: dict) -> None:
        """ModifyListener: what is not given stays, all or nothing."""
        balancer = self.balancer(listener.load_balancer_arn)
        protocol, port = params.get("Protocol") or listener.protocol, params.get("Port") or listener.port
        tls = protocol == "TLS"
        given = [one.get("CertificateArn", "") for one in params.get("Certificates") or []]
        kept = [listener.certificate] if tls and listener.certificate else []
        certificates = given or kept
        policy = params.get("SslPolicy") or (listener.ssl_policy if tls else None)
        alpn = list(params["AlpnPolicy"] if "AlpnPolicy" in params else listener.alpn_policy if tls else [])
        actions = params.get("DefaultActions") or [action.data for action in listener.default_actions]
        actions = self._check(balancer, protocol, port, actions)
        self.check_tls(protocol, certificates, policy, alpn)
        others = (one for one in balancer.listeners.values() if one is not listener)
        if any(int(one.port) == int(port) for one in others):
            refuse("DuplicateListener", f"A listener already exists on port {port} for this load balancer")
        further = [one for one in listener.certificates if one not in (listener.certificate, *certificates)]
        if listener.protocol != protocol:
            listener.attributes = {"tcp.idle_timeout.seconds": "350"} if protocol == "TCP" else {}
        listener.protocol, listener.port = protocol, port
        listener.ssl_policy = (policy or POLICY) if tls else None
        listener.certificate = certificates[0] if certificates else None
        listener.certificates = [*certificates, *further] if tls else []
        listener.alpn_policy = alpn
        listener.default_actions = actions
        listener._default_rule[0].actions = actions
        self.attached(listener)

    def _check(self, balancer, protocol: str | None, port, actions: list[dict] | None) -> list[FakeAction]:
        """The actions of a listener, if AWS would take it."""
        self._validate_port_and_protocol(balancer.type, port, protocol)
        if not 1 <= int(port) <= 65535:
            invalid(f"Port '{port}' must be between 1 and 65535")
        if protocol in ("UDP", "TCP_UDP") and balancer.ip_address_type == "dualstack":
            misconfigured(f"The {protocol} protocol cannot be specified if dual-stack mode is enabled")
        if not actions or len(actions) != 1 or actions[0].get("Type") != "forward":
            invalid("A listener of a Network Load Balancer has one default action of type forward")
        made = [FakeAction(dict(action)) for action in actions]
        arns = self._get_target_group_arns_from(action_data=made[0].data)
        if not arns:
            invalid("A forward action names a target group")
        for arn in arns:
            self._check_group(balancer, protocol, self.group(arn))
        return made

    def _check_group(self, balancer, protocol: str, group) -> None:
        if group.protocol not in SUITS[protocol]:
            text = f"A {protocol} listener cannot forward to target group '{group.name}' of protocol {group.protocol}"
            refuse("IncompatibleProtocols", text)
        if group.vpc_id != balancer.vpc_id:
            misconfigured(f"Target group '{group.name}' is not in VPC {balancer.vpc_id}")
        if group.ip_address_type == "ipv6" and balancer.ip_address_type != "dualstack":
            misconfigured(f"IPv6 target group '{group.name}' needs a dualstack load balancer")
        if any(arn != balancer.arn for arn in self.users_of(group.arn)):
            text = f"Target group '{group.name}' is associated with another load balancer"
            refuse("TargetGroupAssociationLimit", text)

    def describe_listeners(self, load_balancer_arn, listener_arns):
        if load_balancer_arn:
            return list(self.balancer(load_balancer_arn).listeners.values())
        return [self.listener(arn) for arn in listener_arns or []]

    def delete_listener(self, listener_arn):
        found = super().delete_listener(listener_arn)
        self.tagging_service.delete_all_tags_for_resource(listener_arn)
        return found
