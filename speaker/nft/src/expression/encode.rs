use super::{CtKey, Expression, FibAddress, LookupResult, MetaKey, NatKind, PayloadBase};
use crate::attribute::Writer;
use crate::object::Verdict;

/// `NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED`.
pub(super) const NAT_FLAGS: u32 = 3;
/// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
pub(super) const MASQUERADE_FLAGS: u32 = 1 << 4;
/// `NFT_FIB_RESULT_ADDRTYPE`.
pub(super) const FIB_ADDRESS_TYPE: u32 = 3;
/// `NFT_LOOKUP_F_INV`.
pub(super) const LOOKUP_INVERTED: u32 = 1;
/// `NFT_NG_RANDOM`.
pub(super) const NUMGEN_RANDOM: u32 = 1;
/// The verdict register.
pub(super) const VERDICT_REGISTER: u32 = 0;

impl PayloadBase {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Network => 1,
            Self::Transport => 2,
        }
    }
}

impl MetaKey {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Mark => 3,
            Self::Family => 15,
            Self::L4Protocol => 16,
        }
    }
}

impl CtKey {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Status => 2,
        }
    }
}

impl FibAddress {
    pub(super) fn flag(self) -> u32 {
        match self {
            Self::Source => 1,
            Self::Destination => 2,
        }
    }
}

impl NatKind {
    pub(super) fn number(self) -> u32 {
        match self {
            Self::Source => 0,
            Self::Destination => 1,
        }
    }
}

impl Verdict {
    /// `NF_*` and `NFT_*` verdict codes.
    pub(super) fn code(&self) -> i32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
            Self::Jump(_) => -3,
            Self::Goto(_) => -4,
            Self::Return => -5,
        }
    }

    /// `NFTA_DATA_VERDICT`, within an `nft_data` container.
    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.nest(2, |w| {
            w.u32(1, self.code().cast_unsigned());
            if let Self::Jump(chain) | Self::Goto(chain) = self {
                w.text(2, chain);
            }
        });
    }
}

impl Expression {
    /// The name of the kernel's expression.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Payload { .. } => "payload",
            Self::Meta { .. } | Self::SetMeta { .. } => "meta",
            Self::Ct { .. } => "ct",
            Self::Bitwise { .. } => "bitwise",
            Self::Compare { .. } => "cmp",
            Self::Lookup { .. } => "lookup",
            Self::Verdict(_) => "immediate",
            Self::Random { .. } => "numgen",
            Self::Nat { .. } => "nat",
            Self::Masquerade => "masq",
            Self::Reject { .. } => "reject",
            Self::FibType { .. } => "fib",
            Self::Counter(_) => "counter",
            Self::Other(name) => name,
        }
    }

    /// An expression's name and data; the caller opens the container around both.
    pub(crate) fn encode(&self, writer: &mut Writer) {
        writer.text(1, self.name());
        writer.nest(2, |w| self.encode_data(w));
    }

    fn encode_data(&self, w: &mut Writer) {
        let data = |w: &mut Writer, kind: u16, bytes: &[u8]| w.nest(kind, |w| w.raw(1, bytes));
        match self {
            Self::Payload {
                base,
                offset,
                length,
                to,
            } => {
                w.u32(1, to.number());
                w.u32(2, base.number());
                w.u32(3, *offset);
                w.u32(4, *length);
            }
            Self::Meta { key, to } => {
                w.u32(2, key.number());
                w.u32(1, to.number());
            }
            Self::SetMeta { key, from } => {
                w.u32(2, key.number());
                w.u32(3, from.number());
            }
            Self::Ct { key, to } => {
                w.u32(2, key.number());
                w.u32(1, to.number());
            }
            Self::Bitwise {
                from,
                to,
                mask,
                xor,
            } => {
                w.u32(1, from.number());
                w.u32(2, to.number());
                w.u32(3, u32::try_from(mask.len()).unwrap_or(u32::MAX));
                data(w, 4, mask);
                data(w, 5, xor);
            }
            Self::Compare { from, equal, value } => {
                w.u32(1, from.number());
                w.u32(2, u32::from(!equal));
                data(w, 3, value);
            }
            Self::Lookup { set, key, result } => {
                w.text(1, set);
                w.u32(2, key.number());
                match result {
                    LookupResult::Test => {}
                    LookupResult::TestAbsent => w.u32(5, LOOKUP_INVERTED),
                    LookupResult::Verdict => w.u32(3, VERDICT_REGISTER),
                    LookupResult::Load(to) => w.u32(3, to.number()),
                }
            }
            Self::Verdict(verdict) => {
                w.u32(1, VERDICT_REGISTER);
                w.nest(2, |w| verdict.encode(w));
            }
            Self::Random { modulus, to } => {
                w.u32(1, to.number());
                w.u32(2, *modulus);
                w.u32(3, NUMGEN_RANDOM);
                w.u32(4, 0);
            }
            Self::Nat {
                kind,
                family,
                address,
                port,
            } => {
                w.u32(1, kind.number());
                w.u32(2, family.number().into());
                w.u32(3, address.number());
                w.u32(5, port.number());
                w.u32(7, NAT_FLAGS);
            }
            Self::Masquerade => w.u32(1, MASQUERADE_FLAGS),
            Self::Reject { code } => {
                w.u32(1, 0);
                w.raw(2, &[*code]);
            }
            Self::FibType { address, to } => {
                w.u32(1, to.number());
                w.u32(2, FIB_ADDRESS_TYPE);
                w.u32(3, address.flag());
            }
            Self::Counter(counter) => {
                w.u64(1, counter.bytes);
                w.u64(2, counter.packets);
            }
            Self::Other(_) => {}
        }
    }
}
