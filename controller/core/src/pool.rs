//! One address pool: what its owner wrote, and the space that follows from it.

use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{AddressRange, IpFamily, Labels, Selector};

use crate::family::{FAMILIES, PerFamily};
use crate::interval::IntervalSet;

/// The fields of an `AddressPool` object that decide, as its owner wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "independent facts of an object, not states"
)]
pub struct PoolView {
    /// The object's name.
    pub name: Arc<str>,
    /// The object's labels, by which advertisements may select it.
    pub labels: Labels,
    /// Creation time in seconds since the epoch: of two overlapping pools the younger yields.
    pub created: i64,
    /// Its status says Ready: of two pools created in the same second the one that works goes first.
    pub ready: bool,
    /// CIDRs, single addresses and `first-last` spans.
    pub addresses: Vec<String>,
    /// What is taken out of `addresses`, in the same notation.
    pub exclude: Vec<String>,
    /// Whether Services that name no pool may get an address from it.
    pub auto_assign: bool,
    /// Whether IPv4 addresses ending in .0 or .255 are left out.
    pub avoid_buggy: bool,
    /// Keeps what is in use, gives nothing new.
    pub disabled: bool,
    /// Our finalizer is not on it yet: gives nothing, or it could vanish with the address that it gave.
    pub unprotected: bool,
    /// Being deleted: kept by its finalizer while in use, gives nothing new.
    pub deleting: bool,
    /// Who may use it.
    pub scope: PoolScope,
    /// What could not be translated from the object (for example an unknown selector operator).
    pub problems: Vec<String>,
}

/// `serviceAllocation` of a pool: who may take new addresses from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolScope {
    /// Smaller is tried first; 0 means last among the scoped pools.
    pub priority: u32,
    /// Allowed namespaces by name.
    pub namespaces: Vec<String>,
    /// Allowed namespaces by label, in addition to `namespaces`.
    pub namespace_selectors: Vec<Selector>,
    /// Allowed Services by label; empty allows all in the allowed namespaces.
    pub service_selectors: Vec<Selector>,
}

impl PoolScope {
    /// Whether the pool is reserved for some Services.
    pub fn is_scoped(&self) -> bool {
        !(self.namespaces.is_empty()
            && self.namespace_selectors.is_empty()
            && self.service_selectors.is_empty())
    }

    /// Whether a Service with `labels` in `namespace` may take a new address.
    pub fn allows(&self, namespace: &str, namespace_labels: &Labels, labels: &Labels) -> bool {
        let open = self.namespaces.is_empty() && self.namespace_selectors.is_empty();
        let namespace = open
            || self.namespaces.iter().any(|name| name == namespace)
            || self
                .namespace_selectors
                .iter()
                .any(|selector| selector.matches(namespace_labels));
        namespace && Selector::any_matches(&self.service_selectors, labels)
    }
}

/// Whether a pool can give addresses, and if not why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Its space is its own.
    Valid,
    /// An entry cannot be read; the others still count as its space.
    Invalid(String),
    /// An older pool has some of the same addresses.
    Overlap {
        /// The older pool.
        with: Arc<str>,
        /// The lowest address both have.
        at: IpAddr,
    },
}

/// A pool with its space worked out.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) view: PoolView,
    pub(crate) readiness: Readiness,
    /// `addresses` − `exclude`: what belongs to the pool.
    pub(crate) space: PerFamily<IntervalSet>,
    /// Whether its space is its own and shuts younger pools out. A pool being deleted has no such right: its successor
    /// may take over its range, and the addresses in use follow their range to it.
    pub(crate) claims: bool,
}

impl Pool {
    /// Reads the ranges of `view`; the readiness is that of the pool alone.
    pub(crate) fn new(view: PoolView) -> Self {
        let mut space = PerFamily::<IntervalSet>::default();
        let mut problems = view.problems.clone();
        let mut read = |texts: &[String], field: &str| -> Vec<AddressRange> {
            let parsed = texts.iter().map(|text| text.parse::<AddressRange>());
            parsed
                .filter_map(|range| {
                    range
                        .map_err(|e| problems.push(format!("{field}: {e}")))
                        .ok()
                })
                .collect()
        };
        let listed = read(&view.addresses, "addresses");
        let excluded = read(&view.exclude, "exclude");
        for range in &listed {
            let (first, last) = range.numbers();
            space.get_mut(range.family()).insert(first, last);
        }
        for range in &excluded {
            let (first, last) = range.numbers();
            space.get_mut(range.family()).remove(first, last);
        }
        if problems.is_empty() && FAMILIES.iter().all(|&f| space.get(f).is_empty()) {
            problems.push("no address is left: addresses is empty or all of it is excluded".into());
        }
        let readiness = if problems.is_empty() {
            Readiness::Valid
        } else {
            Readiness::Invalid(problems.join("; "))
        };
        let claims = !view.deleting;
        Self {
            view,
            readiness,
            space,
            claims,
        }
    }

    /// Whether it may give new addresses.
    pub(crate) fn gives(&self) -> bool {
        self.would_give() && !self.view.unprotected
    }

