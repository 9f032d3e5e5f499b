"""Reads load balancers, listeners and target groups from the API."""

import dataclasses

from balancer.model import Balancer, Check, Group, Listener, Target, Zone


def pages(client, operation: str, key: str, **arguments) -> list[dict]:
    """All pages of a list."""
    found = []
    for page in client.get_paginator(operation).paginate(**arguments):
        found += page[key]
    return found


def attributes(answer: dict) -> dict:
    return {one["Key"]: one["Value"] for one in answer["Attributes"]}


class Reader:
    """The API's clients, and what was read last."""

    def __init__(self, elb, ec2, twins: dict[str, str]) -> None:
        self.elb, self.ec2, self.twins = elb, ec2, twins
        self.instances: dict[str, str] = {}

    def balancers(self) -> list[Balancer]:
        found = [one for one in pages(self.elb, "describe_load_balancers", "LoadBalancers") if one["Type"] == "network"]
        subnets = {one["SubnetId"]: one for one in pages(self.ec2, "describe_subnets", "Subnets")} if found else {}
        return [self._balancer(one, subnets) for one in found]

    @staticmethod
    def _balancer(one: dict, subnets: dict) -> Balancer:
        dualstack = one.get("IpAddressType") == "dualstack"
        zones = []
        for zone in one["AvailabilityZones"]:
            subnet = subnets[zone["SubnetId"]]
            networks = [subnet["CidrBlock"]]
            if dualstack:
                blocks = subnet["Ipv6CidrBlockAssociationSet"]
                networks += [block["Ipv6CidrBlock"] for block in blocks][:1]
            wanted = []
            for address in zone.get("LoadBalancerAddresses", []):
                named = ("PrivateIPv4Address", "IpAddress", "IPv6Address")
                wanted += [address[name] for name in named if address.get(name)]
            zones.append(Zone(zone["SubnetId"], tuple(networks), tuple(wanted)))
        active = one["State"]["Code"] == "active"
        return Balancer(one["LoadBalancerArn"], one["DNSName"].lower(), active, dualstack, tuple(zones))

    def groups(self) -> dict[str, Group]:
        """Target groups by ARN, without their targets."""
        found = {}
        for one in pages(self.elb, "describe_target_groups", "TargetGroups"):
            arn = one["TargetGroupArn"]
            given = attributes(self.elb.describe_target_group_attributes(TargetGroupArn=arn))
            check = Check(
                protocol=one["HealthCheckProtocol"],
                path=one.get("HealthCheckPath") or "/",
                codes=one.get("Matcher", {}).get("HttpCode") or "200-399",
                interval=float(one["HealthCheckIntervalSeconds"]),
                timeout=float(one["HealthCheckTimeoutSeconds"]),
                healthy=int(one["HealthyThresholdCount"]),
                unhealthy=int(one["UnhealthyThresholdCount"]),
            )
            version = 6 if one.get("IpAddressType") == "ipv6" else 4
            found[arn] = Group(arn, one["Protocol"], version, check, given)
        return found

    def listeners(self, balancer: Balancer, addresses: tuple[str, ...], groups: dict[str, Group]) -> list[Listener]:
        found = []
        for one in pages(self.elb, "describe_listeners", "Listeners", LoadBalancerArn=balancer.arn):
            arn = one["ListenerArn"]
            certificates = [each["CertificateArn"] for each in one.get("Certificates", [])]
            if one["Protocol"] == "TLS":
                further = self.elb.describe_listener_certificates(ListenerArn=arn)["Certificates"]
                certificates += [each["CertificateArn"] for each in further]
            idle = attributes(self.elb.describe_listener_attributes(ListenerArn=arn)).get("tcp.idle_timeout.seconds")
            listener = Listener(
                arn=arn,
                addresses=addresses,
                protocol=one["Protocol"],
                port=one["Port"],
                group=groups.get(forwards_to(one)),
                certificates=tuple(dict.fromkeys(certificates)),
                alpn=(one.get("AlpnPolicy") or [""])[0],
                idle=int(idle or 350),
            )
            found.append(listener)
        return sorted(found, key=lambda one: one.port)

    def with_targets(self, group: Group) -> Group:
        """The group with its targets as they are now."""
        targets = []
        for one in self.elb.describe_target_health(TargetGroupArn=group.arn)["TargetHealthDescriptions"]:
            target, probe = one["Target"], one.get("HealthCheckPort") or "0"
            address = self._address(target["Id"], group.version)
            if address is None:
                continue
            state = one["TargetHealth"]["State"]
            targets.append(Target(target["Id"], address, target["Port"], state, int(probe) if probe.isdigit() else 0))
        return dataclasses.replace(group, targets=tuple(sorted(targets, key=lambda one: (one.id, one.port))))

    def _address(self, identity: str, version: int) -> str | None:
        """An instance's address; others are addresses themselves."""
        if not identity.startswith("i-"):
            return identity
        if identity not in self.instances:
            for held in pages(self.ec2, "describe_instances", "Reservations"):
                for one in held["Instances"]:
                    if one.get("PrivateIpAddress"):
                        self.instances[one["InstanceId"]] = one["PrivateIpAddress"]
        address = self.instances.get(identity)
        return self.twins.get(address) if version == 6 else address


def forwards_to(listener: dict) -> str | None:
    """ARN of the target group that a listener forwards to."""
    for action in listener.get("DefaultActions", []):
        if action.get("TargetGroupArn"):
            return action["TargetGroupArn"]
        for group in action.get("ForwardConfig", {}).get("TargetGroups", []):
            if group.get("Weight", 1) > 0:
                return group["TargetGroupArn"]
    return None
