"""Target groups and targets."""

import unittest

from case import Case, control


class Groups(Case):
    def test_the_same_again_is_the_same_and_otherwise_a_duplicate(self):
        probe = {"HealthCheckProtocol": "HTTP", "HealthCheckPath": "/healthz", "HealthCheckPort": "30000"}
        made = self.group(**probe, Tags=[{"Key": "a", "Value": "1"}])
        again = self.group(**probe, Tags=[{"Key": "a", "Value": "1"}])
        self.assertEqual(made["TargetGroupArn"], again["TargetGroupArn"])
        self.assertEqual(len(self.elb.describe_target_groups()["TargetGroups"]), 1)
        code = "DuplicateTargetGroupName"
        self.refused(code, self.group, **probe)
        self.refused(code, self.group, protocol="UDP", **probe)
        self.refused(code, self.group, **probe | {"HealthCheckPath": "/"}, Tags=[{"Key": "a", "Value": "1"}])
        self.assertEqual(len(self.elb.describe_target_groups()["TargetGroups"]), 1)

    def test_a_refused_creation_leaves_nothing(self):
        self.refused("ValidationError", self.group, HealthCheckIntervalSeconds=4)
        self.refused("ValidationError", self.group, HealthyThresholdCount=11)
        self.refused("InvalidConfigurationRequest", self.group, Matcher={"HttpCode": "200"})
        self.assertEqual(self.elb.describe_target_groups()["TargetGroups"], [])
        self.group()

    def test_health_check_is_modified(self):
        arn = self.group()["TargetGroupArn"]
        change = {"HealthCheckProtocol": "HTTP", "HealthCheckIntervalSeconds": 15, "Matcher": {"HttpCode": "200-299"}}
        self.elb.modify_target_group(TargetGroupArn=arn, **change)
        (found,) = self.elb.describe_target_groups()["TargetGroups"]
        self.assertEqual(found["Matcher"], {"HttpCode": "200-299"})
        self.assertEqual((found["HealthCheckPath"], found["HealthCheckIntervalSeconds"]), ("/", 15))
        self.refused("ValidationError", self.elb.modify_target_group, TargetGroupArn=arn, HealthCheckIntervalSeconds=9)
        self.elb.modify_target_group(TargetGroupArn=arn, HealthCheckProtocol="TCP")
        (found,) = self.elb.describe_target_groups()["TargetGroups"]
        self.assertNotIn("Matcher", found)
        self.assertEqual(found["HealthCheckIntervalSeconds"], 15)

    def test_attributes_are_those_of_a_network_load_balancer(self):
        for protocol, target_type, kept in (("TCP", "ip", "false"), ("TCP", "instance", "true"), ("UDP", "ip", "true")):
            arn = self.group(f"{protocol}-{target_type}", protocol, TargetType=target_type)["TargetGroupArn"]
            found = self.elb.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
            found = {one["Key"]: one["Value"] for one in found}
            self.assertEqual((found["preserve_client_ip.enabled"], found["proxy_protocol_v2.enabled"]), (kept, "false"))
            self.assertNotIn("slow_start.duration_seconds", found)
        change = self.elb.modify_target_group_attributes
        wrong = [{"Key": "preserve_client_ip.enabled", "Value": "false"}]
        self.refused("InvalidConfigurationRequest", change, TargetGroupArn=arn, Attributes=wrong)
        wrong = [{"Key": "slow_start.duration_seconds", "Value": "30"}]
        self.refused("ValidationError", change, TargetGroupArn=arn, Attributes=wrong)
        right = [{"Key": "proxy_protocol_v2.enabled", "Value": "true"}]
        self.assertIn(right[0], change(TargetGroupArn=arn, Attributes=right)["Attributes"])

    def test_one_in_use_stays_and_one_that_is_gone_may_be_deleted(self):
        balancer, group = self.balancer(), self.group()
        arn = group["TargetGroupArn"]
        listener = self.listener(balancer, group)
        (found,) = self.elb.describe_target_groups()["TargetGroups"]
        self.assertEqual(found["LoadBalancerArns"], [balancer["LoadBalancerArn"]])
        self.refused("ResourceInUse", self.elb.delete_target_group, TargetGroupArn=arn)
        self.elb.delete_listener(ListenerArn=listener["ListenerArn"])
        (found,) = self.elb.describe_target_groups()["TargetGroups"]
        self.assertEqual(found.get("LoadBalancerArns", []), [])
        self.elb.delete_target_group(TargetGroupArn=arn)
        self.elb.delete_target_group(TargetGroupArn=arn)
        self.refused("TargetGroupNotFound", self.elb.describe_target_groups, TargetGroupArns=[arn])


