//! What the fields of keys and values are. The kernel sees bytes only; nft's listing needs the types, and aborts on
//! concatenations whose types are missing.

/// A field of a key or value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `nf_proto`, one byte: 2 for IPv4, 10 for IPv6.
    Family,
    /// `ipv4_addr`, network order.
    Ipv4Address,
    /// `ipv6_addr`, network order.
    Ipv6Address,
    /// `inet_proto`, one byte.
    Protocol,
    /// `inet_service`: a port, network order.
    Port,
    /// `mark`: a number in the machine's order. Generated numbers are listed as marks too.
    Mark,
}

impl Field {
    /// nft's number for the type (`enum datatypes`).
    fn number(self) -> u32 {
        match self {
            Self::Family => 2,
            Self::Ipv4Address => 7,
            Self::Ipv6Address => 8,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Mark => 19,
        }
    }

    fn from_number(number: u32) -> Option<Self> {
        [
            Self::Family,
            Self::Ipv4Address,
            Self::Ipv6Address,
            Self::Protocol,
            Self::Port,
            Self::Mark,
        ]
        .into_iter()
        .find(|f| f.number() == number)
    }

    /// Its true length in bytes.
    pub fn length(self) -> u32 {
        match self {
            Self::Family | Self::Protocol => 1,
            Self::Port => 2,
            Self::Ipv4Address | Self::Mark => 4,
            Self::Ipv6Address => 16,
        }
    }

    /// Its length in registers' bytes: a multiple of four.
    pub fn padded_length(self) -> u32 {
        self.length().next_multiple_of(4)
    }
}

/// The fields of a key or value, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyType(pub Vec<Field>);

impl KeyType {
    /// nft's number for the concatenation: six bits for each field.
    pub(crate) fn number(&self) -> u32 {
        self.0.iter().fold(0, |n, f| n << 6 | f.number())
    }

    pub(crate) fn from_number(mut number: u32) -> Option<Self> {
        let mut fields = Vec::new();
        while number != 0 {
            fields.push(Field::from_number(number & 0x3f)?);
            number >>= 6;
        }
        fields.reverse();
        (!fields.is_empty()).then_some(Self(fields))
    }

    /// Bytes of the whole, padding included. A single field is not padded.
    pub fn length(&self) -> u32 {
        match self.0.as_slice() {
            [single] => single.length(),
            fields => fields.iter().map(|f| f.padded_length()).sum(),
        }
    }

    /// Whether there are several fields.
    pub fn is_concatenation(&self) -> bool {
        self.0.len() > 1
    }
}