    /// Whether it may give new addresses once it is protected.
    pub(crate) fn would_give(&self) -> bool {
        self.claims && self.readiness == Readiness::Valid && !self.view.disabled
    }

    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.space
            .get(IpFamily::of(address))
            .contains(AddressRange::number(address))
    }

    /// Whether the pool leaves this address out as one that old clients mistake for a broadcast address.
    pub(crate) fn avoids(&self, address: IpAddr) -> bool {
        self.view.avoid_buggy && is_buggy(address)
    }

    /// The lowest address both pools have.
    pub(crate) fn first_common(&self, other: &Self) -> Option<IpAddr> {
        FAMILIES.into_iter().find_map(|family| {
            let number = self
                .space
                .get(family)
                .first_common(other.space.get(family))?;
            AddressRange::address(family, number)
        })
    }
}

/// How many addresses of `space` can be given, if those that are avoided are not.
pub(crate) fn usable(space: &IntervalSet, family: IpFamily, avoid_buggy: bool) -> u128 {
    let avoided = match family {
        IpFamily::V4 if avoid_buggy => space
            .iter()
            .map(|(first, last)| buggy_between(first, last))
            .sum(),
        _ => 0,
    };
    space.count().saturating_sub(avoided)
}

/// Whether this is an IPv4 address ending in .0 or .255.
pub(crate) fn is_buggy(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(v4) if matches!(v4.octets()[3], 0 | 255))
}

/// How many of the IPv4 numbers from `first` to `last` end in .0 or .255, without iterating.
fn buggy_between(first: u128, last: u128) -> u128 {
    let below = |n: u128| n.div_ceil(256) + n / 256;
    below(last + 1) - below(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(addresses: &[&str], exclude: &[&str], avoid_buggy: bool) -> Pool {
        let texts = |list: &[&str]| list.iter().map(|t| (*t).to_owned()).collect();
        Pool::new(PoolView {
            name: "p".into(),
            addresses: texts(addresses),
            exclude: texts(exclude),
            avoid_buggy,
            ..PoolView::default()
        })
    }

    #[test]
    fn counts_what_it_can_give() {
        for (addresses, exclude, avoid, v4, v6) in [
            (vec!["192.0.2.0/24"], vec![], false, 256, 0),
            (vec!["192.0.2.0/24"], vec![], true, 254, 0),
            (
                vec!["10.0.0.0/8"],
                vec![],
                true,
                (1 << 24) - 2 * (1 << 16),
                0,
            ),
            (vec!["192.0.2.0/32"], vec![], true, 0, 0),
            (vec!["192.0.2.255-192.0.3.1"], vec![], true, 1, 0),
            (
                vec!["192.0.2.0/24", "192.0.2.128/25"],
                vec!["192.0.2.0/28"],
                false,
                240,
                0,
            ),
            (
                vec!["2001:db8::/64"],
                vec!["2001:db8::-2001:db8::ff"],
                true,
                0,
                (1 << 64) - 256,
            ),
            (vec!["::/0", "192.0.2.1"], vec![], false, 1, u128::MAX),
        ] {
            let pool = pool(&addresses, &exclude, avoid);
            let usable = |family| usable(pool.space.get(family), family, avoid);
            assert_eq!(usable(IpFamily::V4), v4, "{addresses:?}");
            assert_eq!(usable(IpFamily::V6), v6, "{addresses:?}");
        }
    }

    #[test]
    fn a_bad_entry_makes_the_pool_invalid_and_keeps_the_others_as_its_space() {
        let pool = pool(&["192.0.2.9-192.0.2.1", "198.51.100.0/30"], &["web"], false);
        let Readiness::Invalid(why) = &pool.readiness else {
            panic!("{:?}", pool.readiness)
        };
        assert!(
            why.contains("addresses: \"192.0.2.9-192.0.2.1\" is reversed"),
            "{why}"
        );
        assert!(why.contains("exclude: \"web\""), "{why}");
        assert!(pool.contains("198.51.100.2".parse().unwrap()));
        assert!(!pool.gives());
    }

    #[test]
    fn nothing_left_is_invalid() {
        assert!(matches!(
            pool(&[], &[], false).readiness,
            Readiness::Invalid(_)
        ));
        let all = pool(&["192.0.2.0/30"], &["192.0.2.0/24"], false);
        assert!(matches!(all.readiness, Readiness::Invalid(_)));
    }

    #[test]
    fn scope_is_namespaces_or_their_labels_and_service_labels() {
        let labels = |pairs: &[(&str, &str)]| -> Labels {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let has = |key: &str| Selector {
            requirements: vec![herald_core::Requirement {
                key: key.into(),
                operator: herald_core::Operator::Exists,
                values: vec![],
            }],
        };
        let scope = PoolScope {
            priority: 1,
            namespaces: vec!["shop".into()],
            namespace_selectors: vec![has("team")],
            service_selectors: vec![has("edge")],
        };
        assert!(scope.is_scoped() && !PoolScope::default().is_scoped());
        for (namespace, namespace_labels, service, expected) in [
            ("shop", labels(&[]), labels(&[("edge", "")]), true),
            ("shop", labels(&[]), labels(&[]), false),
            (
                "blog",
                labels(&[("team", "a")]),
                labels(&[("edge", "")]),
                true,
            ),
            ("blog", labels(&[]), labels(&[("edge", "")]), false),
        ] {
            assert_eq!(
                scope.allows(namespace, &namespace_labels, &service),
                expected,
                "{namespace}"
            );
        }
        assert!(PoolScope::default().allows("any", &labels(&[]), &labels(&[])));
    }
}
