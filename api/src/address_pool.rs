//! AddressPool: external addresses that Herald may give to Services.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{LabelSelector, schema};

/// A pool of external addresses for Services of type LoadBalancer.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "heraldlb.io",
    version = "v1alpha1",
    kind = "AddressPool",
    plural = "addresspools",
    shortname = "ap",
    category = "herald",
    status = "AddressPoolStatus",
    derive = "PartialEq",
    doc = "A pool of external addresses for Services of type LoadBalancer.",
    printcolumn(name = "Addresses", type_ = "string", json_path = ".spec.addresses"),
    printcolumn(
        name = "Assigned",
        type_ = "integer",
        json_path = ".status.assignedIPv4",
        description = "IPv4 addresses in use"
    ),
    printcolumn(
        name = "Available",
        type_ = "integer",
        json_path = ".status.availableIPv4",
        description = "IPv4 addresses still free"
    ),
    printcolumn(
        name = "Assigned v6",
        type_ = "integer",
        json_path = ".status.assignedIPv6",
        description = "IPv6 addresses in use"
    ),
    printcolumn(
        name = "Available v6",
        type_ = "integer",
        json_path = ".status.availableIPv6",
        description = "IPv6 addresses still free",
        priority = "1"
    ),
    printcolumn(
        name = "Auto assign",
        type_ = "boolean",
        json_path = ".spec.autoAssign",
        priority = "1"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].reason"#,
        priority = "1"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
pub struct AddressPoolSpec {
    /// The addresses: CIDRs (192.0.2.0/24), spans (192.0.2.10-192.0.2.20) or single addresses, of both families as you like.
    #[schemars(schema_with = "schema::addresses")]
    pub addresses: Vec<String>,

    /// Addresses within these that are never given, in the same forms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::exclude")]
    pub exclude: Vec<String>,

    /// Whether Services that name no pool and no address may get one of these. When false, only Services that ask for this pool
    /// (annotation heraldlb.io/address-pool) or one of its addresses do.
    #[serde(default = "yes")]
    pub auto_assign: bool,

    /// Leave out IPv4 addresses ending in .0 and .255, which some old routers and firewalls drop.
    #[serde(default, rename = "avoidBuggyIPs")]
    pub avoid_buggy_ips: bool,

    /// Give no new addresses. Services keep what they have.
    #[serde(default)]
    pub disabled: bool,

    /// Which Services the pool is for. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_allocation: Option<ServiceAllocation>,
}

/// Which Services a pool is for. A Service must be in one of the namespaces (by name or by selector, if either is given) and
/// match one of the Service selectors (if any is given).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAllocation {
    /// Order among the pools that are for a Service: the smallest number first; 0 or absent comes last.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub priority: i32,

    /// Namespaces by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::namespaces")]
    pub namespaces: Vec<String>,

    /// Namespaces by their labels; one of the selectors must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub namespace_selectors: Vec<LabelSelector>,

    /// Services by their labels; one of the selectors must match.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub service_selectors: Vec<LabelSelector>,
}

/// What the controller knows of a pool. Counts stop at 9223372036854775807.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressPoolStatus {
    /// IPv4 addresses of the pool that Services have.
    #[serde(default, rename = "assignedIPv4")]
    pub assigned_ipv4: i64,

    /// IPv6 addresses of the pool that Services have.
    #[serde(default, rename = "assignedIPv6")]
    pub assigned_ipv6: i64,

    /// IPv4 addresses that can still be given.
    #[serde(default, rename = "availableIPv4")]
    pub available_ipv4: i64,

    /// IPv6 addresses that can still be given.
    #[serde(default, rename = "availableIPv6")]
    pub available_ipv6: i64,

    /// Ready, with reason Valid, Invalid or Overlap.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_mean_the_documented_defaults() {
        let pool: AddressPool = serde_json::from_value(serde_json::json!({
            "apiVersion": "heraldlb.io/v1alpha1",
            "kind": "AddressPool",
            "metadata": { "name": "lan" },
            "spec": { "addresses": ["192.0.2.0/24"] },
        }))
        .unwrap();
        assert!(pool.spec.auto_assign);
        assert!(!pool.spec.avoid_buggy_ips);
        assert!(!pool.spec.disabled);
        assert_eq!(pool.spec.service_allocation, None);
        assert_eq!(pool.status, None);
    }

    #[test]
    fn families_are_spelled_as_the_kubernetes_api_does() {
        let status = serde_json::to_value(AddressPoolStatus::default()).unwrap();
        let keys: Vec<_> = status.as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            keys,
            [
                "assignedIPv4",
                "assignedIPv6",
                "availableIPv4",
                "availableIPv6"
            ]
        );
    }
}
