//! Kubernetes objects → the plain structs of the core. The only file that reads both; nothing keeps a whole object.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use herald_api::conditions::speaker as speaker_condition;
use herald_api::{AddressPool, L2Advertisement, Speaker, annotations, conditions, selectors};
use herald_controller_core::{
    AdvertisementView, Condition, ConditionKind, FamilyRequest, Observed, PerFamily, PoolObserved,
    PoolScope, PoolView, Ready, RequestText, ServiceView, SpeakerView,
};
use herald_core::{AddressRange, IpFamily, Labels, ServiceKey};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Service, ServiceSpec};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;
use kube::ResourceExt as _;

/// A Service, compact.
pub(crate) fn service_view(service: &Service) -> ServiceView {
    let spec = service.spec.as_ref();
    let status = service.status.as_ref();
    let ingress = status
        .and_then(|status| status.load_balancer.as_ref())
        .and_then(|balancer| balancer.ingress.as_deref())
        .unwrap_or_default();
    let addresses = ingress
        .iter()
        .filter_map(|entry| entry.ip.as_deref()?.parse().ok());
    let annotations = service.annotations();
    ServiceView {
        key: key_of(&service.metadata),
        uid: service.uid().unwrap_or_default().into(),
        created: created(&service.metadata),
        version: service
            .resource_version()
            .and_then(|v| v.parse().ok())
            .unwrap_or_default(),
        load_balancer: spec.and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer"),
        class: spec
            .and_then(|spec| spec.load_balancer_class.as_deref())
            .map(Into::into),
        families: spec.map_or_else(
            || FamilyRequest {
                order: vec![],
                all: true,
            },
            families,
        ),
        request: RequestText {
            pool: annotations::address_pool(annotations).map(Into::into),
            addresses: annotations::addresses(annotations).map(Into::into),
            load_balancer_ip: spec.and_then(|spec| spec.load_balancer_ip.clone()),
            share_key: annotations::share_key(annotations).map(Into::into),
        },
        labels: service.labels().clone(),
        local: spec.and_then(|spec| spec.external_traffic_policy.as_deref()) == Some("Local"),
        deleting: service.metadata.deletion_timestamp.is_some(),
        cluster_ips: spec
            .and_then(|spec| spec.cluster_ips.as_deref())
            .unwrap_or_default()
            .iter()
            .filter_map(|text| address(text))
            .collect(),
        external_ips: spec
            .and_then(|spec| spec.external_ips.as_deref())
            .unwrap_or_default()
            .iter()
            .filter_map(|text| address(text))
            .collect(),
        ingress: addresses.collect(),
        foreign_ingress: ingress.iter().any(|entry| {
            entry
                .ip
                .as_deref()
                .is_none_or(|ip| ip.parse::<IpAddr>().is_err())
        }),
        allocated_from: annotations.get(annotations::ALLOCATED_FROM).cloned(),
        earlier_pools: annotations::earlier_pools(annotations),
        requested_pool: annotations.get(annotations::REQUESTED_POOL).cloned(),
        conditions: ours(
            status
                .and_then(|status| status.conditions.as_deref())
                .unwrap_or_default(),
        ),
    }
}

/// `spec.ipFamilies`, which the API server fills in; the families of the cluster IPs where it did not.
pub(crate) fn families(spec: &ServiceSpec) -> FamilyRequest {
    let mut order: Vec<IpFamily> = Vec::new();
    let named = spec
        .ip_families
        .iter()
        .flatten()
        .filter_map(|family| match family.as_str() {
            "IPv4" => Some(IpFamily::V4),
            "IPv6" => Some(IpFamily::V6),
            _ => None,
        });
    let derived = spec
        .cluster_ips
        .iter()
        .flatten()
        .filter_map(|ip| ip.parse().ok())
        .map(IpFamily::of);
    for family in named.chain(derived.take(if spec.ip_families.is_some() { 0 } else { 2 })) {
        if !order.contains(&family) {
            order.push(family);
        }
    }
    FamilyRequest {
        order,
        all: spec.ip_family_policy.as_deref() != Some("PreferDualStack"),
    }
}

fn ours(conditions: &[meta::Condition]) -> Vec<Observed> {
    let known = conditions.iter().filter_map(|condition| {
        let kind = ConditionKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == condition.type_)?;
        Some(Observed {
            condition: Condition {
                kind,
                status: condition.status == "True",
                reason: condition.reason.clone().into(),
                message: condition.message.clone(),
            },
            since: since(&condition.last_transition_time),
        })
    });
    known.collect()
}

