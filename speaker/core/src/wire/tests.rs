use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::{Frame, Message, arp, ndp};
use crate::Mac;

const US: Mac = Mac([2, 0, 0, 0, 0, 1]);
const THEM: Mac = Mac([2, 0, 0, 0, 0, 9]);
const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 100);
const ASKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0xab, 0xcdef);
const ASKER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);

fn hex(frame: &Frame) -> String {
    format!("{frame:?}")
}

#[test]
fn arp_frames_are_these_bytes() {
    let ours = "020000000001c0000264";
    for (frame, expected) in [
        (
            arp::reply(US, V4, (THEM, ASKER)),
            format!("02000000000902000000000108060001080006040002{ours}020000000009c0000209"),
        ),
        (
            arp::probe(US, V4),
            "ffffffffffff0200000000010806000108000604000102000000000100000000000000000000c0000264"
                .to_owned(),
        ),
        (
            arp::announce_request(US, V4),
            format!("ffffffffffff02000000000108060001080006040001{ours}000000000000c0000264"),
        ),
        (
            arp::announce_reply(US, V4),
            format!("ffffffffffff02000000000108060001080006040002{ours}ffffffffffffc0000264"),
        ),
    ] {
        assert_eq!(hex(&frame), expected);
        assert_eq!(frame.as_bytes().len(), 42);
    }
}

#[test]
fn arp_decodes_what_it_encodes() {
    let decoded = |frame: Frame| Message::decode(frame.as_bytes());
    assert_eq!(
        decoded(arp::probe(US, V4)),
        Some(Message::Arp(arp::Packet {
            request: true,
            sender_mac: US,
            sender: Ipv4Addr::UNSPECIFIED,
            target: V4
        }))
    );
    assert_eq!(
        decoded(arp::reply(US, V4, (THEM, ASKER))),
        Some(Message::Arp(arp::Packet {
            request: false,
            sender_mac: US,
            sender: V4,
            target: ASKER
        }))
    );
}

/// Checksums worked out apart from the code, with tcpdump as the judge in the netns tests.
#[test]
fn ndp_frames_are_these_bytes() {
    let v6 = "20010db8000000000000000000abcdef";
    let asker = "20010db8000000000000000000000009";
    let all_nodes = "ff020000000000000000000000000001";
    let group = "ff0200000000000000000001ffabcdef";
    let zero = "00000000000000000000000000000000";
    let option = "0201020000000001";
    for (frame, expected) in [
        (
            ndp::reply(US, V6, (THEM, ASKER6)),
            format!(
                "02000000000902000000000186dd6000000000203aff{v6}{asker}8800{}60000000{v6}{option}",
                SUMS[0]
            ),
        ),
        (
            ndp::announce(US, V6),
            format!(
                "33330000000102000000000186dd6000000000203aff{v6}{all_nodes}8800{}20000000{v6}{option}",
                SUMS[1]
            ),
        ),
        (
            ndp::probe(US, V6),
            format!(
                "3333ffabcdef02000000000186dd6000000000183aff{zero}{group}8700{}00000000{v6}",
                SUMS[2]
            ),
        ),
    ] {
        assert_eq!(hex(&frame), expected);
    }
}

const SUMS: [&str; 3] = ["ed38", "5bf7", "afb9"];

#[test]
fn duplicate_address_detection_is_answered_to_all_nodes_without_the_solicited_flag() {
    assert_eq!(
        ndp::reply(US, V6, (THEM, Ipv6Addr::UNSPECIFIED)),
        ndp::announce(US, V6)
    );
}

/// A solicitation as a host sends it, which `ndp` itself never does.
fn solicitation(source: Ipv6Addr, option: bool, hops: u8) -> Vec<u8> {
    let mut bytes = ndp::probe(THEM, V6).as_bytes().to_vec();
    bytes[21] = hops;
    bytes[22..38].copy_from_slice(&source.octets());
    if option {
        bytes[19] = 32;
        bytes.extend([1, 1]);
        bytes.extend(THEM.0);
    }
    fix_checksum(&mut bytes);
    bytes
}

fn fix_checksum(bytes: &mut [u8]) {
    bytes[56..58].fill(0);
    let mut sum: u32 = 58 + u32::try_from(bytes.len() - 54).unwrap();
    for pair in bytes[22..].chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    bytes[56..58].copy_from_slice(&(!u16::try_from(sum).unwrap()).to_be_bytes());
}

