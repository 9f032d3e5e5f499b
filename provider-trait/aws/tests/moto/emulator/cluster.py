"""What a test needs around the controller, made and meddled with over the ordinary API under the test's own key."""

import boto3

from .worlds import SECRET, TEST_KEY

URL = None


def _client(service, request):
    return boto3.client(
        service,
        endpoint_url=URL,
        region_name=request["region"],
        aws_access_key_id=f"{TEST_KEY}{request['account']}",
        aws_secret_access_key=SECRET,
        verify=False,
    )


def make(_world, request, _lock):
    """A dual-stack VPC with a public and a private subnet in each of two zones, a group for nodes, and instances."""
    ec2 = _client("ec2", request)
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    v6 = vpc["Ipv6CidrBlockAssociationSet"][0]["Ipv6CidrBlock"].split("::")[0]
    vpc = vpc["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    subnets = []
    for n, (zone, public) in enumerate([("a", True), ("b", True), ("a", False), ("b", False)]):
        subnet = ec2.create_subnet(
            VpcId=vpc,
            CidrBlock=f"10.0.{n}.0/24",
            Ipv6CidrBlock=f"{v6[:-2]}0{n}::/64",
            AvailabilityZone=f"{request['region']}{zone}",
        )["Subnet"]["SubnetId"]
        if public:
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
        subnets.append(subnet)
    group = ec2.create_security_group(GroupName="nodes", Description="nodes", VpcId=vpc)["GroupId"]
    instances = {}
    for name in request.get("instances", []):
        tags = [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}]
        made = ec2.run_instances(
            ImageId="ami-12c6146b", MinCount=1, MaxCount=1, SubnetId=subnets[2], TagSpecifications=tags
        )
        instances[name] = made["Instances"][0]["InstanceId"]
    return {"vpc": vpc, "subnets": subnets, "node_group": group, "instances": instances}


def allocate(_world, request, _lock):
    """Elastic IP addresses."""
    ec2 = _client("ec2", request)
    return [ec2.allocate_address(Domain="vpc")["AllocationId"] for _ in range(request["count"])]


def certificates(_world, request, _lock):
    """Certificates, by ARN."""
    acm = _client("acm", request)
    names = [f"c{n}.example.com" for n in range(request["count"])]
    return [acm.request_certificate(DomainName=name)["CertificateArn"] for name in names]


def _tagged(elb, key, value):
    found = []
    for lb in elb.describe_load_balancers()["LoadBalancers"]:
        tags = elb.describe_tags(ResourceArns=[lb["LoadBalancerArn"]])["TagDescriptions"][0]["Tags"]
        if {"Key": key, "Value": value} in tags:
            found.append(lb["LoadBalancerArn"])
    return found


def remove_listener(_world, request, _lock):
    """Somebody removes a listener of the load balancers with this tag."""
    elb = _client("elbv2", request)
    for arn in _tagged(elb, request["key"], request["value"]):
        listeners = elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]
        elb.delete_listener(ListenerArn=listeners[0]["ListenerArn"])
    return {}


def attributes(_world, request, _lock):
    """Somebody sets attributes of the load balancers with this tag."""
    elb = _client("elbv2", request)
    pairs = [{"Key": key, "Value": value} for key, value in request["attributes"].items()]
    for arn in _tagged(elb, request["key"], request["value"]):
        elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=pairs)
    return {}


def foreign(_world, request, _lock):
    """A load balancer of another controller, with everything that belongs to it."""
    ec2, elb = _client("ec2", request), _client("elbv2", request)
    tags = [{"Key": key, "Value": value} for key, value in request["tags"].items()]
    subnets, vpc, name = request["subnets"], request["vpc"], request["name"]
    group = ec2.create_security_group(
        GroupName=name, Description=name, VpcId=vpc, TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}]
    )["GroupId"]
    lb = elb.create_load_balancer(
        Name=name,
        Type="network",
        Scheme="internal",
        SubnetMappings=[{"SubnetId": subnet} for subnet in subnets],
        SecurityGroups=[group],
        Tags=tags,
    )["LoadBalancers"][0]["LoadBalancerArn"]
    target_group = elb.create_target_group(Name=name, Protocol="TCP", Port=80, VpcId=vpc, TargetType="ip", Tags=tags)
    target_group = target_group["TargetGroups"][0]["TargetGroupArn"]
    elb.create_listener(
        LoadBalancerArn=lb,
        Port=80,
        Protocol="TCP",
        Tags=tags,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": target_group}],
    )
    return {}
