"""What the tests of the wrapper share: clients, a VPC, and the control socket.

The server runs already: HERALD_MOTO_ENDPOINT and HERALD_MOTO_SOCKET say where. HERALD_MOTO_CA is the certificate to
trust, if it is served over TLS.
"""

import http.client
import ipaddress
import itertools
import json
import os
import socket
import unittest
from urllib.parse import urlencode

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ENDPOINT = os.environ["HERALD_MOTO_ENDPOINT"]
SOCKET = os.environ["HERALD_MOTO_SOCKET"]
# A machine's own bundle would be used instead of what `verify` says.
for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"):
    os.environ.pop(name, None)


class Unix(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)


def control(method: str, name: str, body=None, **query):
    """A control call's answer."""
    connection = Unix("control")
    path = f"/herald/{name}" + (f"?{urlencode(query)}" if query else "")
    connection.request(method, path, None if body is None else json.dumps(body))
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    if answer.status != 200:
        raise ValueError(found["error"])
    return found


def client(service: str, secret="test", region="us-east-1", **more):
    # Each call once and straight to the server, whatever proxy the machine has; what is wrong with it, it shall say.
    config = Config(retries={"total_max_attempts": 1}, proxies={}, parameter_validation=False)
    return boto3.client(
        service,
        endpoint_url=ENDPOINT,
        region_name=region,
        aws_access_key_id=more.pop("key", "test"),
        aws_secret_access_key=secret,
        verify=os.environ.get("HERALD_MOTO_CA", False),
        config=config,
        **more,
    )


class Case(unittest.TestCase):
    """A test on a server that is as at its start, with a manual clock and a VPC of two zones."""

    def setUp(self):
        control("POST", "reset")
        self.settings(clock="manual")
        self.elb, self.ec2 = client("elbv2"), client("ec2")
        vpc = self.ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
        self.vpc = vpc["VpcId"]
        block = ipaddress.ip_network(vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"])
        self.v6 = list(itertools.islice(block.subnets(new_prefix=64), 3))
        self.subnets = [self.subnet(n, zone) for n, zone in enumerate("aba")]

    def subnet(self, n: int, zone: str) -> str:
        made = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=f"10.0.{n}.0/24", AvailabilityZone=f"us-east-1{zone}")
        return made["Subnet"]["SubnetId"]

    def give_ipv6(self):
        """The two subnets that load balancers are made in get IPv6 addresses."""
        for subnet, net in zip(self.subnets, self.v6[:2]):
            self.ec2.associate_subnet_cidr_block(SubnetId=subnet, Ipv6CidrBlock=str(net))

    def settings(self, **settings):
        control("POST", "settings", {"settings": settings})

    def advance(self, seconds: float):
        control("POST", "clock", {"seconds": seconds})

    def refused(self, code: str, call, **arguments):
        """The call is answered with this error code."""
        with self.assertRaises(ClientError) as caught:
            call(**arguments)
        self.assertEqual(caught.exception.response["Error"]["Code"], code, caught.exception)
        return caught.exception.response

    def balancer(self, name="web", **more) -> dict:
        arguments = {"Name": name, "Type": "network", "Scheme": "internal"} | more
        if "SubnetMappings" not in arguments:
            arguments.setdefault("Subnets", self.subnets[:2])
        return self.elb.create_load_balancer(**arguments)["LoadBalancers"][0]

    def group(self, name="web", protocol="TCP", port=80, **more) -> dict:
        arguments = {"Name": name, "Protocol": protocol, "Port": port, "VpcId": self.vpc, "TargetType": "ip"} | more
        return self.elb.create_target_group(**arguments)["TargetGroups"][0]

    def listener(self, balancer: dict, group: dict, protocol="TCP", port=80, **more) -> dict:
        arguments = self.forward(group) | {"Protocol": protocol, "Port": port} | more
        return self.elb.create_listener(LoadBalancerArn=balancer["LoadBalancerArn"], **arguments)["Listeners"][0]

    @staticmethod
    def forward(group: dict) -> dict:
        return {"DefaultActions": [{"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}]}

    def security_group(self, name: str, vpc=None) -> str:
        made = self.ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc or self.vpc)
        return made["GroupId"]

    def instances(self, count=1) -> list[str]:
        made = self.ec2.run_instances(ImageId="ami-12c6146b", MinCount=count, MaxCount=count, SubnetId=self.subnets[0])
        return [one["InstanceId"] for one in made["Instances"]]

    def health(self, group: dict, targets=None) -> dict:
        """State and reason by (id, port)."""
        arguments = {"Targets": targets} if targets else {}
        found = self.elb.describe_target_health(TargetGroupArn=group["TargetGroupArn"], **arguments)
        states = {}
        for one in found["TargetHealthDescriptions"]:
            target, health = one["Target"], one["TargetHealth"]
            states[target["Id"], target["Port"]] = health["State"], health.get("Reason")
        return states
