use super::encode::{
    FIB_ADDRESS_TYPE, LOOKUP_INVERTED, MASQUERADE_FLAGS, NAT_FLAGS, NUMGEN_RANDOM, VERDICT_REGISTER,
};
use super::{CtKey, Expression, FibAddress, LookupResult, MetaKey, NatKind, PayloadBase, Register};
use crate::attribute::Attributes;
use crate::object::{Counter, Family, Verdict};

/// The attributes of one expression, by kind. An attribute of another kind makes the expression one we do not know.
struct Parts<'a>(Attributes<'a>);

impl<'a> Parts<'a> {
    /// Those attributes, if no other kinds than `known` are among them.
    fn of(attributes: Attributes<'a>, known: &[u16]) -> Option<Self> {
        attributes
            .clone()
            .all(|a| known.contains(&a.kind))
            .then_some(Self(attributes))
    }

    fn number(&self, kind: u16) -> Option<u32> {
        self.0.get(kind)?.u32()
    }

    fn has(&self, kind: u16) -> bool {
        self.0.get(kind).is_some()
    }

    fn register(&self, kind: u16) -> Option<Register> {
        Register::from_number(self.number(kind)?)
    }

    /// The bytes in an `nft_data` container.
    fn data(&self, kind: u16) -> Option<Vec<u8>> {
        Some(self.0.get(kind)?.nested().get(1)?.value.to_vec())
    }
}

impl Verdict {
    /// From the attributes of an `nft_data` container.
    pub(crate) fn decode(data: &Attributes<'_>) -> Option<Self> {
        let verdict = data.get(2)?.nested();
        let chain = || Some(verdict.get(2)?.text()?.into());
        match verdict.get(1)?.u32()?.cast_signed() {
            0 => Some(Self::Drop),
            1 => Some(Self::Accept),
            -3 => Some(Self::Jump(chain()?)),
            -4 => Some(Self::Goto(chain()?)),
            -5 => Some(Self::Return),
            _ => None,
        }
    }
}

/// The counter in an expression's attributes (name and data).
pub(crate) fn decode_counter(expression: &Attributes<'_>) -> Option<Counter> {
    match Expression::decode(expression) {
        Expression::Counter(counter) => Some(counter),
        _ => None,
    }
}

impl Expression {
    /// From an expression's attributes (name and data); `Other` for what this crate does not write.
    pub(crate) fn decode(attributes: &Attributes<'_>) -> Self {
        let name = attributes.get(1).and_then(|a| a.text()).unwrap_or("?");
        let data = attributes.get(2).map_or(Attributes::EMPTY, |a| a.nested());
        decode_data(name, data).unwrap_or_else(|| Self::Other(name.into()))
    }
}

