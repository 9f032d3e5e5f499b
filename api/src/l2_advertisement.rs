//! L2Advertisement: which addresses are announced by ARP and NDP, and from where.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{LabelSelector, schema};

/// Addresses of the selected pools are announced on the LAN, by ARP (IPv4) and NDP (IPv6).
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "heraldlb.io",
    version = "v1alpha1",
    kind = "L2Advertisement",
    plural = "l2advertisements",
    shortname = "l2adv",
    category = "herald",
    derive = "PartialEq",
    doc = "Announces addresses of pools on the LAN, by ARP (IPv4) and NDP (IPv6).",
    printcolumn(name = "Pools", type_ = "string", json_path = ".spec.addressPools"),
    printcolumn(name = "Interfaces", type_ = "string", json_path = ".spec.interfaces"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
pub struct L2AdvertisementSpec {
    /// Pools by name. With no name and no pool selector, all pools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::pool_names")]
    pub address_pools: Vec<String>,

    /// Pools by their labels, in addition to those named; one of the selectors must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub address_pool_selectors: Vec<LabelSelector>,

    /// Nodes that may announce, by their labels; one of the selectors must match. Empty: all nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub node_selectors: Vec<LabelSelector>,

    /// Network interfaces to announce on, whatever their subnets. Empty: on each node, those whose subnet holds the address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::interfaces")]
    pub interfaces: Vec<String>,

    /// Services by their labels; one of the selectors must match. Empty: all Services with an address of the pools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub service_selectors: Vec<LabelSelector>,
}
