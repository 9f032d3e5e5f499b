//! What this speaker tells about itself: the content of its Speaker object, without API types.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use herald_speaker_core::{Interface, Mac};

/// One version of the Speaker's status.
#[derive(Clone, Debug)]
pub struct Report {
    /// Counts up with every change; comes back in [`Observation::Written`](super::Observation::Written).
    pub version: u64,
    /// Counts up when the speaker is to be renewed at once.
    pub renewal: u64,
    /// `metadata.uid` of our Node, the owner of the object.
    pub node_uid: String,
    /// What is published at once when it changes.
    pub facts: Facts,
    /// What goes along with the next write.
    pub figures: Figures,
}

/// The part of a report whose change is worth a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Links that can announce, with their hardware address.
    pub interfaces: Vec<(Interface, Mac)>,
    /// Addresses that are answered for, and on which interfaces.
    pub owned: BTreeMap<IpAddr, Vec<Arc<str>>>,
    /// Addresses that another host answers for.
    pub conflicts: BTreeMap<IpAddr, Mac>,
    /// Condition Ready.
    pub ready: State,
    /// Condition DataPathSynced.
    pub data_path: State,
    /// Condition KernelSettings.
    pub kernel: State,
    /// Condition AdminServer.
    pub admin: State,
    /// Why the data path failed last, if it did.
    pub data_path_error: Option<String>,
}

/// A condition, without its time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Its status.
    pub holds: bool,
    /// Its reason, from `herald_api::conditions`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// The part of a report that changes with every Service of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Services in the data path's rules.
    pub services: usize,
    /// When the data path last wrote.
    pub last_sync: Option<Instant>,
}

impl State {
    pub(super) fn yes(reason: &'static str) -> Self {
        Self {
            holds: true,
            reason,
            message: String::new(),
        }
    }

    pub(super) fn no(reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            holds: false,
            reason,
            message: message.into(),
        }
    }
}
