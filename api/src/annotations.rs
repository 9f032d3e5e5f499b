//! Annotations of Services that Herald reads and writes.
//!
//! `MetalLB`'s two spellings are read too, so that Services need no edit on migration; ours wins where both are present.

use std::collections::BTreeMap;

/// Input: take the address from the AddressPool of this name, also when its `autoAssign` is false.
pub const ADDRESS_POOL: &str = "heraldlb.io/address-pool";

/// Input: take this address, or these two (one of each family, separated by a comma).
pub const ADDRESSES: &str = "heraldlb.io/addresses";

/// Output: the pool of each address (separated by a comma, in the order of `status.loadBalancer.ingress`): the one that has
/// it now, or the last one that had it. Written together with the status; who announces an address goes by it alone.
pub const ALLOCATED_FROM: &str = "heraldlb.io/allocated-from";

/// Output: the pools that had an address before it came to the one of [`ALLOCATED_FROM`], the latest first: separated by `/`,
/// those of each address by a comma. The first that an L2Advertisement selects counts where none selects the pool of now.
pub const EARLIER_POOLS: &str = "heraldlb.io/earlier-pools";

/// Output: the pool that was asked for and given, while the address is in another one: a pool edit is no unmet request.
pub const REQUESTED_POOL: &str = "heraldlb.io/requested-pool";

/// Input: `"true"` leaves the Service's load balancer at its provider as it is, whatever else changes, until this is removed.
pub const PAUSED: &str = "heraldlb.io/paused";

const ADDRESS_POOL_KEYS: [&str; 3] = [
    ADDRESS_POOL,
    "metallb.io/address-pool",
    "metallb.universe.tf/address-pool",
];
const SHARE_KEYS: [&str; 2] = [
    "metallb.io/allow-shared-ip",
    "metallb.universe.tf/allow-shared-ip",
];
const ADDRESSES_KEYS: [&str; 3] = [
    ADDRESSES,
    "metallb.io/loadBalancerIPs",
    "metallb.universe.tf/loadBalancerIPs",
];

/// The key by which a Service shares its address with others, for `MetalLB`.
pub fn share_key(annotations: &BTreeMap<String, String>) -> Option<&str> {
    first_of(&SHARE_KEYS, annotations)
}

/// The pool a Service asks for by annotation.
pub fn address_pool(annotations: &BTreeMap<String, String>) -> Option<&str> {
    first_of(&ADDRESS_POOL_KEYS, annotations)
}

/// The address or addresses a Service asks for by annotation, not parsed: see [`list`].
pub fn addresses(annotations: &BTreeMap<String, String>) -> Option<&str> {
    first_of(&ADDRESSES_KEYS, annotations)
}

/// The pools a Service's addresses came from, in the order of `status.loadBalancer.ingress`.
pub fn allocated_from(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    annotations
        .get(ALLOCATED_FROM)
        .into_iter()
        .flat_map(|value| list(value))
}

/// The pools that each address of a Service was in before, in the order of `status.loadBalancer.ingress`.
pub fn earlier_pools(annotations: &BTreeMap<String, String>) -> Vec<Vec<String>> {
    let value = annotations.get(EARLIER_POOLS).map(String::as_str);
    value.map_or_else(Vec::new, herald_core::earlier_pools)
}

/// Whether the load balancer of a Service is to be left as it is.
pub fn is_paused(annotations: &BTreeMap<String, String>) -> bool {
    annotations
        .get(PAUSED)
        .is_some_and(|value| value.trim() == "true")
}

/// The entries of a value that holds several, separated by commas. Empty entries are skipped.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
}

/// An annotation with an empty value counts as absent, as a user who clears it expects.
fn first_of<'a>(
    keys: &[&'static str],
    annotations: &'a BTreeMap<String, String>,
) -> Option<&'a str> {
    keys.iter().find_map(|key| {
        let value = annotations.get(*key)?.trim();
        (!value.is_empty()).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn annotations(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn our_spelling_wins_and_metallbs_are_read() {
        for (pairs, expected) in [
            (&[] as &[(&str, &str)], None),
            (&[("heraldlb.io/address-pool", "a")], Some("a")),
            (&[("metallb.io/address-pool", " b ")], Some("b")),
            (&[("metallb.universe.tf/address-pool", "c")], Some("c")),
            (
                &[
                    ("metallb.universe.tf/address-pool", "c"),
                    ("heraldlb.io/address-pool", "a"),
                ],
                Some("a"),
            ),
            (
                &[
                    ("metallb.io/address-pool", "b"),
                    ("heraldlb.io/address-pool", ""),
                ],
                Some("b"),
            ),
        ] {
            let annotations = annotations(pairs);
            assert_eq!(address_pool(&annotations), expected, "{pairs:?}");
        }
    }

    #[test]
    fn addresses_are_read_in_metallbs_spelling_too() {
        let annotations = annotations(&[("metallb.io/loadBalancerIPs", "192.0.2.1, 2001:db8::1,")]);
        let found = addresses(&annotations).unwrap();
        assert_eq!(
            list(found).collect::<Vec<_>>(),
            ["192.0.2.1", "2001:db8::1"]
        );
    }

    #[test]
    fn only_true_pauses() {
        assert!(!is_paused(&BTreeMap::new()));
        for (value, expected) in [
            ("true", true),
            (" true ", true),
            ("false", false),
            ("", false),
        ] {
            assert_eq!(
                is_paused(&annotations(&[(PAUSED, value)])),
                expected,
                "{value:?}"
            );
        }
    }

    #[test]
    fn allocated_from_names_one_pool_for_each_address() {
        let annotations = annotations(&[(ALLOCATED_FROM, "four,six")]);
        assert_eq!(
            allocated_from(&annotations).collect::<Vec<_>>(),
            ["four", "six"]
        );
        assert_eq!(allocated_from(&BTreeMap::new()).count(), 0);
    }
}
