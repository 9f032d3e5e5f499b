"""Load balancers: names, idempotent creation, placement, state, protection, pages, tags, security groups."""

import unittest

from case import Case


class Creation(Case):
    def test_arn_and_dns_name_have_awss_form(self):
        made = self.balancer()
        self.assertRegex(made["LoadBalancerArn"], r":loadbalancer/net/web/[0-9a-f]{16}$")
        self.assertRegex(made["DNSName"], r"^web-[0-9a-f]{16}\.elb\.us-east-1\.amazonaws\.com$")
        self.assertEqual(made["State"]["Code"], "provisioning")
        self.assertEqual((made["Type"], made["Scheme"], made["VpcId"]), ("network", "internal", self.vpc))
        self.assertEqual({zone["SubnetId"] for zone in made["AvailabilityZones"]}, set(self.subnets[:2]))

    def test_the_same_again_is_the_same_and_otherwise_a_duplicate(self):
        tags = [{"Key": "a", "Value": "1"}]
        made = self.balancer(Tags=tags)
        again = self.balancer(Tags=tags, Subnets=self.subnets[1::-1])
        self.assertEqual(made["LoadBalancerArn"], again["LoadBalancerArn"])
        self.assertEqual(len(self.elb.describe_load_balancers()["LoadBalancers"]), 1)
        code = "DuplicateLoadBalancerName"
        self.refused(code, self.balancer, Tags=[{"Key": "a", "Value": "2"}])
        self.refused(code, self.balancer, Tags=tags, Scheme="internet-facing")
        self.refused(code, self.balancer, Tags=tags, Subnets=self.subnets[:1])
        self.refused(code, self.balancer, Tags=tags, SecurityGroups=[self.security_group("x")])
        self.refused(code, self.balancer, Type="application", Tags=tags)

    def test_names(self):
        for name in ("internal-web", "-web", "web-", "we_b", "x" * 33):
            self.refused("ValidationError", self.balancer, name=name)
        self.balancer("x" * 32)

    def test_subnets(self):
        self.refused("SubnetNotFound", self.balancer, Subnets=["subnet-00000000"])
        both_in_a = [self.subnets[0], self.subnets[2]]
        self.refused("InvalidConfigurationRequest", self.balancer, Subnets=both_in_a)
        self.refused("ValidationError", self.balancer, Subnets=[])

    def test_security_groups_are_of_the_vpc(self):
        other = self.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
        self.refused("InvalidSecurityGroup", self.balancer, SecurityGroups=["sg-00000000"])
        self.refused("InvalidSecurityGroup", self.balancer, SecurityGroups=[self.security_group("x", other)])

    def test_addresses_are_echoed(self):
        mappings = [
            {"SubnetId": self.subnets[0], "PrivateIPv4Address": "10.0.0.9"},
            {"SubnetId": self.subnets[1], "PrivateIPv4Address": "10.0.1.9"},
        ]
        self.balancer(SubnetMappings=mappings)
        (found,) = self.elb.describe_load_balancers()["LoadBalancers"]
        zones = {zone["SubnetId"]: zone["LoadBalancerAddresses"] for zone in found["AvailabilityZones"]}
        self.assertEqual(zones[self.subnets[1]], [{"PrivateIPv4Address": "10.0.1.9"}])
        self.refused("InvalidConfigurationRequest", self.balancer, name="other", SubnetMappings=mappings)
        outside = [{"SubnetId": self.subnets[0], "PrivateIPv4Address": "10.0.1.10"}]
        self.refused("InvalidConfigurationRequest", self.balancer, name="other", SubnetMappings=outside)

    def test_elastic_addresses(self):
        elastic = self.ec2.allocate_address(Domain="vpc")
        mapping = [{"SubnetId": self.subnets[0], "AllocationId": elastic["AllocationId"]}]
        self.refused("InvalidConfigurationRequest", self.balancer, SubnetMappings=mapping)
        made = self.balancer(SubnetMappings=mapping, Scheme="internet-facing")
        (address,) = made["AvailabilityZones"][0]["LoadBalancerAddresses"]
        self.assertEqual(address, {"AllocationId": elastic["AllocationId"], "IpAddress": elastic["PublicIp"]})
        arguments = {"name": "other", "SubnetMappings": mapping, "Scheme": "internet-facing"}
        self.refused("AllocationIdNotFound", self.balancer, **arguments)

    def test_dualstack_needs_ipv6_in_every_subnet(self):
        self.refused("InvalidConfigurationRequest", self.balancer, IpAddressType="dualstack")
        self.give_ipv6()
        arn = self.balancer(IpAddressType="dualstack")["LoadBalancerArn"]
        self.assertEqual(self.elb.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="ipv4")["IpAddressType"], "ipv4")

    def test_ipv6_addresses_are_echoed(self):
        self.give_ipv6()
        pairs = list(zip(self.subnets, self.v6))[:2]
        right = [{"SubnetId": subnet, "IPv6Address": str(net[9])} for subnet, net in pairs]
        self.refused("InvalidConfigurationRequest", self.balancer, SubnetMappings=right)
        crossed = [{"SubnetId": self.subnets[0], "IPv6Address": str(self.v6[1][9])}]
        self.refused("InvalidConfigurationRequest", self.balancer, SubnetMappings=crossed, IpAddressType="dualstack")
        made = self.balancer(SubnetMappings=right, IpAddressType="dualstack")
        found = [zone["LoadBalancerAddresses"][0]["IPv6Address"] for zone in made["AvailabilityZones"]]
        self.assertEqual(found, [str(net[9]) for _, net in pairs])

    def test_quota(self):
        self.settings(load_balancers=1)
        self.balancer()
        self.refused("TooManyLoadBalancers", self.balancer, name="two")


