//! What the engine's state means for the Speaker object.

use std::sync::Arc;
use std::time::Instant;

use herald_api::conditions::speaker as reason;
use herald_api::speaker::{INTERFACES_MAX, OWNED_MAX};
use herald_speaker_core::{Mac, NodeView, ServiceProxy};

use super::{Engine, Facts, Figures, Report, SEEN_AGAIN_AFTER, State};

impl Engine {
    /// The next version of the Speaker's status, if it differs from the last.
    ///
    /// Nothing is reported before the Speakers were listed: what the last run owned would be forgotten. `refresh` asks
    /// for the same facts again, with newer figures.
    pub fn report(&mut self, refresh: bool) -> Option<Report> {
        if !(self.wants_report() || refresh && self.can_report()) {
            return None;
        }
        self.dirty.report = false;
        let facts = self.facts();
        let renew = std::mem::replace(&mut self.renewal_told, self.renewal) != self.renewal;
        if self.published.as_ref() != Some(&facts) {
            self.version += 1;
        } else if !refresh && !renew {
            return None;
        }
        self.published = Some(facts.clone());
        Some(Report {
            version: self.version,
            renewal: self.renewal,
            node_uid: self.own_uid.clone(),
            facts,
            figures: Figures {
                services: self
                    .planned
                    .values()
                    .filter(|p| !p.synced.is_empty())
                    .count(),
                last_sync: self.last_sync,
            },
        })
    }

    /// Whether there is something new to report.
    pub fn wants_report(&self) -> bool {
        self.dirty.report && self.can_report()
    }

    /// Has our own Speaker written again when the API server shows another than was written: somebody changed or deleted it.
    pub(super) fn check_published(&mut self, now: Instant) {
        let settled = self.written == self.version
            && self
                .written_at
                .is_some_and(|at| now.duration_since(at) > SEEN_AGAIN_AFTER);
        let Some(facts) = self.published.as_ref().filter(|_| settled) else {
            return;
        };
        let owned = facts.owned.keys().take(OWNED_MAX);
        let interfaces = facts.interfaces.iter().map(|(interface, _)| interface);
        let same = self.peers.own().is_some_and(|seen| {
            owned.eq(&seen.owned) && interfaces.take(INTERFACES_MAX).eq(&seen.interfaces)
        });
        if !same {
            tracing::warn!("our Speaker object is not as it was written: writing it again");
            self.differences += 1;
            self.published = None;
            self.dirty.report = true;
        }
    }

    fn can_report(&self) -> bool {
        self.speakers.synced() && !self.own_uid.is_empty()
    }

    /// When the data path last wrote.
    pub fn last_sync(&self) -> Option<Instant> {
        self.last_sync
    }

    /// How often others were found to have changed the rules.
    pub fn damages(&self) -> u64 {
        self.damages
    }

    fn facts(&self) -> Facts {
        let links = &self.snapshot.links;
        let own = self.snapshot.speakers.get(&self.snapshot.node);
        let interfaces = own.map(|view| view.interfaces.clone()).unwrap_or_default();
        let mac = |name: &Arc<str>| {
            let link = links.values().find(|link| link.name == *name);
            link.map_or(Mac([0; 6]), |link| link.mac)
        };
        let name = |index: &u32| links.get(index).map(|link| link.name.clone());
        let owned = self.announcing.owned().into_iter();
        Facts {
            ready: self.ready_state(interfaces.is_empty()),
            interfaces: interfaces
                .into_iter()
                .map(|i| (mac(&i.name), i))
                .map(|(m, i)| (i, m))
                .collect(),
            owned: owned
                .map(|(address, on)| (address, on.iter().filter_map(name).collect()))
                .collect(),
            conflicts: self.conflicts.clone(),
            data_path: self.data_path_state(),
            kernel: self.kernel_state(),
            admin: match &self.admin {
                None => State::yes(reason::LISTENING),
                Some(why) => State::no(reason::NOT_LISTENING, why.clone()),
            },
            data_path_error: self.data_path_error(),
        }
    }

    fn ready_state(&self, no_interface: bool) -> State {
        if self.leave {
            State::no(
                reason::DRAINING,
                "the node is going; its addresses move to other nodes",
            )
        } else if let Some(error) = &self.unavailable {
            State::no(reason::DATA_PATH_NOT_SYNCED, error.clone())
        } else if let Some((_, what)) = self.damaged.as_ref().filter(|_| self.broken) {
            State::no(reason::DATA_PATH_NOT_SYNCED, what.clone())
        } else if !self.synced() {
            let missing = self.unlisted().join(", ");
            State::no(reason::STARTING, format!("not listed yet: {missing}"))
        } else if !self.ready {
            State::no(
                reason::STARTING,
                "the first rules are not in the kernel yet",
            )
        } else if no_interface {
            State::no(
                reason::NO_INTERFACE,
                "no interface has an address of its own",
            )
        } else if let Some(complaint) = self.snapshot.own_node().and_then(NodeView::complaint) {
            State {
                holds: true,
                reason: reason::NODE_NOT_READY,
                message: format!(
                    "{complaint}; it keeps its addresses until a node without such a condition can take them"
                ),
            }
        } else {
            State::yes(reason::RUNNING)
        }
    }

    fn data_path_state(&self) -> State {
        if self.config.mode == ServiceProxy::Off {
            State::yes(reason::OFF)
        } else if let Some(error) = self.data_path_error() {
            State::no(reason::REFUSED, error)
        } else if let Some((_, what)) = &self.damaged {
            State::no(reason::DAMAGED, what.clone())
        } else if self.data_ready {
            State::yes(reason::SYNCED)
        } else {
            State::no(reason::NOT_SYNCED, "no rules were written yet")
        }
    }

    fn data_path_error(&self) -> Option<String> {
        if let Some(error) = &self.unavailable {
            return Some(error.clone());
        }
        let (key, error) = self.failed.first_key_value()?;
        let more = match self.failed.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more Services)"),
        };
        Some(format!("Service {key}: {error}{more}"))
    }

    fn kernel_state(&self) -> State {
        match &self.kernel {
            Some(problems) if !problems.is_empty() => {
                State::no(reason::UNSUITABLE, problems.join("; "))
            }
            _ => State::yes(reason::SUITABLE),
        }
    }
}
