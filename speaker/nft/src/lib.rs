//! nf_tables over netlink: typed objects, the bytes of one transaction, the decoder for dumps, and (feature `socket`) the
//! socket that carries them. The same socket reads and deletes connection tracking entries, which outlive the rules that
//! made them.
//!
//! Only what Herald writes is modelled. What the kernel may say beyond that decodes to `Other` values, so that a reader can
//! tell "not ours" from "broken". Integers in attributes are big-endian; attribute headers, marks and generated numbers are
//! in the machine's own order.
//!
//! ```
//! use herald_nft::{Batch, Family, Operation, Table, TableName};
//!
//! let table = TableName::new(Family::Ipv4, "herald");
//! let mut batch = Batch::new();
//! batch.push("the table", &Operation::AddTable(Table { name: table, flags: 0 }));
//! let bytes = batch.finish()?;
//! assert_eq!(bytes.tag(1), Some(&"the table"));
//! # Ok::<(), herald_nft::TooLong>(())
//! ```

#![deny(unsafe_code)]
#![warn(missing_docs)]

mod attribute;
mod batch;
mod conntrack;
mod datatype;
mod dump;
mod event;
mod expression;
mod message;
mod object;
mod operation;
#[cfg(feature = "socket")]
mod socket;
#[cfg(test)]
mod tests;

pub use batch::{Batch, Encoded, TooLong};
pub use conntrack::{Flow, decode_flows, flows_request};
pub use datatype::{Field, KeyType};
pub use dump::{Decoded, Fault, Listing, Malformed, decode};
pub use event::Changes;
pub use expression::{
    CtKey, Expression, FibAddress, LookupResult, MetaKey, NatKind, PayloadBase, Register,
};
pub use message::{MessageKind, Request};
pub use object::{
    BaseChain, Chain, ChainKind, ChainName, Counter, Data, Element, Elements, Family, Hook, Rule,
    Set, SetName, Table, TableName, Value, Verdict, table_flag,
};
pub use operation::Operation;
#[cfg(feature = "socket")]
pub use socket::{CommitError, ReadError, Refusal, Socket, Watch};