class Life(Case):
    def state(self):
        (found,) = self.elb.describe_load_balancers()["LoadBalancers"]
        return found["State"]["Code"]

    def test_it_is_active_when_the_clock_says_so(self):
        self.settings(provisioning=100)
        self.balancer()
        self.assertEqual(self.state(), "provisioning")
        self.advance(99)
        self.assertEqual(self.state(), "provisioning")
        self.advance(1)
        self.assertEqual(self.state(), "active")

    def test_protection(self):
        arn = self.balancer()["LoadBalancerArn"]
        key = "deletion_protection.enabled"
        for value in ("true", "false"):
            attributes = [{"Key": key, "Value": value}]
            self.elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=attributes)
            if value == "true":
                self.refused("OperationNotPermitted", self.elb.delete_load_balancer, LoadBalancerArn=arn)
        self.elb.delete_load_balancer(LoadBalancerArn=arn)
        self.elb.delete_load_balancer(LoadBalancerArn=arn)
        self.refused("LoadBalancerNotFound", self.elb.describe_load_balancers, LoadBalancerArns=[arn])

    def test_attributes_are_those_of_a_network_load_balancer(self):
        arn = self.balancer()["LoadBalancerArn"]
        found = self.elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
        self.assertIn({"Key": "load_balancing.cross_zone.enabled", "Value": "false"}, found)
        change = self.elb.modify_load_balancer_attributes
        for key, value in (("idle_timeout.timeout_seconds", "60"), ("load_balancing.cross_zone.enabled", "yes")):
            self.refused("ValidationError", change, LoadBalancerArn=arn, Attributes=[{"Key": key, "Value": value}])

    def test_subnets_can_be_added(self):
        arn = self.balancer(Subnets=self.subnets[:1])["LoadBalancerArn"]
        answer = self.elb.set_subnets(LoadBalancerArn=arn, Subnets=self.subnets[:2])
        self.assertEqual(len(answer["AvailabilityZones"]), 2)
        moved = [{"SubnetId": self.subnets[0], "PrivateIPv4Address": "10.0.0.9"}]
        self.refused("InvalidConfigurationRequest", self.elb.set_subnets, LoadBalancerArn=arn, SubnetMappings=moved)
        self.settings(subnet_removal=False)
        self.refused("InvalidConfigurationRequest", self.elb.set_subnets, LoadBalancerArn=arn, Subnets=self.subnets[:1])

    def test_security_groups_are_for_ever_or_never(self):
        one, two = self.security_group("one"), self.security_group("two")
        without = self.balancer("without")["LoadBalancerArn"]
        change = self.elb.set_security_groups
        self.refused("InvalidConfigurationRequest", change, LoadBalancerArn=without, SecurityGroups=[one])
        made = self.balancer("with", SecurityGroups=[one])
        flag = "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"
        self.assertEqual(made[flag], "on")
        answer = change(LoadBalancerArn=made["LoadBalancerArn"], SecurityGroups=[two], **{flag: "off"})
        self.assertEqual((answer["SecurityGroupIds"], answer[flag]), ([two], "off"))
        found = self.elb.describe_load_balancers(Names=["with"])["LoadBalancers"][0]
        self.assertEqual((found["SecurityGroups"], found[flag]), ([two], "off"))
        self.refused("InvalidConfigurationRequest", change, LoadBalancerArn=made["LoadBalancerArn"], SecurityGroups=[])

    def test_a_security_group_in_use_stays(self):
        self.settings(release=30)
        used, source = self.security_group("used"), self.security_group("source")
        pair = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "UserIdGroupPairs": [{"GroupId": source}]}
        self.ec2.authorize_security_group_ingress(GroupId=used, IpPermissions=[pair])
        arn = self.balancer(SecurityGroups=[used])["LoadBalancerArn"]
        self.refused("DependencyViolation", self.ec2.delete_security_group, GroupId=used)
        self.refused("DependencyViolation", self.ec2.delete_security_group, GroupId=source)
        self.elb.delete_load_balancer(LoadBalancerArn=arn)
        self.refused("DependencyViolation", self.ec2.delete_security_group, GroupId=used)
        self.advance(30)
        self.ec2.delete_security_group(GroupId=used)
        self.ec2.delete_security_group(GroupId=source)
        self.refused("InvalidGroup.NotFound", self.ec2.delete_security_group, GroupId=source)