fn decode_data(name: &str, data: Attributes<'_>) -> Option<Expression> {
    Some(match name {
        "payload" => {
            let p = Parts::of(data, &[1, 2, 3, 4])?;
            Expression::Payload {
                base: [PayloadBase::Network, PayloadBase::Transport]
                    .into_iter()
                    .find(|b| Some(b.number()) == p.number(2))?,
                offset: p.number(3)?,
                length: p.number(4)?,
                to: p.register(1)?,
            }
        }
        "meta" => {
            let p = Parts::of(data, &[1, 2, 3])?;
            let key = [MetaKey::Mark, MetaKey::Family, MetaKey::L4Protocol]
                .into_iter()
                .find(|k| Some(k.number()) == p.number(2))?;
            match p.register(3) {
                Some(from) => Expression::SetMeta { key, from },
                None => Expression::Meta {
                    key,
                    to: p.register(1)?,
                },
            }
        }
        "ct" => {
            let p = Parts::of(data, &[1, 2])?;
            Expression::Ct {
                key: [CtKey::Status]
                    .into_iter()
                    .find(|k| Some(k.number()) == p.number(2))?,
                to: p.register(1)?,
            }
        }
        "bitwise" => {
            let p = Parts::of(data, &[1, 2, 3, 4, 5, 6])?;
            (p.number(6).unwrap_or(0) == 0).then_some(())?;
            Expression::Bitwise {
                from: p.register(1)?,
                to: p.register(2)?,
                mask: p.data(4)?,
                xor: p.data(5)?,
            }
        }
        "cmp" => {
            let p = Parts::of(data, &[1, 2, 3])?;
            Expression::Compare {
                from: p.register(1)?,
                equal: match p.number(2)? {
                    0 => true,
                    1 => false,
                    _ => return None,
                },
                value: p.data(3)?,
            }
        }
        "lookup" => decode_lookup(&Parts::of(data, &[1, 2, 3, 4, 5])?)?,
        "immediate" => {
            let p = Parts::of(data, &[1, 2])?;
            (p.number(1)? == VERDICT_REGISTER).then_some(())?;
            Expression::Verdict(Verdict::decode(&p.0.get(2)?.nested())?)
        }
        "numgen" => {
            let p = Parts::of(data, &[1, 2, 3, 4])?;
            (p.number(3)? == NUMGEN_RANDOM && p.number(4).unwrap_or(0) == 0).then_some(())?;
            Expression::Random {
                modulus: p.number(2)?,
                to: p.register(1)?,
            }
        }
        "nat" => {
            let p = Parts::of(data, &[1, 2, 3, 4, 5, 6, 7])?;
            let (address, port) = (p.register(3)?, p.register(5)?);
            // The kernel fills the upper ends of the ranges in with the lower ones.
            let single = p.register(4).is_none_or(|max| max == address)
                && p.register(6).is_none_or(|max| max == port);
            (single && p.number(7)? == NAT_FLAGS).then_some(())?;
            Expression::Nat {
                kind: [NatKind::Source, NatKind::Destination]
                    .into_iter()
                    .find(|k| Some(k.number()) == p.number(1))?,
                family: Family::from_number(u8::try_from(p.number(2)?).ok()?)?,
                address,
                port,
            }
        }
        "masq" => {
            let p = Parts::of(data, &[1])?;
            (p.number(1)? == MASQUERADE_FLAGS).then_some(Expression::Masquerade)?
        }
        "reject" => {
            let p = Parts::of(data, &[1, 2])?;
            (p.number(1)? == 0).then_some(())?;
            Expression::Reject {
                code: *p.0.get(2)?.value.first()?,
            }
        }
        "fib" => {
            let p = Parts::of(data, &[1, 2, 3])?;
            (p.number(2)? == FIB_ADDRESS_TYPE).then_some(())?;
            Expression::FibType {
                address: [FibAddress::Source, FibAddress::Destination]
                    .into_iter()
                    .find(|a| Some(a.flag()) == p.number(3))?,
                to: p.register(1)?,
            }
        }
        "counter" => {
            let p = Parts::of(data, &[1, 2, 3])?;
            // In the definition of a set there are no numbers yet.
            let number = |kind| p.0.get(kind).map_or(Some(0), |a| a.u64());
            Expression::Counter(Counter {
                bytes: number(1)?,
                packets: number(2)?,
            })
        }
        _ => return None,
    })
}

fn decode_lookup(p: &Parts<'_>) -> Option<Expression> {
    let inverted = p.number(5).unwrap_or(0) & LOOKUP_INVERTED != 0;
    let result = match (p.number(3), inverted) {
        (None, false) if !p.has(3) => LookupResult::Test,
        (None, true) if !p.has(3) => LookupResult::TestAbsent,
        (Some(VERDICT_REGISTER), false) => LookupResult::Verdict,
        (Some(number), false) => LookupResult::Load(Register::from_number(number)?),
        _ => return None,
    };
    Some(Expression::Lookup {
        set: p.0.get(1)?.text()?.into(),
        key: p.register(2)?,
        result,
    })
}