class Targets(Case):
    def register(self, group, *targets):
        given = [{"Id": one[0], "Port": one[1]} | ({"AvailabilityZone": one[2]} if one[2:] else {}) for one in targets]
        self.elb.register_targets(TargetGroupArn=group["TargetGroupArn"], Targets=given)

    def deregister(self, group, *targets):
        given = [{"Id": identity, "Port": port} for identity, port in targets]
        self.elb.deregister_targets(TargetGroupArn=group["TargetGroupArn"], Targets=given)

    def serving(self, **more):
        group = self.group(**more)
        self.listener(self.balancer(), group)
        return group

    def test_a_target_is_an_id_and_a_port(self):
        group = self.serving()
        self.register(group, ("10.0.0.5", 80), ("10.0.0.5", 81))
        self.assertEqual(set(self.health(group)), {("10.0.0.5", 80), ("10.0.0.5", 81)})
        self.deregister(group, ("10.0.0.5", 80), ("10.0.0.6", 80))
        self.assertEqual(set(self.health(group)), {("10.0.0.5", 81)})

    def test_initial_then_healthy_then_draining_then_gone(self):
        self.settings(provisioning=10, registration=20, draining=30)
        group, key = self.serving(), ("10.0.0.5", 80)
        self.register(group, key)
        for seconds, state in ((0, "initial"), (29, "initial"), (1, "healthy")):
            self.advance(seconds)
            self.assertEqual(self.health(group)[key][0], state)
        self.deregister(group, key)
        self.assertEqual(self.health(group)[key], ("draining", "Target.DeregistrationInProgress"))
        self.advance(29)
        self.assertEqual(self.health(group)[key][0], "draining")
        self.register(group, ("10.0.0.6", 80))
        self.register(group, key)
        self.assertEqual(self.health(group)[key][0], "initial")
        self.deregister(group, key)
        self.advance(30)
        self.assertEqual(set(self.health(group)), {("10.0.0.6", 80)})
        unknown = self.health(group, [{"Id": "10.0.0.5", "Port": 80}])
        self.assertEqual(unknown[key], ("unused", "Target.NotRegistered"))

    def test_draining_can_follow_the_attribute(self):
        self.settings(draining=None)
        group, key = self.serving(), ("10.0.0.5", 80)
        delay = [{"Key": "deregistration_delay.timeout_seconds", "Value": "7"}]
        self.elb.modify_target_group_attributes(TargetGroupArn=group["TargetGroupArn"], Attributes=delay)
        self.register(group, key)
        self.deregister(group, key)
        self.advance(6)
        self.assertEqual(self.health(group)[key][0], "draining")
        self.advance(1)
        self.assertEqual(self.health(group), {})

    def test_targets_of_a_group_without_listener_are_unused(self):
        group, key = self.group(), ("10.0.0.5", 80)
        self.register(group, key)
        self.assertEqual(self.health(group)[key], ("unused", "Target.NotInUse"))
        self.settings(registration=5)
        self.advance(100)
        self.listener(self.balancer(), group)
        self.assertEqual(self.health(group)[key][0], "initial")
        self.advance(5)
        self.assertEqual(self.health(group)[key][0], "healthy")

    def test_health_is_set_from_outside(self):
        group = self.serving()
        a, b = ("10.0.0.5", 80), ("10.0.0.6", 80)
        self.register(group, a, b)
        report = {"region": "us-east-1", "group": group["TargetGroupName"], "id": a[0], "port": 80}
        control("POST", "health", [report | {"state": "unhealthy"}])
        self.assertEqual(self.health(group), {a: ("unhealthy", "Target.FailedHealthChecks"), b: ("healthy", None)})
        control("POST", "health", [report | {"state": "unhealthy", "reason": "Target.Timeout"}])
        self.assertEqual(self.health(group)[a], ("unhealthy", "Target.Timeout"))
        control("POST", "health", [report])
        self.assertEqual(self.health(group)[a][0], "healthy")
        self.settings(health="initial")
        self.assertEqual(self.health(group)[a][0], "initial")
        with self.assertRaises(ValueError):
            control("POST", "health", [report | {"state": "well"}])

    def test_addresses(self):
        group = self.serving()
        for wrong in (("i-1", 80), ("10.9.0.1", 80), ("10.0.0.5", 80, "all"), ("1.1.1.1", 80, "all"), ("fd00::1", 80)):
            arguments = {"Id": wrong[0], "Port": wrong[1]} | ({"AvailabilityZone": wrong[2]} if wrong[2:] else {})
            arn = group["TargetGroupArn"]
            self.refused("ValidationError", self.elb.register_targets, TargetGroupArn=arn, Targets=[arguments])
        self.register(group, ("10.9.0.1", 80, "all"), ("10.0.1.5", 80))
        found = self.elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        zones = {one["Target"]["Id"]: one["Target"]["AvailabilityZone"] for one in found}
        self.assertEqual(zones, {"10.9.0.1": "all", "10.0.1.5": "us-east-1b"})

    def test_ipv6_addresses_have_one_spelling(self):
        group = self.group(IpAddressType="ipv6")
        address = self.v6[0][5]
        self.register(group, (str(address), 80), (address.exploded, 80))
        self.assertEqual(len(self.health(group)), 1)

    def test_instances(self):
        group = self.serving(TargetType="instance", name="nodes")
        arn = group["TargetGroupArn"]
        self.refused("InvalidTarget", self.elb.register_targets, TargetGroupArn=arn, Targets=[{"Id": "i-00000000"}])
        one, two = self.instances(2)
        self.register(group, (one, 30000), (one, 30001), (two, 30000))
        self.ec2.stop_instances(InstanceIds=[two])
        self.assertEqual(self.health(group)[two, 30000], ("unused", "Target.InvalidState"))
        self.refused("InvalidTarget", self.elb.register_targets, TargetGroupArn=arn, Targets=[{"Id": two}])
        self.ec2.terminate_instances(InstanceIds=[one])
        self.assertEqual(set(self.health(group)), {(two, 30000)})
        self.settings(instances="any")
        self.register(group, ("i-00000000", 1))

    def test_limit(self):
        group = self.serving()
        hosts = [f"10.0.{n // 250}.{n % 250}" for n in range(1001)]
        for start in range(0, 1000, 200):
            self.register(group, *[(host, 80) for host in hosts[start : start + 200]])
        arn = group["TargetGroupArn"]
        one_more = [{"Id": hosts[1000], "Port": 80}]
        self.refused("TooManyTargets", self.elb.register_targets, TargetGroupArn=arn, Targets=one_more)
        self.register(group, (hosts[0], 80))
        self.assertEqual(len(self.health(group)), 1000)


if __name__ == "__main__":
    unittest.main()