/// Since when a condition has its status; empty if that cannot be read.
pub(crate) fn since(time: &meta::Time) -> Arc<str> {
    if time.0.as_second() == 0 {
        "".into()
    } else {
        time.0.to_string().into()
    }
}

/// The name of a Node, and the addresses it names.
pub(crate) fn node_view(node: &Node) -> (Arc<str>, Vec<IpAddr>) {
    let status = node.status.as_ref();
    let all = status.and_then(|status| status.addresses.as_deref());
    let named = all.unwrap_or_default().iter();
    let named = named.filter(|a| a.type_ == "InternalIP" || a.type_ == "ExternalIP");
    (
        node.name_any().into(),
        named.filter_map(|a| address(&a.address)).collect(),
    )
}

/// Namespace and name of an EndpointSlice, and the API servers' addresses if it is theirs.
pub(crate) fn api_servers_view(slice: &EndpointSlice) -> (ServiceKey, Vec<IpAddr>) {
    let key = key_of(&slice.metadata);
    let service = slice.labels().get("kubernetes.io/service-name");
    let theirs = &*key.namespace == "default" && service.is_some_and(|name| name == "kubernetes");
    let endpoints = slice.endpoints.iter().filter(|_| theirs);
    let addresses = endpoints.flat_map(|endpoint| &endpoint.addresses);
    (key, addresses.filter_map(|text| address(text)).collect())
}

/// The name of a ServiceCIDR, and its ranges.
pub(crate) fn service_cidr_view(cidr: &ServiceCIDR) -> (Arc<str>, Vec<AddressRange>) {
    let ranges = cidr.spec.as_ref().and_then(|spec| spec.cidrs.as_ref());
    let ranges = ranges.into_iter().flatten();
    (
        cidr.name_any().into(),
        ranges.filter_map(|text| text.parse().ok()).collect(),
    )
}

/// An address; IPv4 in IPv6 notation means the IPv4 address, as in kube-proxy.
fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.trim().parse().ok()?;
    Some(address.to_canonical())
}

/// A pool, and what its status says.
pub(crate) fn pool_view(pool: &AddressPool) -> (PoolView, PoolObserved) {
    let spec = &pool.spec;
    let scope = spec
        .service_allocation
        .as_ref()
        .map(|allocation| PoolScope {
            priority: u32::try_from(allocation.priority).unwrap_or_default(),
            namespaces: allocation.namespaces.clone(),
            namespace_selectors: selectors(&allocation.namespace_selectors),
            service_selectors: selectors(&allocation.service_selectors),
        });
    let status = pool.status.clone().unwrap_or_default();
    let ready = status
        .conditions
        .iter()
        .find(|c| c.type_ == conditions::address_pool::READY);
    let finalizer = pool
        .finalizers()
        .iter()
        .any(|f| f == herald_api::names::POOL_IN_USE_FINALIZER);
    let view = PoolView {
        name: pool.name_any().into(),
        labels: pool.labels().clone(),
        created: created(&pool.metadata),
        ready: ready.is_some_and(|condition| condition.status == "True"),
        addresses: spec.addresses.clone(),
        exclude: spec.exclude.clone(),
        auto_assign: spec.auto_assign,
        avoid_buggy: spec.avoid_buggy_ips,
        disabled: spec.disabled,
        unprotected: !finalizer,
        deleting: pool.metadata.deletion_timestamp.is_some(),
        scope: scope.unwrap_or_default(),
        problems: Vec::new(),
    };
    let ready = ready.map(|condition| {
        let ready = Ready {
            status: condition.status == "True",
            reason: condition.reason.clone(),
            message: condition.message.clone(),
            generation: condition.observed_generation.unwrap_or_default(),
        };
        (ready, since(&condition.last_transition_time))
    });
    let observed = PoolObserved {
        assigned: PerFamily {
            v4: status.assigned_ipv4,
            v6: status.assigned_ipv6,
        },
        available: PerFamily {
            v4: status.available_ipv4,
            v6: status.available_ipv6,
        },
        ready,
        finalizer,
        uid: pool.uid().unwrap_or_default().into(),
        generation: pool.metadata.generation.unwrap_or_default(),
        has_status: pool.status.is_some(),
    };
    (view, observed)
}

