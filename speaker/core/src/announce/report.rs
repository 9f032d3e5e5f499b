use std::net::IpAddr;

use super::Responder;
use super::claim::Claim;
use crate::Mac;

/// An address on one interface: what is probed for, announced and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimKey {
    /// Interface index.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
}

/// Where a claim stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimState {
    /// Asking whether anyone else holds the address; silent.
    Probing,
    /// Nobody else does; answering.
    Announcing,
    /// Somebody else holds the address, or had the better claim; silent, and asking again. Usual for less than a second when
    /// an address moves between nodes.
    Conflict {
        /// The other's hardware address.
        mac: Mac,
    },
    /// The interface is gone, down or without carrier; silent.
    LinkDown,
    /// No target any more; silent.
    Withdrawn,
}

/// A claim that changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which claim.
    pub key: ClaimKey,
    /// Its state now; states between two reports may be left out.
    pub state: ClaimState,
    /// Nothing has changed since it was reported last.
    pub repeated: bool,
}

/// What was seen and sent for an address since it became a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests and solicitations for it from others.
    pub requests: u64,
    /// Answers given.
    pub replies: u64,
    /// Rounds of gratuitous ARP or unsolicited neighbour advertisements sent.
    pub announcements: u64,
    /// Probes sent.
    pub probes: u64,
    /// Times that another host was found to hold it.
    pub conflicts: u64,
}

/// What is told of the claims.
impl Responder {
    /// The next change of a claim, until `None`.
    pub fn poll_report(&mut self) -> Option<Report> {
        let changed = self.changed.pop_first();
        let repeated = changed.is_none();
        let key = changed.or_else(|| self.repeated.pop_first())?;
        self.repeated.remove(&key);
        let state = self
            .claims
            .get(&key)
            .map_or(ClaimState::Withdrawn, Claim::state);
        Some(Report {
            key,
            state,
            repeated,
        })
    }

    /// Has every claim reported once more, after what has changed: whoever missed a change learns it.
    pub fn report_all(&mut self) {
        self.repeated.extend(self.claims.keys().copied());
    }

    /// Whether [`Responder::poll_report`] has anything to say.
    pub fn has_reports(&self) -> bool {
        !(self.changed.is_empty() && self.repeated.is_empty())
    }
}
