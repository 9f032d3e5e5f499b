//! What a Node's conditions say about its fitness to own addresses, and the choice that follows.
//!
//! Conditions are *soft*: a node whose kubelet says that it is not Ready may forward as well as ever (KEP-3458 took
//! readiness out of the choice of load balancers' targets for that reason), and when one cause turns all nodes not Ready, no
//! address may be withdrawn for it. So an address leaves an unsound node only for a sound one, and while nodes are
//! unsettled it stays where it is: a cause that reaches one node after the other would chase it through the cluster.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::{NodeView, Snapshot, elect};

/// What a Node's conditions have said lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Soundness {
    /// For some time: nothing against it.
    Sound,
    /// They changed a moment ago.
    Unsettled,
    /// For some time: it should not own addresses if another can.
    Unsound,
}

impl NodeView {
    /// What the node's conditions have against it now.
    pub fn complaint(&self) -> Option<&'static str> {
        if !self.ready {
            Some("node is not Ready")
        } else if self.network_unavailable {
            Some("the node's network is unavailable")
        } else {
            None
        }
    }
}

impl Snapshot {
    /// Of a node of which no history is known the present counts.
    fn soundness_of(&self, name: &str) -> Soundness {
        let known = self.soundness.get(name).copied();
        known.unwrap_or_else(|| {
            let node = self.nodes.get(name);
            match node.and_then(NodeView::complaint) {
                None => Soundness::Sound,
                Some(_) => Soundness::Unsound,
            }
        })
    }
}

/// The owner of `address` among the nodes that could own it.
pub(crate) fn choose<T>(
    address: IpAddr,
    able: &BTreeMap<Arc<str>, T>,
    snapshot: &Snapshot,
) -> Option<Arc<str>> {
    let soundness = |name: &Arc<str>| snapshot.soundness_of(name);
    let any_sound = able.keys().any(|name| soundness(name) == Soundness::Sound);
    let mut kept: Vec<&str> = Vec::with_capacity(able.len());
    for name in able.keys() {
        if !any_sound || soundness(name) != Soundness::Unsound {
            kept.push(name);
        }
    }
    let first: Arc<str> = elect(address, kept.iter().copied())?.into();
    if soundness(&first) == Soundness::Sound {
        return Some(first);
    }
    let holders = snapshot.holders.get(&address);
    let holding = holders
        .into_iter()
        .flatten()
        .map(|name| &**name)
        .filter(|name| kept.contains(name));
    Some(elect(address, holding).map_or(first, Arc::from))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Soundness::{Sound, Unsettled, Unsound};
    use super::*;

    const NODES: [&str; 3] = ["n1", "n2", "n3"];

    /// An address that n1 owns before all, and n2 without n1.
    fn address() -> IpAddr {
        let mut all = (1..=254u8).map(|n| IpAddr::from([192, 0, 2, n]));
        let first = |address: &IpAddr| {
            elect(*address, NODES) == Some("n1") && elect(*address, ["n2", "n3"]) == Some("n2")
        };
        all.find(first).unwrap()
    }

    fn owner(nodes: [Soundness; 3], holder: Option<&str>) -> String {
        let mut snapshot = Snapshot::default();
        for (name, soundness) in NODES.into_iter().zip(nodes) {
            snapshot.soundness.insert(name.into(), soundness);
        }
        if let Some(holder) = holder {
            let holders = BTreeSet::from([holder.into()]);
            snapshot.holders.insert(address(), holders);
        }
        let able = NODES.map(|name| (Arc::from(name), 0_u8)).into();
        choose(address(), &able, &snapshot).unwrap().to_string()
    }

    #[test]
    fn an_address_leaves_an_unsound_node_only_for_a_sound_one() {
        assert_eq!(owner([Sound, Sound, Sound], None), "n1");
        assert_eq!(owner([Unsound, Sound, Sound], Some("n1")), "n2");
        assert_eq!(owner([Unsound, Unsound, Sound], Some("n2")), "n3");
        for holder in NODES {
            let none = [Unsound, Unsound, Unsound];
            assert_eq!(owner(none, Some(holder)), holder, "the last resort");
        }
        assert_eq!(owner([Unsound, Unsound, Unsound], None), "n1");
    }

    #[test]
    fn an_address_stays_while_nodes_are_unsettled() {
        // All turn not Ready, one after the other, and back.
        let (mut histories, all) = (Vec::new(), [Sound, Unsettled, Unsound, Unsettled, Sound]);
        for lag in 0..2 {
            for step in 0..all.len() {
                let at = |behind: usize| all[step.saturating_sub(behind * lag)];
                histories.push([at(0), at(1), at(1)]);
                histories.push([at(1), at(0), at(1)]);
            }
        }
        for history in histories {
            let settled = history.contains(&Unsound) && history.contains(&Sound);
            assert!(settled || owner(history, Some("n1")) == "n1", "{history:?}");
        }
        assert_eq!(owner([Unsettled, Sound, Sound], Some("n1")), "n1");
        assert_eq!(owner([Unsettled, Sound, Sound], Some("n2")), "n2");
        assert_eq!(owner([Unsettled, Sound, Sound], None), "n1");
        assert_eq!(owner([Unsound, Unsettled, Sound], Some("n3")), "n3");
    }

    #[test]
    fn nobody_is_chosen_from_nobody_and_a_holder_that_cannot_is_none() {
        let mut snapshot = Snapshot::default();
        assert_eq!(
            choose(address(), &BTreeMap::<_, u8>::new(), &snapshot),
            None
        );
        let gone = BTreeSet::from([Arc::from("n9")]);
        snapshot.holders.insert(address(), gone);
        let able = BTreeMap::from([(Arc::from("n2"), 0_u8)]);
        assert_eq!(choose(address(), &able, &snapshot), Some("n2".into()));
    }
}