/// An L2Advertisement, compact.
pub(crate) fn advertisement_view(advertisement: &L2Advertisement) -> AdvertisementView {
    let spec = &advertisement.spec;
    AdvertisementView {
        name: advertisement.name_any().into(),
        pools: spec.address_pools.clone(),
        pool_selectors: selectors(&spec.address_pool_selectors),
        service_selectors: selectors(&spec.service_selectors),
        interfaces: spec.interfaces.clone(),
    }
}

/// What a speaker reports, and the mark by which its renewals are told apart.
#[derive(Debug)]
pub(crate) struct SpeakerReport {
    pub(crate) view: SpeakerView,
    pub(crate) renewal: String,
    /// The object as it was seen: one that has changed since is not marked.
    pub(crate) seen: SpeakerSeen,
}

/// Which Speaker object was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpeakerSeen {
    pub(crate) uid: String,
    pub(crate) version: String,
    /// The controller has marked it as silent.
    pub(crate) silent: bool,
}

/// A Speaker, compact; whether it is live follows from when we saw its renewals change.
pub(crate) fn speaker_report(speaker: &Speaker) -> SpeakerReport {
    let status = speaker.status.clone().unwrap_or_default();
    let owned = status
        .owned
        .iter()
        .filter_map(|owned| owned.address.parse().ok());
    let conflicts = status
        .conflicts
        .iter()
        .filter_map(|conflict| Some((conflict.address.parse().ok()?, conflict.mac.clone())));
    let up = status.interfaces.iter().filter(|interface| interface.up);
    let interfaces = up.map(|interface| {
        // From where the kernel does not forward a family, no address of the family is announced.
        let forwards = |net: &IpNet| {
            let family = IpFamily::of(net.addr()).to_string();
            !interface.not_forwarding.contains(&family)
        };
        let subnets = interface
            .addresses
            .iter()
            .filter_map(|text| text.parse().ok())
            .filter(forwards);
        (interface.name.clone(), subnets.collect())
    });
    let ready = status
        .conditions
        .iter()
        .find(|c| c.type_ == conditions::speaker::READY);
    let silent = ready.is_some_and(|ready| ready.reason == conditions::speaker::SILENT);
    let view = SpeakerView {
        node: speaker.name_any().into(),
        live: true,
        speaks: ready.is_some() && !silent,
        owned: owned.collect(),
        conflicts: conflicts.collect(),
        interfaces: interfaces.collect(),
        doubt: status
            .conditions
            .iter()
            .find(|condition| {
                condition.type_ == speaker_condition::READY
                    && condition.reason == speaker_condition::NODE_NOT_READY
            })
            .map(|condition| condition.message.clone()),
    };
    SpeakerReport {
        view,
        seen: SpeakerSeen {
            uid: speaker.uid().unwrap_or_default(),
            version: speaker.resource_version().unwrap_or_default(),
            silent,
        },
        renewal: status
            .renew_time
            .map(|time| time.0.to_string())
            .unwrap_or_default(),
    }
}

/// Name and labels of an object of which only the labels matter.
pub(crate) fn labels_view(metadata: &meta::ObjectMeta) -> (Arc<str>, Labels) {
    let labels: Option<&BTreeMap<String, String>> = metadata.labels.as_ref();
    (
        metadata.name.clone().unwrap_or_default().into(),
        labels.cloned().unwrap_or_default(),
    )
}

/// Namespace and name; the namespace of cluster-scoped objects is empty.
pub(crate) fn key_of(metadata: &meta::ObjectMeta) -> ServiceKey {
    ServiceKey::new(
        metadata.namespace.clone().unwrap_or_default(),
        metadata.name.clone().unwrap_or_default(),
    )
}

fn created(metadata: &meta::ObjectMeta) -> i64 {
    metadata
        .creation_timestamp
        .as_ref()
        .map_or(i64::MAX, |time| time.0.as_second())
}

/// An object as a watch gives it: what has no shape in herald-kube is not there.
#[cfg(test)]
pub(crate) fn watched<K: herald_kube::Readable>(value: serde_json::Value) -> K {
    let read: herald_kube::Read<K> = serde_json::from_value(value).unwrap();
    read.into_object().unwrap()
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
