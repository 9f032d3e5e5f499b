//! The VPC: its ranges cover nodes, pods and load balancers; nodes are instances with the nodes' addresses.

use std::fs;

use anyhow::{Context, Result, anyhow};
use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Options, Role, Site, Subnet, programs};
use crate::moto::Control;
use crate::state::State;
use crate::topology::{POD_CIDRS, Place, node_name};

/// The VPC's ranges beside those of pods: nodes, load balancers.
const VPC_V4: [&str; 2] = ["10.77.0.0/16", "10.79.0.0/16"];
const VPC_V6: [&str; 2] = ["fd00:77::/48", "fd00:79::/48"];
/// Subnets of load balancers: role, zone, ranges.
const FOR_LOAD_BALANCERS: [(Role, usize, [&str; 2]); 4] = [
    (Role::Public, 0, ["10.79.1.0/24", "fd00:79:0:1::/64"]),
    (Role::Public, 1, ["10.79.2.0/24", "fd00:79:0:2::/64"]),
    (Role::Internal, 0, ["10.79.11.0/24", "fd00:79:0:11::/64"]),
    (Role::Internal, 1, ["10.79.12.0/24", "fd00:79:0:12::/64"]),
];
/// Subnets of nodes: the LAN cut so that n1 is in the first zone and n2 to n5 are in the second. AWS has none so small.
const FOR_NODES: [(usize, &str); 4] = [
    (0, "10.77.0.8/30"),
    (1, "10.77.0.12/30"),
    (0, "10.77.0.16/28"),
    (1, "10.77.0.32/28"),
];

/// Names that the lab's certificate is for, but for the load balancers' own.
const NAMES: [&str; 1] = ["web.example.com"];

/// Makes everything that can be made before the nodes are there, as soon as moto answers.
pub(crate) fn make(state: &State, options: &Options) -> Result<Site> {
    let (endpoint, control) = programs::wait_for_moto(state, options)?;
    let made = Making {
        control: &control,
        region: &options.region,
    };
    let vpc = made.vpc()?;
    let node_group = made.ec2(
        "create_security_group",
        &json!({
            "GroupName": format!("{}-nodes", state.name), "Description": "nodes", "VpcId": vpc,
            "TagSpecifications": tags("security-group", &[
                (&format!("kubernetes.io/cluster/{}", state.name), "owned"),
            ]),
        }),
    )?;
    let node_group = text(&node_group["GroupId"])?;
    let subnets = made.subnets(&vpc)?;
    made.open(&vpc, &subnets)?;
    let nodes = (1..=state.nodes).map(|node| made.instance(node, &subnets, &node_group));
    let instances = nodes.collect::<Result<_>>()?;
    Ok(Site {
        endpoint,
        check_speed: options.check_speed,
        node_group,
        subnets,
        instances,
        certificate_arn: made.certificate(state)?,
        controller: options.controller.clone(),
        region: options.region.clone(),
        vpc,
    })
}

/// Makes the subnets of each node's pods, once Kubernetes has given the ranges.
pub(crate) fn make_pod_subnets(state: &mut State, ranges: &[Vec<IpNet>]) -> Result<()> {
    let control = Control::at(programs::socket(&state.name));
    let site = state.aws.as_mut().context("there is no AWS")?;
    let made = Making {
        control: &control,
        region: &site.region,
    };
    let mut subnets = Vec::new();
    for ((_, zone), ranges) in site.instances.iter().zip(ranges) {
        subnets.push(made.subnet(&site.vpc, Role::Pods, zone, ranges.clone())?);
    }
    site.subnets.extend(subnets);
    Ok(())
}

struct Making<'a> {
    control: &'a Control,
    region: &'a str,
}

