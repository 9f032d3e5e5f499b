//! For how long Nodes' conditions have said what they say, by this observer's monotonic clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use herald_speaker_core::{NodeView, Soundness};

/// What a Node's conditions say counts once they have said it for this long. Longer than the time in which the kubelets of a
/// cluster notice one common cause (their status is due every 10 s).
pub(super) const SETTLE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(super) struct History {
    nodes: BTreeMap<Arc<str>, Since>,
}

#[derive(Debug)]
struct Since {
    sound: bool,
    /// `None` when they have not changed since the node was first seen, sound.
    at: Option<Instant>,
}

impl History {
    /// The soundness of every node at `now`. A node first seen is believed at once when it is sound: what it owned before is
    /// known from its Speaker. When it is not, it may just have turned.
    pub(super) fn update<'a>(
        &mut self,
        nodes: impl Iterator<Item = &'a NodeView>,
        now: Instant,
    ) -> BTreeMap<Arc<str>, Soundness> {
        let mut before = std::mem::take(&mut self.nodes);
        let mut all = BTreeMap::new();
        for node in nodes {
            let sound = node.complaint().is_none();
            let since = match before.remove(&node.name) {
                Some(since) if since.sound == sound => since,
                Some(_) => Since {
                    sound,
                    at: Some(now),
                },
                None => Since {
                    sound,
                    at: (!sound).then_some(now),
                },
            };
            let settled = since.at.is_none_or(|at| now.duration_since(at) >= SETTLE);
            let soundness = match (settled, sound) {
                (false, _) => Soundness::Unsettled,
                (true, true) => Soundness::Sound,
                (true, false) => Soundness::Unsound,
            };
            self.nodes.insert(node.name.clone(), since);
            all.insert(node.name.clone(), soundness);
        }
        all
    }
}