class SecurityGroups(Case):
    def test_rules_keep_their_descriptions(self):
        group, source = self.security_group("group"), self.security_group("source")
        common = {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2}
        given = [
            common | {"UserIdGroupPairs": [{"GroupId": source, "Description": "by group"}]},
            common | {"IpRanges": [{"CidrIp": "10.0.0.0/8", "Description": "by v4"}]},
            common | {"Ipv6Ranges": [{"CidrIpv6": "fd00::/8", "Description": "by v6"}]},
        ]
        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=given)
        duplicate = self.ec2.authorize_security_group_ingress
        self.refused("InvalidPermission.Duplicate", duplicate, GroupId=group, IpPermissions=given[:1])
        (found,) = self.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        kinds = ("UserIdGroupPairs", "IpRanges", "Ipv6Ranges")
        sources = [one for rule in found["IpPermissions"] for kind in kinds for one in rule[kind]]
        self.assertEqual({one.get("Description") for one in sources}, {"by group", "by v4", "by v6"})
        self.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=given)
        (found,) = self.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        self.assertEqual(found["IpPermissions"], [])


class Listing(Case):
    def test_pages(self):
        self.settings(page_size=2)
        for n in range(5):
            self.balancer(f"web{n}")
            self.group(f"web{n}")
        for call, items, name in (
            ("describe_load_balancers", "LoadBalancers", "LoadBalancerName"),
            ("describe_target_groups", "TargetGroups", "TargetGroupName"),
        ):
            first = getattr(self.elb, call)()
            self.assertEqual(len(first[items]), 2)
            self.assertIn("NextMarker", first)
            pages = list(self.elb.get_paginator(call).paginate())
            self.assertEqual([len(page[items]) for page in pages], [2, 2, 1])
            self.assertEqual(len({one[name] for page in pages for one in page[items]}), 5)

    def test_one_unknown_name_fails_the_call(self):
        self.balancer()
        self.refused("LoadBalancerNotFound", self.elb.describe_load_balancers, Names=["web", "none"])

    def test_tags(self):
        arn = self.balancer(Tags=[{"Key": "a", "Value": "1"}])["LoadBalancerArn"]
        many = [{"Key": f"k{n}", "Value": ""} for n in range(50)]
        self.refused("TooManyTags", self.elb.add_tags, ResourceArns=[arn], Tags=many)
        self.elb.add_tags(ResourceArns=[arn], Tags=many[:49])
        self.refused("TooManyTags", self.balancer, name="b", Tags=[*many, {"Key": "one", "Value": "more"}])
        self.refused("DuplicateTagKeys", self.balancer, name="b", Tags=[many[0], many[0]])
        (found,) = self.elb.describe_tags(ResourceArns=[arn])["TagDescriptions"]
        self.assertEqual(len(found["Tags"]), 50)
        self.refused("ValidationError", self.elb.describe_tags, ResourceArns=[arn] * 21)
        self.elb.delete_load_balancer(LoadBalancerArn=arn)
        self.refused("LoadBalancerNotFound", self.elb.describe_tags, ResourceArns=[arn])


if __name__ == "__main__":
    unittest.main()
