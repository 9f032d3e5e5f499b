//! What is encoded decodes to the same, and nothing makes the decoder panic.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::*;

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,20}"
}

fn family() -> impl Strategy<Value = Family> {
    select(vec![Family::Ipv4, Family::Ipv6])
}

fn table() -> impl Strategy<Value = TableName> {
    (family(), name()).prop_map(|(family, name)| TableName::new(family, name))
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Drop),
        Just(Verdict::Accept),
        Just(Verdict::Return),
        name().prop_map(|n| Verdict::Jump(n.into())),
        name().prop_map(|n| Verdict::Goto(n.into())),
    ]
}

fn register() -> impl Strategy<Value = Register> {
    (0..16u32).prop_map(|w| Register::at(w).unwrap())
}

fn expression() -> impl Strategy<Value = Expression> {
    let meta = || select(vec![MetaKey::Mark, MetaKey::Family, MetaKey::L4Protocol]);
    let base = select(vec![PayloadBase::Network, PayloadBase::Transport]);
    let result = prop_oneof![
        Just(LookupResult::Test),
        Just(LookupResult::TestAbsent),
        Just(LookupResult::Verdict),
        register().prop_map(LookupResult::Load),
    ];
    let bytes = || vec(any::<u8>(), 4..17);
    prop_oneof![
        (base, 0..64u32, 1..17u32, register()).prop_map(|(base, offset, length, to)| {
            Expression::Payload {
                base,
                offset,
                length,
                to,
            }
        }),
        (meta(), register()).prop_map(|(key, to)| Expression::Meta { key, to }),
        (meta(), register()).prop_map(|(key, from)| Expression::SetMeta { key, from }),
        register().prop_map(|to| Expression::Ct {
            key: CtKey::Status,
            to
        }),
        (register(), register(), bytes()).prop_map(|(from, to, mask)| {
            let xor = mask.iter().map(|b| !b).collect();
            Expression::Bitwise {
                from,
                to,
                mask,
                xor,
            }
        }),
        (register(), any::<bool>(), bytes()).prop_map(|(from, equal, value)| Expression::Compare {
            from,
            equal,
            value
        }),
        (name(), register(), result).prop_map(|(set, key, result)| Expression::Lookup {
            set: set.into(),
            key,
            result
        }),
        verdict().prop_map(Expression::Verdict),
        (1..9000u32, register()).prop_map(|(modulus, to)| Expression::Random { modulus, to }),
        (
            select(vec![NatKind::Source, NatKind::Destination]),
            family(),
            register(),
            register()
        )
            .prop_map(|(kind, family, address, port)| {
                Expression::Nat {
                    kind,
                    family,
                    address,
                    port,
                }
            }),
        Just(Expression::Masquerade),
        any::<u8>().prop_map(|code| Expression::Reject { code }),
        (
            select(vec![FibAddress::Source, FibAddress::Destination]),
            register()
        )
            .prop_map(|(address, to)| Expression::FibType { address, to }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(packets, bytes)| { Expression::Counter(Counter { packets, bytes }) }),
    ]
}

fn fields() -> impl Strategy<Value = KeyType> {
    let field = select(vec![
        Field::Family,
        Field::Ipv4Address,
        Field::Ipv6Address,
        Field::Protocol,
        Field::Port,
        Field::Mark,
    ]);
    vec(field, 1..6).prop_map(KeyType)
}

fn element() -> impl Strategy<Value = Element> {
    let bytes = || vec(any::<u8>(), 1..40);
    let data = prop_oneof![
        verdict().prop_map(Data::Verdict),
        bytes().prop_map(Data::Bytes)
    ];
    (
        bytes(),
        proptest::option::of(bytes()),
        any::<bool>(),
        proptest::option::of(data),
        proptest::option::of(any::<u64>().prop_map(Duration::from_millis)),
    )
        .prop_map(|(key, key_end, interval_end, data, timeout)| Element {
            key,
            key_end,
            interval_end,
            data,
            counter: None,
            timeout,
            expires: None,
        })
}

fn object() -> impl Strategy<Value = (Operation, Decoded)> {
    let base = (
        select(vec![ChainKind::Nat, ChainKind::Filter]),
        select(vec![
            Hook::Prerouting,
            Hook::Forward,
            Hook::Output,
            Hook::Postrouting,
        ]),
        any::<i32>(),
    )
        .prop_map(|(kind, hook, priority)| BaseChain {
            kind,
            hook,
            priority,
        });
    let value = prop_oneof![Just(Value::Verdict), fields().prop_map(Value::Fields)];
    let flags = any::<(bool, bool, bool)>();
    prop_oneof![
        (table(), 0..8u32).prop_map(|(name, flags)| {
            let table = Table { name, flags };
            (Operation::AddTable(table.clone()), Decoded::Table(table))
        }),
        (table(), name(), proptest::option::of(base)).prop_map(|(table, name, base)| {
            let chain = Chain {
                name: table.chain(name),
                base,
            };
            (Operation::AddChain(chain.clone()), Decoded::Chain(chain))
        }),
        (
            table(),
            name(),
            fields(),
            proptest::option::of(value),
            flags
        )
            .prop_map(|(table, name, key, value, (interval, counter, timeout))| {
                let set = Set {
                    name: table.set(name),
                    key,
                    value,
                    interval,
                    counter,
                    timeout,
                };
                (Operation::AddSet(set.clone()), Decoded::Set(set))
            }),
        (table(), name(), vec(expression(), 0..12)).prop_map(|(table, name, expressions)| {
            let rule = Rule {
                chain: table.chain(name),
                expressions,
            };
            (Operation::AddRule(rule.clone()), Decoded::Rule(rule))
        }),
        (table(), name(), vec(element(), 1..20)).prop_map(|(table, name, elements)| {
            let elements = Elements {
                set: table.set(name),
                elements,
            };
            (
                Operation::AddElements(elements.clone()),
                Decoded::Elements(elements),
            )
        }),
    ]
}

proptest! {
    #[test]
    fn objects_survive_encoding(objects in vec(object(), 0..8)) {
        let operations: Vec<_> = objects.iter().map(|(o, _)| o.clone()).collect();
        let encoded = super::batch(&operations);
        let mut read = decode(encoded.bytes()).unwrap();
        prop_assert_eq!(read.pop(), Some(Decoded::Other), "the end of the batch");
        prop_assert_eq!(read.remove(0), Decoded::Other, "its begin");
        let expected: Vec<_> = objects.into_iter().map(|(_, d)| d).collect();
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
        let _ = decode_flows(&bytes);
    }

    /// Damage within otherwise sound messages gets further than noise does.
    #[test]
    fn no_damage_makes_the_decoder_panic(
        objects in vec(object(), 1..4),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let operations: Vec<_> = objects.into_iter().map(|(o, _)| o).collect();
        let mut bytes = super::batch(&operations).bytes().to_vec();
        for (place, value) in damage {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let _ = decode(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _ = decode(&bytes);
        let _ = decode_flows(&bytes);
    }
}
