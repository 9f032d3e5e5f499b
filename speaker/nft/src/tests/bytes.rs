//! The seam between objects and bytes: one transaction, byte by byte. The kernel takes it and `nft` lists it (network
//! namespace tests); here it is kept from changing unseen. Little-endian machines only, as netlink headers are in the
//! machine's order.
#![cfg(target_endian = "little")]

use std::time::Duration;

use crate::*;

/// Bytes from text: hexadecimal digits, blanks, and comments behind `#`.
fn bytes(text: &str) -> Vec<u8> {
    let digits: String = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default())
        .flat_map(str::chars)
        .filter(char::is_ascii_hexdigit)
        .collect();
    let pairs = digits.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn shown(bytes: &[u8]) -> String {
    bytes
        .chunks(16)
        .map(|line| {
            let hex: Vec<String> = line.iter().map(|b| format!("{b:02x}")).collect();
            hex.join(" ") + "\n"
        })
        .collect()
}

#[test]
fn one_transaction() {
    let table = TableName::new(Family::Ipv4, "h");
    let key = KeyType(vec![Field::Ipv4Address, Field::Protocol, Field::Port]);
    let operations = [
        Operation::AddTable(Table {
            name: table.clone(),
            flags: table_flag::OWNER | table_flag::PERSIST,
        }),
        Operation::AddSet(Set {
            name: table.set("m"),
            key,
            value: Some(Value::Verdict),
            interval: false,
            counter: false,
            timeout: false,
        }),
        Operation::AddChain(Chain {
            name: table.chain("p"),
            base: Some(BaseChain {
                kind: ChainKind::Nat,
                hook: Hook::Prerouting,
                priority: -110,
            }),
        }),
        Operation::AddRule(Rule {
            chain: table.chain("p"),
            expressions: vec![
                Expression::Payload {
                    base: PayloadBase::Network,
                    offset: 16,
                    length: 4,
                    to: Register::FIRST,
                },
                Expression::Lookup {
                    set: "m".into(),
                    key: Register::FIRST,
                    result: LookupResult::Verdict,
                },
            ],
        }),
        Operation::AddElements(Elements {
            set: table.set("m"),
            elements: vec![Element::entry(
                vec![203, 0, 113, 10, 6, 0, 0, 0, 0, 80, 0, 0],
                Data::Verdict(Verdict::Goto("p".into())),
            )],
        }),
        Operation::DeleteElements(Elements {
            set: table.set("m"),
            elements: vec![Element::entry(vec![1; 12], Data::Verdict(Verdict::Drop))],
        }),
    ];
    let encoded = super::batch(&operations);
    let expected = bytes(
        "
# begin of the batch: type 0x10, request, sequence 0, for subsystem 10
14 00 00 00 10 00 01 00 00 00 00 00 00 00 00 00  00 00 00 0a
# NEWTABLE, create, sequence 1; family 2; name, flags
24 00 00 00 00 0a 01 04 01 00 00 00 00 00 00 00  02 00 00 00
06 00 01 00 68 00 00 00  08 00 02 00 00 00 00 06
# NEWSET, create, sequence 2; table, name, flags concat|map, key type 7.12.13, length 12, verdict, length 0
80 00 00 00 09 0a 01 04 02 00 00 00 00 00 00 00  02 00 00 00
06 00 01 00 68 00 00 00  06 00 02 00 6d 00 00 00  08 00 03 00 00 00 00 88
08 00 04 00 00 00 73 0d  08 00 05 00 00 00 00 0c
08 00 06 00 ff ff ff 00  08 00 07 00 00 00 00 00
# description: fields of 4, 1 and 2 bytes; set id
2c 00 09 80  28 00 02 80
0c 00 01 80 08 00 01 00 00 00 00 04  0c 00 01 80 08 00 01 00 00 00 00 01  0c 00 01 80 08 00 01 00 00 00 00 02
08 00 0a 00 00 00 00 02
# NEWCHAIN, create, sequence 3; table, name, hook 0 priority -110, policy accept, type nat
48 00 00 00 03 0a 01 04 03 00 00 00 00 00 00 00  02 00 00 00
06 00 01 00 68 00 00 00  06 00 03 00 70 00 00 00
14 00 04 80 08 00 01 00 00 00 00 00 08 00 02 00 ff ff ff 92
08 00 05 00 00 00 00 01  08 00 07 00 6e 61 74 00
# NEWRULE, create and append, sequence 4; table, chain
88 00 00 00 06 0a 01 0c 04 00 00 00 00 00 00 00  02 00 00 00
06 00 01 00 68 00 00 00  06 00 02 00 70 00 00 00  64 00 04 80
# payload: register 1, network header, offset 16, length 4
34 00 01 80  0c 00 01 00 70 61 79 6c 6f 61 64 00  24 00 02 80
08 00 01 00 00 00 00 01  08 00 02 00 00 00 00 01  08 00 03 00 00 00 00 10  08 00 04 00 00 00 00 04
# lookup: set, register 1, verdict register
2c 00 01 80  0b 00 01 00 6c 6f 6f 6b 75 70 00 00  1c 00 02 80
06 00 01 00 6d 00 00 00  08 00 02 00 00 00 00 01  08 00 03 00 00 00 00 00
# NEWSETELEM, create, sequence 5; table, set, one element: key, data (verdict goto, chain)
58 00 00 00 0c 0a 01 04 05 00 00 00 00 00 00 00  02 00 00 00
06 00 01 00 68 00 00 00  06 00 02 00 6d 00 00 00  34 00 03 80  30 00 01 80
14 00 01 80 10 00 01 00 cb 00 71 0a 06 00 00 00 00 50 00 00
18 00 02 80 14 00 02 80  08 00 01 00 ff ff ff fc  06 00 02 00 70 00 00 00
# DELSETELEM, acknowledged as the last message, sequence 6; the key alone
40 00 00 00 0e 0a 05 00 06 00 00 00 00 00 00 00  02 00 00 00
06 00 01 00 68 00 00 00  06 00 02 00 6d 00 00 00  1c 00 03 80  18 00 01 80
14 00 01 80 10 00 01 00 01 01 01 01 01 01 01 01 01 01 01 01
# end of the batch: type 0x11, acknowledged, sequence 7
14 00 00 00 11 00 05 00 07 00 00 00 00 00 00 00  00 00 00 0a
",
    );
    assert_eq!(shown(encoded.bytes()), shown(&expected));
}

