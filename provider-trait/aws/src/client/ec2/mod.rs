//! The few EC2 calls Herald needs, signed and sent without the EC2 SDK, which is larger than all the rest together.

mod answer;
mod request;
mod security;

use std::collections::BTreeSet;
use std::net::IpAddr;

use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpConnector;
use herald_provider::ProviderError;
use ipnet::IpNet;

use super::caller::{Caller, Operation};
use super::failure::Failure;
use crate::model::{SecurityGroup, Subnet, Vpc};
use answer::{Items, RouteTables, SecurityGroups, Subnets, Vpcs};
use request::{Connection, Form};

/// The client.
#[derive(Clone, Debug)]
pub(super) struct Ec2 {
    connection: Connection,
}

impl Ec2 {
    pub(super) fn new(
        connector: SharedHttpConnector,
        credentials: SharedCredentialsProvider,
        region: String,
        endpoint: Option<String>,
    ) -> Self {
        Self {
            connection: Connection::new(connector, credentials, region, endpoint),
        }
    }

    /// Sends a reading call and collects its pages.
    async fn pages<T: answer::Page>(
        &self,
        caller: &Caller,
        action: &'static str,
        form: &Form,
    ) -> Result<Vec<T>, ProviderError> {
        let operation = Operation::read(action, "the VPC");
        let mut pages: Vec<T> = Vec::new();
        loop {
            let mut form = form.clone();
            if let Some(token) = pages.last().and_then(T::next) {
                form.set("NextToken", token);
            }
            let form = &form;
            let page: T = caller
                .call(operation, || async move {
                    let text = self.connection.send(action, form).await?;
                    answer::parse(&text)
                })
                .await?;
            let last = page.next().is_none();
            pages.push(page);
            if last {
                return Ok(pages);
            }
        }
    }

    /// The subnets of the VPC, and which of them lead to the internet.
    pub(super) async fn subnets(
        &self,
        caller: &Caller,
        vpc: &str,
    ) -> Result<Vec<Subnet>, ProviderError> {
        let form = Form::filter("vpc-id", [vpc]);
        let pages: Vec<Subnets> = self.pages(caller, "DescribeSubnets", &form).await?;
        let routes: Vec<RouteTables> = self.pages(caller, "DescribeRouteTables", &form).await?;
        let tables = || routes.iter().flat_map(|page| &page.tables.item);
        let mut public = BTreeSet::new();
        let mut private = BTreeSet::new();
        let mut main_public = false;
        for table in tables() {
            let gateway = |route: &answer::Route| {
                route
                    .gateway
                    .as_deref()
                    .is_some_and(|gateway| gateway.starts_with("igw-"))
            };
            let leads_out = table.routes.item.iter().any(gateway);
            for association in &table.associations.item {
                match (&association.subnet, leads_out) {
                    (Some(subnet), true) => drop(public.insert(subnet.clone())),
                    (Some(subnet), false) => drop(private.insert(subnet.clone())),
                    (None, leads_out) => main_public |= leads_out && association.main,
                }
            }
        }
        let of = |found: &answer::Subnet| {
            let v6 = found.v6.item.iter().map(|net| &net.net);
            let nets = v6.chain([&found.net]).filter_map(|net| net.parse().ok());
            let known = public.contains(&found.id) || private.contains(&found.id);
            Subnet {
                id: found.id.clone(),
                zone: found.zone.clone(),
                nets: nets.collect(),
                free: found.free,
                // A subnet without a table of its own uses the VPC's main one.
                public: public.contains(&found.id) || (!known && main_public),
                tags: found.tags.tags(),
            }
        };
        Ok(pages
            .iter()
            .flat_map(|page| &page.subnets.item)
            .map(of)
            .collect())
    }

    /// The VPC's address ranges.
    pub(super) async fn vpc(&self, caller: &Caller, vpc: &str) -> Result<Vpc, ProviderError> {
        let mut form = Form::default();
        form.set("VpcId.1", vpc);
        let pages: Vec<Vpcs> = self.pages(caller, "DescribeVpcs", &form).await?;
        let mut nets: Vec<IpNet> = Vec::new();
        for found in pages.iter().flat_map(|page| &page.vpcs.item) {
            let v4 = found.v4.item.iter().map(|net| &net.net);
            let v6 = found.v6.item.iter().map(|net| &net.net);
            let all = v4.chain(v6).chain(&found.net);
            nets.extend(all.filter_map(|net| net.parse::<IpNet>().ok()));
        }
        nets.sort_unstable();
        nets.dedup();
        Ok(Vpc {
            id: vpc.to_owned(),
            nets,
        })
    }

    /// The security groups of the VPC: all, or those with one of these names.
    pub(super) async fn security_groups(
        &self,
        caller: &Caller,
        vpc: &str,
        names: Option<&BTreeSet<String>>,
    ) -> Result<Vec<SecurityGroup>, ProviderError> {
        if names.is_some_and(BTreeSet::is_empty) {
            return Ok(Vec::new());
        }
        let mut form = Form::filter("vpc-id", [vpc]);
        if let Some(names) = names {
            form.add_filter(2, "group-name", names.iter().map(String::as_str));
        }
        let pages: Vec<SecurityGroups> =
            self.pages(caller, "DescribeSecurityGroups", &form).await?;
        let groups = pages.iter().flat_map(|page| &page.groups.item);
        Ok(groups.map(security::group).collect())
    }
}

/// An address range as EC2 writes it.
pub(super) fn is_v4(net: &IpNet) -> bool {
    matches!(net.addr(), IpAddr::V4(_))
}

impl<T> Items<T> {
    pub(super) fn iter(&self) -> std::slice::Iter<'_, T> {
        self.item.iter()
    }
}

impl From<quick_xml::DeError> for Failure {
    fn from(error: quick_xml::DeError) -> Self {
        Self::unreachable(format!("an answer that cannot be read: {error}"))
    }
}
