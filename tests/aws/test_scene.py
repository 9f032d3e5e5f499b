"""Worlds made without calls, and what is seen of them."""

import unittest

from case import Case, client, control

REGION = "us-east-1"


class Scene(Case):
    def scene(self, name: str, **given):
        return control("POST", f"scene/{name}", {"region": REGION} | given)

    def resources(self, region=REGION) -> list[str]:
        return control("GET", "scene/resources", region=region)

    def test_a_cluster_is_as_if_made_by_calls(self):
        made = self.scene("cluster", instances=["n1", "n2"])
        subnets = self.ec2.describe_subnets(SubnetIds=made["subnets"])["Subnets"]
        zones = {one["SubnetId"]: one["AvailabilityZone"] for one in subnets}
        self.assertEqual([zones[one][-1] for one in made["subnets"]], ["a", "b", "a", "b"])
        v6 = {one["SubnetId"]: one["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"] for one in subnets}
        self.assertEqual([v6[one] for one in made["subnets"]], made["ipv6"])
        tables = self.ec2.describe_route_tables(Filters=[{"Name": "vpc-id", "Values": [made["vpc"]]}])["RouteTables"]
        (public,) = [one for one in tables if any("GatewayId" in r and r["GatewayId"] != "local" for r in one["Routes"])]
        self.assertEqual({one.get("SubnetId") for one in public["Associations"]}, set(made["subnets"][:2]))
        found = self.ec2.describe_instances(InstanceIds=list(made["instances"].values()))["Reservations"]
        states = [one["State"]["Name"] for reservation in found for one in reservation["Instances"]]
        self.assertEqual(states, ["running", "running"])
        (group,) = self.ec2.describe_security_groups(GroupIds=[made["node_group"]])["SecurityGroups"]
        self.assertEqual((group["GroupName"], group["VpcId"]), ("nodes", made["vpc"]))
        self.balancer(Subnets=made["subnets"][:2], IpAddressType="dualstack", SecurityGroups=[made["node_group"]])

    def test_what_exists_is_told_in_lines(self):
        made = self.scene("cluster", instances=["n1"])
        self.settings(provisioning=10, draining=30)
        nodes, instance = made["node_group"], made["instances"]["n1"]
        front = self.security_group("front", made["vpc"])
        group = self.group(VpcId=made["vpc"], TargetType="instance")
        balancer = self.balancer(Subnets=made["subnets"][:2], SecurityGroups=[front])
        self.listener(balancer, group)
        source = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "UserIdGroupPairs": [{"GroupId": front}]}
        self.ec2.authorize_security_group_ingress(GroupId=nodes, IpPermissions=[source])
        arn = group["TargetGroupArn"]
        self.elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": instance, "Port": 30000}])
        self.assertEqual(
            self.resources(),
            [
                "listener web 80 TCP web",
                "nlb web internal ['front'] retire None",
                "rule nodes tcp 1-2 front",
                "security group front",
                "security group nodes",
                "target group web [('n1', 30000)]",
            ],
        )

        def serving(port=80):
            return control("GET", "scene/serving", region=REGION, hostname=balancer["DNSName"], port=port)

        self.assertEqual(serving(), 0)
        self.advance(10)
        self.assertEqual((serving(), serving(81)), (1, 0))
        self.elb.deregister_targets(TargetGroupArn=arn, Targets=[{"Id": instance, "Port": 30000}])
        self.assertEqual(serving(), 0)
        self.assertIn("target group web []", self.resources())

    def test_it_is_neither_logged_nor_met_by_a_fault(self):
        control("POST", "faults", [{"action": "*", "count": None, "code": "Throttling"}])
        control("DELETE", "calls")
        self.scene("cluster", instances=["n1"])
        self.assertEqual(control("GET", "calls"), [])
        with self.assertRaises(ValueError):
            self.scene("nothing")
        with self.assertRaises(ValueError):
            self.scene("cluster", nodes=1)

    def test_one_region_is_reset_and_the_others_are_not(self):
        west = "eu-west-1"
        control("POST", "settings", {"region": west, "settings": {"clock": "manual", "provisioning": 5}})
        control("POST", "faults", [{"action": "x", "code": "y", "region": west}])
        theirs = control("POST", "scene/cluster", {"region": west})
        elb = client("elbv2", region=west)
        elb.create_load_balancer(Name="x", Type="network", Scheme="internal", Subnets=theirs["subnets"][:1])
        self.balancer()
        control("POST", "reset", {"region": west})
        self.assertEqual(self.resources(west), [])
        self.assertEqual(control("GET", "calls", region=west), [])
        self.assertEqual(control("GET", "faults"), [])
        self.assertEqual(elb.describe_load_balancers()["LoadBalancers"], [])
        theirs = control("POST", "scene/cluster", {"region": west})
        made = elb.create_load_balancer(Name="x", Type="network", Scheme="internal", Subnets=theirs["subnets"][:1])
        self.assertEqual(made["LoadBalancers"][0]["State"]["Code"], "provisioning")
        self.assertEqual(elb.describe_load_balancers()["LoadBalancers"][0]["State"]["Code"], "active")
        self.assertEqual(self.resources(), ["nlb web internal [] retire None"])
        self.assertTrue(control("GET", "calls", region=REGION))


if __name__ == "__main__":
    unittest.main()