#[test]
fn an_element_with_a_time_out_takes_the_place_of_all_others() {
    let table = TableName::new(Family::Ipv6, "h");
    let element = Element {
        timeout: Some(Duration::from_mins(1)),
        ..Element::key(vec![Family::Ipv6.number()])
    };
    let operations = [
        Operation::AddSet(Set {
            name: table.set("a"),
            key: KeyType(vec![Field::Family]),
            value: None,
            interval: false,
            counter: false,
            timeout: true,
        }),
        Operation::FlushSet(table.set("a")),
        Operation::AddElements(Elements {
            set: table.set("a"),
            elements: vec![element],
        }),
    ];
    let encoded = super::batch(&operations);
    let expected = bytes(
        "
# begin of the batch
14 00 00 00 10 00 01 00 00 00 00 00 00 00 00 00  00 00 00 0a
# NEWSET, create, sequence 1; family 10; table, name, flag timeout, key type 2, length 1; set id
44 00 00 00 09 0a 01 04 01 00 00 00 00 00 00 00  0a 00 00 00
06 00 01 00 68 00 00 00  06 00 02 00 61 00 00 00  08 00 03 00 00 00 00 10
08 00 04 00 00 00 00 02  08 00 05 00 00 00 00 01  08 00 0a 00 00 00 00 01
# DELSETELEM, sequence 2; table, set, and no list: all of them
24 00 00 00 0e 0a 01 00 02 00 00 00 00 00 00 00  0a 00 00 00
06 00 01 00 68 00 00 00  06 00 02 00 61 00 00 00
# NEWSETELEM, create, acknowledged as the last message, sequence 3; one element: key, time-out of 60,000 ms
44 00 00 00 0c 0a 05 04 03 00 00 00 00 00 00 00  0a 00 00 00
06 00 01 00 68 00 00 00  06 00 02 00 61 00 00 00
20 00 03 80  1c 00 01 80
0c 00 01 80 05 00 01 00 0a 00 00 00  0c 00 04 00 00 00 00 00 00 00 ea 60
# end of the batch
14 00 00 00 11 00 05 00 04 00 00 00 00 00 00 00  00 00 00 0a
",
    );
    assert_eq!(shown(encoded.bytes()), shown(&expected));
}