impl Making<'_> {
    fn ec2(&self, operation: &str, arguments: &Value) -> Result<Value> {
        self.control.aws(self.region, "ec2", operation, arguments)
    }

    fn vpc(&self) -> Result<String> {
        let made = self.ec2("create_vpc", &json!({"CidrBlock": VPC_V4[0]}))?;
        let vpc = text(&made["Vpc"]["VpcId"])?;
        let pods: Vec<IpNet> = POD_CIDRS
            .split(',')
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let blocks = [VPC_V4[1], VPC_V6[0], VPC_V6[1]].map(str::parse::<IpNet>);
        for block in blocks
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?
            .iter()
            .chain(&pods)
        {
            let mut arguments = json!({"VpcId": vpc});
            if block.addr().is_ipv4() {
                arguments["CidrBlock"] = json!(block);
            } else {
                arguments["Ipv6CidrBlock"] = json!(block);
                arguments["Ipv6Pool"] = json!("ipv6pool-ec2-lab");
            }
            self.ec2("associate_vpc_cidr_block", &arguments)?;
        }
        Ok(vpc)
    }

    fn subnets(&self, vpc: &str) -> Result<Vec<Subnet>> {
        let balancers =
            FOR_LOAD_BALANCERS.map(|(role, zone, ranges)| (role, zone, ranges.to_vec()));
        let nodes = FOR_NODES.map(|(zone, range)| (Role::Nodes, zone, vec![range]));
        let mut made = Vec::new();
        for (role, zone, ranges) in balancers.into_iter().chain(nodes) {
            let ranges: Vec<IpNet> = ranges
                .into_iter()
                .map(str::parse)
                .collect::<Result<_, _>>()?;
            made.push(self.subnet(vpc, role, &self.zone(zone), ranges)?);
        }
        Ok(made)
    }

    fn zone(&self, number: usize) -> String {
        format!("{}{}", self.region, ["a", "b"][number])
    }

    fn subnet(&self, vpc: &str, role: Role, zone: &str, ranges: Vec<IpNet>) -> Result<Subnet> {
        let mut arguments = json!({"VpcId": vpc, "AvailabilityZone": zone});
        for range in &ranges {
            let key = if range.addr().is_ipv4() {
                "CidrBlock"
            } else {
                "Ipv6CidrBlock"
            };
            arguments[key] = json!(range);
        }
        let role_tag = match role {
            Role::Public => Some("kubernetes.io/role/elb"),
            Role::Internal => Some("kubernetes.io/role/internal-elb"),
            Role::Nodes | Role::Pods => None,
        };
        if let Some(tag) = role_tag {
            arguments["TagSpecifications"] = tags("subnet", &[(tag, "1")]);
        }
        let made = self.ec2("create_subnet", &arguments)?;
        Ok(Subnet {
            id: text(&made["Subnet"]["SubnetId"])?,
            zone: zone.to_owned(),
            role,
            ranges,
        })
    }

    /// Internet gateway, and a route to it for the public subnets.
    fn open(&self, vpc: &str, subnets: &[Subnet]) -> Result<()> {
        let gateway = self.ec2("create_internet_gateway", &json!({}))?;
        let gateway = text(&gateway["InternetGateway"]["InternetGatewayId"])?;
        let arguments = json!({"InternetGatewayId": gateway, "VpcId": vpc});
        self.ec2("attach_internet_gateway", &arguments)?;
        let table = self.ec2("create_route_table", &json!({"VpcId": vpc}))?;
        let table = text(&table["RouteTable"]["RouteTableId"])?;
        for (key, everything) in [
            ("DestinationCidrBlock", "0.0.0.0/0"),
            ("DestinationIpv6CidrBlock", "::/0"),
        ] {
            let arguments = json!({"RouteTableId": table, "GatewayId": gateway, key: everything});
            self.ec2("create_route", &arguments)?;
        }
        for subnet in subnets.iter().filter(|subnet| subnet.role == Role::Public) {
            let arguments = json!({"RouteTableId": table, "SubnetId": subnet.id});
            self.ec2("associate_route_table", &arguments)?;
        }
        Ok(())
    }

    /// The instance that a node is, and its zone.
    fn instance(&self, node: usize, subnets: &[Subnet], group: &str) -> Result<(String, String)> {
        let address = Place::Node(node)
            .addresses()
            .context("a node has addresses")?[0];
        let mut of_nodes = subnets.iter().filter(|subnet| subnet.role == Role::Nodes);
        let subnet = of_nodes
            .find(|subnet| subnet.ranges.iter().any(|range| range.contains(&address)))
            .with_context(|| format!("no subnet has {address}"))?;
        let made = self.ec2(
            "run_instances",
            &json!({
                "ImageId": "ami-12c6146b", "MinCount": 1, "MaxCount": 1, "SubnetId": subnet.id,
                "PrivateIpAddress": address, "SecurityGroupIds": [group],
                "TagSpecifications": tags("instance", &[("Name", &node_name(node))]),
            }),
        )?;
        let instance = text(&made["Instances"][0]["InstanceId"])?;
        Ok((instance, subnet.zone.clone()))
    }

    /// A certificate that AWS knows by an ARN and the load balancer by a file.
    fn certificate(&self, state: &State) -> Result<String> {
        let mut names = vec![format!("*.elb.{}.amazonaws.com", self.region)];
        names.extend(NAMES.map(str::to_owned));
        let pair = rcgen::generate_simple_self_signed(names).context("make a certificate")?;
        let (certificate, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
        let arguments = json!({"Certificate": certificate, "PrivateKey": key});
        let made = self
            .control
            .aws(self.region, "acm", "import_certificate", &arguments)?;
        let arn = text(&made["CertificateArn"])?;
        let own = programs::folder(&state.name);
        let folder = own.join("certificates");
        fs::create_dir_all(&folder)?;
        let file = folder.join(format!("{}.pem", arn.replace(['/', ':'], "_")));
        fs::write(file, format!("{certificate}{key}"))?;
        fs::write(own.join("certificate.pem"), certificate)?;
        Ok(arn)
    }
}

fn tags(of: &str, tags: &[(&str, &str)]) -> Value {
    let tags: Vec<Value> = tags
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}))
        .collect();
    json!([{"ResourceType": of, "Tags": tags}])
}

fn text(value: &Value) -> Result<String> {
    let found = value.as_str().map(str::to_owned);
    found.ok_or_else(|| anyhow!("AWS answers {value} where it should name something"))
}
