//! Annotations of Services that Herald reads and writes.
//!
//! `MetalLB`'s two spellings are read too, so that Services need no edit on migration; ours wins where both are present.

use std::collections::BTreeMap;

/// Input: take the address from the AddressPool of this name, also when its `autoAssign` is false.
pub const ADDRESS_POOL: &str = "heraldlb.io/address-pool";

/// Input: take this address, or these two (one of each family, separated by a comma).
pub const ADDRESSES: &str = "heraldlb.io/addresses";

/// Output: the pool or pools (separated by a comma, in the order of `status.loadBalancer.ingress`) that the addresses
/// came from. Written together with the status. Speakers use it when a pool no longer holds an address in use.
pub const ALLOCATED_FROM: &str = "heraldlb.io/allocated-from";

const ADDRESS_POOL_KEYS: [&str; 3] = [
    ADDRESS_POOL,
    "metallb.io/address-pool",
    "metallb.universe.tf/address-pool",
];
const ADDRESSES_KEYS: [&str; 3] = [
    ADDRESSES,
    "metallb.io/loadBalancerIPs",
    "metallb.universe.tf/loadBalancerIPs",
];

/// An annotation that was found: its key as written, for messages, and its value without surrounding blanks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation<'a> {
    /// The key, in the spelling that the Service uses.
    pub key: &'static str,
    /// The value; never empty.
    pub value: &'a str,
}

/// The pool a Service asks for by annotation.
pub fn address_pool(annotations: &BTreeMap<String, String>) -> Option<Annotation<'_>> {
    first_of(&ADDRESS_POOL_KEYS, annotations)
}

/// The address or addresses a Service asks for by annotation, not parsed: see [`list`].
pub fn addresses(annotations: &BTreeMap<String, String>) -> Option<Annotation<'_>> {
    first_of(&ADDRESSES_KEYS, annotations)
}

/// The pools a Service's addresses came from, in the order of `status.loadBalancer.ingress`.
pub fn allocated_from(annotations: &BTreeMap<String, String>) -> impl Iterator<Item = &str> {
    annotations
        .get(ALLOCATED_FROM)
        .into_iter()
        .flat_map(|value| list(value))
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
) -> Option<Annotation<'a>> {
    keys.iter().find_map(|key| {
        let value = annotations.get(*key)?.trim();
        (!value.is_empty()).then_some(Annotation { key, value })
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
            (
                &[("heraldlb.io/address-pool", "a")],
                Some(("heraldlb.io/address-pool", "a")),
            ),
            (
                &[("metallb.io/address-pool", " b ")],
                Some(("metallb.io/address-pool", "b")),
            ),
            (
                &[("metallb.universe.tf/address-pool", "c")],
                Some(("metallb.universe.tf/address-pool", "c")),
            ),
            (
                &[
                    ("metallb.universe.tf/address-pool", "c"),
                    ("heraldlb.io/address-pool", "a"),
                ],
                Some(("heraldlb.io/address-pool", "a")),
            ),
            (
                &[
                    ("metallb.io/address-pool", "b"),
                    ("heraldlb.io/address-pool", ""),
                ],
                Some(("metallb.io/address-pool", "b")),
            ),
        ] {
            let annotations = annotations(pairs);
            let found = address_pool(&annotations).map(|found| (found.key, found.value));
            assert_eq!(found, expected, "{pairs:?}");
        }
    }

    #[test]
    fn addresses_are_read_in_metallbs_spelling_too() {
        let annotations = annotations(&[("metallb.io/loadBalancerIPs", "192.0.2.1, 2001:db8::1,")]);
        let found = addresses(&annotations).unwrap();
        assert_eq!(found.key, "metallb.io/loadBalancerIPs");
        assert_eq!(
            list(found.value).collect::<Vec<_>>(),
            ["192.0.2.1", "2001:db8::1"]
        );
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
