//! Speaker: what one node's speaker reports. Written only by that speaker; it has no spec.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema;

/// Most entries of [`SpeakerStatus::owned`]. With two interfaces each they stay below etcd's request limit of 1.5 MiB.
pub const OWNED_MAX: usize = 10_000;
/// Most entries of [`SpeakerStatus::interfaces`].
pub const INTERFACES_MAX: usize = 256;
/// Most entries of [`Interface::addresses`].
pub const INTERFACE_ADDRESSES_MAX: usize = 64;
/// Most entries of [`SpeakerStatus::conflicts`].
pub const CONFLICTS_MAX: usize = 256;
/// Longest error text in bytes.
pub const ERROR_MAX: usize = 1024;

/// A Speaker has nothing to configure.
#[derive(
    CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema,
)]
#[kube(
    group = "heraldlb.io",
    version = "v1alpha1",
    kind = "Speaker",
    plural = "speakers",
    category = "herald",
    no_spec,
    status = "SpeakerStatus",
    derive = "PartialEq",
    doc = "What the speaker of one node reports; it has the node's name. Only that speaker may write it.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#
    ),
    printcolumn(
        name = "Owned",
        type_ = "integer",
        json_path = ".status.ownedCount",
        description = "Addresses this node answers for"
    ),
    printcolumn(
        name = "Data path",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="DataPathSynced")].reason"#
    ),
    printcolumn(
        name = "Service proxy",
        type_ = "string",
        json_path = ".status.serviceProxy"
    ),
    printcolumn(name = "Renewed", type_ = "date", json_path = ".status.renewTime"),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        priority = "1"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
pub struct SpeakerSpec {}

/// What one node's speaker reports.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpeakerStatus {
    /// When the speaker last said that it lives. Observers compare it only with its earlier value and measure time by their own
    /// clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::micro_time")]
    pub renew_time: Option<MicroTime>,

    /// The speaker's pod.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub pod_name: String,

    /// The speaker's version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub version: String,

    /// The mode of the Service data path: external, all or off.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16))]
    pub service_proxy: String,

    /// Network interfaces that could carry announcements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub interfaces: Vec<Interface>,

    /// Addresses this node answers for, in the order of their numbers; the first 10,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10_000))]
    pub owned: Vec<OwnedAddress>,

    /// How many addresses this node answers for.
    #[serde(default)]
    pub owned_count: i64,

    /// Addresses this node should answer for and another host answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub conflicts: Vec<AddressConflict>,

    /// State of the node's Service data path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_path: Option<DataPathStatus>,

    /// Ready, DataPathSynced, KernelSettings and AdminServer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// A network interface of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Interface {
    /// Its name.
    #[schemars(length(max = 15))]
    pub name: String,
    /// Its hardware address (02:00:00:00:00:01).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 17))]
    pub mac: String,
    /// Its addresses with prefix length (192.0.2.1/24).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 49)))]
    pub addresses: Vec<String>,
    /// Whether it is up and has a carrier.
    #[serde(default)]
    pub up: bool,
    /// Families (IPv4, IPv6) whose packets the node's kernel does not forward from here: addresses of these are announced by
    /// other nodes. Condition KernelSettings has the remedy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), inner(length(max = 4)))]
    pub not_forwarding: Vec<String>,
}

/// An address a node answers for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OwnedAddress {
    /// The address.
    #[schemars(length(max = 45))]
    pub address: String,
    /// The interfaces it is announced on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 15)))]
    pub interfaces: Vec<String>,
}

/// An address that another host answers for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AddressConflict {
    /// The address.
    #[schemars(length(max = 45))]
    pub address: String,
    /// The other host's hardware address.
    #[schemars(length(max = 17))]
    pub mac: String,
}

/// State of a node's Service data path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataPathStatus {
    /// Whether the kernel has all rules that the Services ask for.
    pub synced: bool,
    /// Services in the rules.
    #[serde(default)]
    pub services: i64,
    /// When rules were last written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::micro_time")]
    pub last_sync: Option<MicroTime>,
    /// Why the last attempt failed; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_no_spec_on_the_wire() {
        let speaker = serde_json::to_value(Speaker::new("n1", SpeakerSpec {})).unwrap();
        let keys: Vec<_> = speaker
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(keys, ["apiVersion", "kind", "metadata"]);
    }

    #[test]
    fn the_fullest_usual_status_is_below_the_limit_of_etcd() {
        let owned = OwnedAddress {
            address: "fd00:1111:2222:3333:4444:5555:6666:7777".into(),
            interfaces: vec!["enp129s0f0np0".into(), "enp129s0f1np1".into()],
        };
        let status = SpeakerStatus {
            owned: vec![owned; OWNED_MAX],
            ..SpeakerStatus::default()
        };
        let bytes = serde_json::to_vec(&status).unwrap().len();
        assert!(bytes < 1_500_000, "{bytes} bytes");
    }
}
