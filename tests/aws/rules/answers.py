"""Requests and answers of ELBv2: fields that moto does not read, and pages."""

from moto.core.responses import ActionResult
from moto.elbv2.responses import ELBV2Response

from rules import groups
from rules.errors import invalid


class Answers(ELBV2Response):
    """Hands a Network Load Balancer's requests to the strict backend, and the rest to moto."""

    def _is_network(self, arn: str | None) -> bool:
        found = self.elbv2_backend.load_balancers.get(arn)
        return found is not None and found.type == "network"

    def page(self, found: list) -> tuple[list, str | None]:
        """One page of what was found, and the marker of the next."""
        most = int(self.elbv2_backend.region.settings.page_size)
        size = min(self._get_int_param("PageSize", most), most)
        if size < 1:
            invalid(f"PageSize '{size}' must be between 1 and 400")
        start, marker = 0, self._get_param("Marker")
        if marker is not None:
            arns = [one.arn for one in found]
            # What the marker names may be gone by now; a listing then starts over rather than lose a part.
            start = arns.index(marker) + 1 if marker in arns else 0
        page = found[start : start + size]
        return page, page[-1].arn if start + size < len(found) else None

    def create_load_balancer(self):
        params = self._get_params()
        if params.get("Type") != "network":
            return super().create_load_balancer()
        return ActionResult({"LoadBalancers": [self.elbv2_backend.create_network_load_balancer(params)]})

    def describe_load_balancers(self):
        arns, names = self._get_param("LoadBalancerArns", []), self._get_param("Names", [])
        page, marker = self.page(self.elbv2_backend.describe_load_balancers(arns, names))
        return ActionResult({"LoadBalancers": page, "NextMarker": marker})

    def set_subnets(self):
        arn = self._get_param("LoadBalancerArn")
        if not self._is_network(arn):
            return super().set_subnets()
        balancer = self.elbv2_backend.balancer(arn)
        self.elbv2_backend.set_network_subnets(balancer, self._get_params())
        answer = {
            "AvailabilityZones": balancer.availability_zones,
            "IpAddressType": balancer.ip_address_type,
            "EnablePrefixForIpv6SourceNat": balancer.enable_prefix_for_ipv6_source_nat,
        }
        return ActionResult(answer)

    def set_security_groups(self):
        arn = self._get_param("LoadBalancerArn")
        super().set_security_groups()
        balancer = self.elbv2_backend.balancer(arn)
        name = "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"
        answer = {"SecurityGroupIds": balancer.security_groups}
        if self._is_network(arn):
            if given := self._get_param(name):
                balancer.enforce_security_group_inbound_rules_on_private_link_traffic = given
            answer[name] = balancer.enforce_security_group_inbound_rules_on_private_link_traffic
        return ActionResult(answer)

    def describe_target_groups(self):
        found = self.elbv2_backend.describe_target_groups(
            self._get_param("LoadBalancerArn"), self._get_param("TargetGroupArns", []), self._get_param("Names", [])
        )
        page, marker = self.page(list(found))
        return ActionResult({"TargetGroups": page, "NextMarker": marker})

    def modify_target_group(self):
        group = self.elbv2_backend.group(self._get_param("TargetGroupArn"))
        if group.protocol not in groups.NETWORK:
            return super().modify_target_group()
        self.elbv2_backend.modify_network_group(group, self._get_params())
        return ActionResult({"TargetGroups": [group]})

    def modify_target_group_attributes(self):
        super().modify_target_group_attributes()
        return self.describe_target_group_attributes()

    def create_listener(self):
        if not self._is_network(self._get_param("LoadBalancerArn")):
            return super().create_listener()
        return ActionResult({"Listeners": [self.elbv2_backend.create_network_listener(self._get_params())]})

    def modify_listener(self):
        listener = self.elbv2_backend.listener(self._get_param("ListenerArn"))
        if not self._is_network(listener.load_balancer_arn):
            return super().modify_listener()
        self.elbv2_backend.modify_network_listener(listener, self._get_params())
        return ActionResult({"Listeners": [listener]})

    def describe_listeners(self):
        arn, arns = self._get_param("LoadBalancerArn"), self._get_param("ListenerArns", [])
        if not arn and not arns:
            return super().describe_listeners()
        page, marker = self.page(self.elbv2_backend.describe_listeners(arn, arns))
        return ActionResult({"Listeners": page, "NextMarker": marker})
