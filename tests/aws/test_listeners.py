"""Listeners."""

import unittest

from case import Case, client


class Listeners(Case):
    def certificate(self, name="example.com"):
        """A certificate's ARN."""
        return client("acm").request_certificate(DomainName=name)["CertificateArn"]

    def test_one_listener_on_a_port(self):
        balancer, group = self.balancer(), self.group(protocol="TCP_UDP")
        made = self.listener(balancer, group)
        self.assertIn(":listener/net/web/", made["ListenerArn"])
        self.assertEqual(self.listener(balancer, group)["ListenerArn"], made["ListenerArn"])
        udp = self.forward(group) | {"LoadBalancerArn": balancer["LoadBalancerArn"], "Protocol": "UDP", "Port": 80}
        self.refused("DuplicateListener", self.elb.create_listener, **udp)
        other = self.listener(balancer, group, port=81)
        self.refused("DuplicateListener", self.elb.modify_listener, ListenerArn=other["ListenerArn"], Port=80)

    def test_protocols_must_match(self):
        matches = {"TCP": {"TCP", "TCP_UDP"}, "UDP": {"UDP", "TCP_UDP"}, "TCP_UDP": {"TCP_UDP"}, "TLS": {"TLS", "TCP"}}
        tls = {"Certificates": [{"CertificateArn": self.certificate()}]}
        for n, wanted in enumerate(matches):
            balancer = self.balancer(f"web{n}")
            for protocol in matches:
                group = self.group(f"g{n}-{protocol.replace('_', '-')}", protocol)
                arguments = self.forward(group) | {"LoadBalancerArn": balancer["LoadBalancerArn"], "Protocol": wanted}
                arguments |= {"Port": 80} | (tls if wanted == "TLS" else {})
                if protocol in matches[wanted]:
                    made = self.elb.create_listener(**arguments)["Listeners"][0]
                    self.elb.delete_listener(ListenerArn=made["ListenerArn"])
                else:
                    self.refused("IncompatibleProtocols", self.elb.create_listener, **arguments)

    def test_tls(self):
        balancer, group = self.balancer(), self.group()
        common = self.forward(group) | {"LoadBalancerArn": balancer["LoadBalancerArn"], "Protocol": "TLS", "Port": 443}
        one, two = self.certificate("one.example"), self.certificate("two.example")
        create = self.elb.create_listener
        self.refused("ValidationError", create, **common)
        unknown = [{"CertificateArn": one[:-4] + "0000"}]
        self.refused("CertificateNotFound", create, **common, Certificates=unknown)
        common |= {"Certificates": [{"CertificateArn": one}]}
        self.refused("SSLPolicyNotFound", create, **common, SslPolicy="none")
        self.refused("ALPNPolicyNotFound", create, **common, AlpnPolicy=["h2"])
        self.refused("ValidationError", create, **common | {"Protocol": "TCP"})
        made = create(**common, AlpnPolicy=["HTTP2Preferred"])["Listeners"][0]
        self.assertEqual((made["SslPolicy"], made["AlpnPolicy"]), ("ELBSecurityPolicy-2016-08", ["HTTP2Preferred"]))
        arn = made["ListenerArn"]
        self.elb.add_listener_certificates(ListenerArn=arn, Certificates=[{"CertificateArn": two}])
        found = self.elb.describe_listener_certificates(ListenerArn=arn)["Certificates"]
        self.assertEqual([(each["CertificateArn"], each["IsDefault"]) for each in found], [(one, True), (two, False)])
        remove = self.elb.remove_listener_certificates
        self.refused("OperationNotPermitted", remove, ListenerArn=arn, Certificates=[{"CertificateArn": one}])
        remove(ListenerArn=arn, Certificates=[{"CertificateArn": two}])
        self.elb.modify_listener(ListenerArn=arn, Protocol="TCP")
        (found,) = self.elb.describe_listeners(ListenerArns=[arn])["Listeners"]
        self.assertEqual((found["Protocol"], found.get("Certificates")), ("TCP", None))
        self.elb.modify_listener(ListenerArn=arn, Protocol="TLS", Certificates=[{"CertificateArn": two}])
        (found,) = self.elb.describe_listeners(ListenerArns=[arn])["Listeners"]
        self.assertEqual(found["Certificates"], [{"CertificateArn": two}])

    def test_a_target_group_serves_one_load_balancer(self):
        group = self.group()
        self.listener(self.balancer("one"), group)
        two = self.balancer("two")
        arguments = self.forward(group) | {"LoadBalancerArn": two["LoadBalancerArn"], "Protocol": "TCP", "Port": 80}
        self.refused("TargetGroupAssociationLimit", self.elb.create_listener, **arguments)

    def test_limit_and_pages(self):
        balancer, group = self.balancer(), self.group()
        for port in range(1, 51):
            self.listener(balancer, group, port=port)
        arn = balancer["LoadBalancerArn"]
        arguments = self.forward(group) | {"LoadBalancerArn": arn, "Protocol": "TCP", "Port": 51}
        self.refused("TooManyListeners", self.elb.create_listener, **arguments)
        size = {"PageSize": 20}
        pages = self.elb.get_paginator("describe_listeners").paginate(LoadBalancerArn=arn, PaginationConfig=size)
        self.assertEqual([len(page["Listeners"]) for page in pages], [20, 20, 10])
        self.elb.delete_load_balancer(LoadBalancerArn=arn)
        self.refused("LoadBalancerNotFound", self.elb.describe_listeners, LoadBalancerArn=arn)

    def test_another_group_is_put_in_place(self):
        balancer, one, two = self.balancer(), self.group("one"), self.group("two")
        arn = self.listener(balancer, one)["ListenerArn"]
        self.elb.modify_listener(ListenerArn=arn, **self.forward(two))
        self.elb.delete_target_group(TargetGroupArn=one["TargetGroupArn"])
        self.refused("ResourceInUse", self.elb.delete_target_group, TargetGroupArn=two["TargetGroupArn"])
        self.refused("TargetGroupNotFound", self.elb.modify_listener, ListenerArn=arn, **self.forward(one))

    def test_attributes_and_tags(self):
        balancer, group = self.balancer(), self.group(protocol="TCP_UDP")
        tcp = self.listener(balancer, group, Tags=[{"Key": "a", "Value": "1"}])["ListenerArn"]
        udp = self.listener(balancer, group, protocol="UDP", port=53)["ListenerArn"]
        timeout = [{"Key": "tcp.idle_timeout.seconds", "Value": "100"}]
        change = self.elb.modify_listener_attributes
        self.assertEqual(change(ListenerArn=tcp, Attributes=timeout)["Attributes"], timeout)
        self.refused("InvalidConfigurationRequest", change, ListenerArn=udp, Attributes=timeout)
        self.refused("ValidationError", change, ListenerArn=tcp, Attributes=[timeout[0] | {"Value": "5"}])
        (found,) = self.elb.describe_tags(ResourceArns=[tcp])["TagDescriptions"]
        self.assertEqual(found["Tags"], [{"Key": "a", "Value": "1"}])

    def test_udp_and_dualstack_exclude_each_other(self):
        self.give_ipv6()
        balancer, group = self.balancer(IpAddressType="dualstack"), self.group(protocol="UDP")
        arn = balancer["LoadBalancerArn"]
        arguments = self.forward(group) | {"LoadBalancerArn": arn, "Protocol": "UDP", "Port": 53}
        self.refused("InvalidConfigurationRequest", self.elb.create_listener, **arguments)
        self.elb.set_ip_address_type(LoadBalancerArn=arn, IpAddressType="ipv4")
        self.elb.create_listener(**arguments)
        change = self.elb.set_ip_address_type
        self.refused("InvalidConfigurationRequest", change, LoadBalancerArn=arn, IpAddressType="dualstack")
        arguments |= self.forward(self.group("v6", IpAddressType="ipv6")) | {"Protocol": "TCP", "Port": 1}
        self.refused("InvalidConfigurationRequest", self.elb.create_listener, **arguments)


if __name__ == "__main__":
    unittest.main()