#[test]
fn solicitations_with_and_without_a_link_layer_option_are_read() {
    for (source, option) in [
        (ASKER6, true),
        (ASKER6, false),
        (Ipv6Addr::UNSPECIFIED, false),
    ] {
        let read = Message::decode(&solicitation(source, option, 255));
        let expected = ndp::Message::Solicitation {
            source,
            mac: THEM,
            target: V6,
        };
        assert_eq!(read, Some(Message::Ndp(expected)), "{source} {option}");
    }
}

#[test]
fn invalid_neighbour_discovery_is_not_read() {
    let valid = solicitation(ASKER6, true, 255);
    assert!(Message::decode(&valid).is_some());
    let broken = |change: fn(&mut Vec<u8>)| {
        let mut bytes = valid.clone();
        change(&mut bytes);
        bytes
    };
    let fixed = |change: fn(&mut Vec<u8>)| {
        let mut bytes = broken(change);
        fix_checksum(&mut bytes);
        bytes
    };
    for (what, bytes) in [
        ("came through a router", solicitation(ASKER6, true, 254)),
        (
            "detection with an option",
            solicitation(Ipv6Addr::UNSPECIFIED, true, 255),
        ),
        (
            "multicast source",
            solicitation(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), true, 255),
        ),
        ("checksum", broken(|b| b[57] ^= 1)),
        ("IPv4 version", broken(|b| b[14] = 0x45)),
        ("not ICMPv6", broken(|b| b[20] = 17)),
        ("code", fixed(|b| b[55] = 1)),
        ("multicast target", fixed(|b| b[62] = 0xff)),
        ("option of length zero", fixed(|b| b[79] = 0)),
        ("option beyond the end", fixed(|b| b[79] = 2)),
        ("length beyond the frame", broken(|b| b[19] = 40)),
        ("half an option", fixed(|b| b[19] = 25)),
        ("group address as sender", fixed(|b| b[80] |= 1)),
    ] {
        assert_eq!(Message::decode(&bytes), None, "{what}");
    }
    for length in 0..valid.len() {
        assert_eq!(Message::decode(&valid[..length]), None, "cut at {length}");
    }
}

#[test]
fn padding_of_short_frames_is_ignored() {
    let mut bytes = solicitation(ASKER6, false, 255);
    bytes.extend([0; 10]);
    assert!(Message::decode(&bytes).is_some());
    let mut bytes = arp::probe(US, V4).as_bytes().to_vec();
    bytes.extend([0; 18]);
    assert!(Message::decode(&bytes).is_some());
}

#[test]
fn other_hardware_and_operations_are_not_read() {
    let valid = arp::probe(US, V4).as_bytes().to_vec();
    for (at, value) in [
        (15, 6),
        (16, 0x86),
        (18, 8),
        (19, 16),
        (21, 3),
        (13, 0),
        (22, 3),
    ] {
        let mut bytes = valid.clone();
        bytes[at] = value;
        assert_eq!(Message::decode(&bytes), None, "byte {at}");
    }
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::decode(&bytes);
    }

    #[test]
    fn decoding_damaged_messages_never_panics(at in 0usize..86, value: u8, cut in 0usize..=86) {
        let mut bytes = solicitation(ASKER6, true, 255);
        bytes[at] = value;
        fix_checksum(&mut bytes);
        let _ = Message::decode(&bytes[..cut]);
    }

    #[test]
    fn an_announcement_reads_back_as_a_claim(mac: [u8; 6], v4: [u8; 4], v6: [u8; 16]) {
        let mac = Mac([mac[0] & 0xfe, mac[1], mac[2], mac[3], mac[4], mac[5]]);
        let (v4, v6) = (Ipv4Addr::from(v4), Ipv6Addr::from(v6));
        let read = Message::decode(arp::announce_request(mac, v4).as_bytes());
        let expected = arp::Packet { request: true, sender_mac: mac, sender: v4, target: v4 };
        prop_assert_eq!(read, Some(Message::Arp(expected)));
        prop_assume!(!v6.is_multicast());
        let read = Message::decode(ndp::announce(mac, v6).as_bytes());
        prop_assert_eq!(read, Some(Message::Ndp(ndp::Message::Advertisement { target: v6, mac })));
        let read = Message::decode(ndp::probe(mac, v6).as_bytes());
        let source = Ipv6Addr::UNSPECIFIED;
        prop_assert_eq!(read, Some(Message::Ndp(ndp::Message::Solicitation { source, mac, target: v6 })));
    }
}
