//! Which of several eligible nodes owns an address: rendezvous hashing (highest random weight).
//!
//! Every speaker, of every version, must come to the same answer, so the hash is written out here and pinned by test
//! vectors; changing it moves addresses during an upgrade. Each address is hashed on its own, so the two addresses of a
//! dual-stack Service may have different owners. When a node goes, only its own addresses move.

use std::net::IpAddr;

/// The owner of `address` among `nodes`: the node with the highest [`score`]; of equal scores the lesser name.
///
/// The order of `nodes` does not matter. `None` when there is none.
pub fn elect<'a>(address: IpAddr, nodes: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nodes.into_iter().max_by(|left, right| {
        score(address, left)
            .cmp(&score(address, right))
            .then_with(|| right.cmp(left))
    })
}

/// The rank of `node` for `address`: higher is preferred.
///
/// FNV-1a (64 bits) over the address's bytes in network order, one byte 0xff (which no node name holds), and the name;
/// then SplitMix64's finalizer, because FNV alone mixes its high bits badly.
pub fn score(address: IpAddr, node: &str) -> u64 {
    let hash = fnv(FNV_OFFSET, &octets(address));
    mix(fnv(fnv(hash, &[0xff]), node.as_bytes()))
}

/// A stable number of an address, to spread periodic work of many addresses over time.
pub(crate) fn spread(address: IpAddr) -> u64 {
    mix(fnv(FNV_OFFSET, &octets(address)))
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

fn fnv(seed: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(seed, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    })
}

fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use super::*;

    /// Never change these: a mixed-version cluster would have two owners.
    #[test]
    fn the_hash_is_pinned() {
        assert_eq!(fnv(FNV_OFFSET, b"foobar"), 0x8594_4171_f739_67e8); // the FNV authors' own vector
        for (address, node, expected) in [
            ("192.0.2.1", "n1", GOLDEN[0]),
            ("192.0.2.1", "n2", GOLDEN[1]),
            ("2001:db8::1", "n1", GOLDEN[2]),
            ("2001:db8::1", "worker-17.example.com", GOLDEN[3]),
        ] {
            let actual = score(address.parse().unwrap(), node);
            assert_eq!(actual, expected, "{address} {node}: {actual:#018x}");
        }
    }

    const GOLDEN: [u64; 4] = [
        0xefdb_79ef_462d_af49,
        0xdf3f_64ab_e482_b41d,
        0xb656_7df0_f717_739a,
        0x1fb5_5980_424b_9f7d,
    ];

    fn owners(nodes: &[&'static str]) -> Vec<&'static str> {
        (0..1000u32)
            .map(|n| {
                elect(
                    Ipv4Addr::from(0xc000_0200 + n).into(),
                    nodes.iter().copied(),
                )
                .unwrap()
            })
            .collect()
    }

    #[test]
    fn a_thousand_addresses_spread_evenly_over_five_nodes() {
        let mut counts = BTreeMap::new();
        for owner in owners(&["n1", "n2", "n3", "n4", "n5"]) {
            *counts.entry(owner).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 5);
        assert!(
            counts.values().all(|n| (150..=250).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn only_the_addresses_of_a_lost_node_move() {
        let before = owners(&["n1", "n2", "n3", "n4", "n5"]);
        let after = owners(&["n5", "n1", "n2", "n4"]);
        for (old, new) in before.iter().zip(&after) {
            assert!(old == new || *old == "n3", "{old} -> {new}");
            assert_ne!(*new, "n3");
        }
    }

    #[test]
    fn nobody_is_elected_from_nobody() {
        assert_eq!(elect("192.0.2.1".parse().unwrap(), []), None);
    }
}
