//! Where a verdict leads, and the chains that pick a backend.

use std::sync::Arc;

use herald_nft::Verdict;

/// What a pick chain does besides picking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PickKind {
    /// Cluster IPs: masquerades unless the source keeps its address.
    Internal,
    /// External traffic under policy Cluster: always masquerades.
    External,
    /// The short-circuit of policy Local: the caller has decided on masquerading.
    Plain,
    /// External traffic under policy Local: short-circuits the node's own clients, then picks a local backend.
    Local,
}

impl PickKind {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Internal, "internal"),
        (Self::External, "external"),
        (Self::Plain, "plain"),
        (Self::Local, "local"),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::External => "external",
            Self::Plain => "plain",
            Self::Local => "local",
        }
    }
}

/// A chain that picks one of `count` backends; there is one per combination in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pick {
    /// Masquerading and short-circuits.
    pub kind: PickKind,
    /// The key is that of a node port, without an address.
    pub node_port: bool,
    /// How many backends.
    pub count: u32,
}

const NODE_PORT: &str = "node-port-";

impl Pick {
    /// The chain's name, such as `external-3` or `node-port-local-2`.
    pub fn chain(&self) -> String {
        let prefix = if self.node_port { NODE_PORT } else { "" };
        format!("{prefix}{}-{}", self.kind.name(), self.count)
    }

    pub(super) fn parse(name: &str) -> Option<Self> {
        let (node_port, rest) = match name.strip_prefix(NODE_PORT) {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        let (kind, count) = rest.rsplit_once('-')?;
        let pick = Self {
            kind: PickKind::ALL.iter().find(|(_, n)| *n == kind)?.0,
            node_port,
            count: count.parse().ok()?,
        };
        (pick.chain() == name).then_some(pick)
    }
}

/// Where an entry of a verdict map leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// To a backend.
    Pick(Pick),
    /// Through the check of the source ranges.
    Guard,
    /// Refused with port unreachable.
    Reject,
    /// Dropped.
    Drop,
}

/// The chain that checks source ranges.
pub(super) const GUARD: &str = "guard";
/// The chain that refuses.
pub(super) const REJECT: &str = "reject";

impl Target {
    pub(super) fn verdict(self) -> Verdict {
        match self {
            Self::Pick(pick) => Verdict::Goto(pick.chain().into()),
            Self::Guard => Verdict::Goto(Arc::from(GUARD)),
            Self::Reject => Verdict::Goto(Arc::from(REJECT)),
            Self::Drop => Verdict::Drop,
        }
    }

    pub(super) fn of(verdict: &Verdict) -> Option<Self> {
        match verdict {
            Verdict::Drop => Some(Self::Drop),
            Verdict::Goto(chain) => match &**chain {
                GUARD => Some(Self::Guard),
                REJECT => Some(Self::Reject),
                name => Pick::parse(name).map(Self::Pick),
            },
            _ => None,
        }
    }
}
