//! What is still to be said to the data path, merged by Service.

use std::collections::BTreeMap;

use herald_core::ServiceKey;
use herald_speaker_core::{NodeForwarding, ServiceForwarding};

use crate::data_path::{DataPathHandle, Stopped};
use crate::engine::Step;

/// Later words replace earlier ones about the same Service; a whole state replaces everything.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    replace: Option<NodeForwarding>,
    node: Option<NodeForwarding>,
    services: BTreeMap<ServiceKey, ServiceForwarding>,
}

/// One message, taken out of the box.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Replace(NodeForwarding, Vec<ServiceForwarding>),
    Node(NodeForwarding),
    Change(Vec<ServiceForwarding>),
}

impl Outbox {
    /// Adds a step; steps for others are given back.
    pub(super) fn push(&mut self, step: Step) -> Option<Step> {
        match step {
            Step::Announce { .. } => return Some(step),
            Step::Node(node) => self.node = Some(node),
            Step::Change(services) => {
                self.services
                    .extend(services.into_iter().map(|s| (s.key.clone(), s)));
            }
            Step::Replace(node, services) => {
                self.node = None;
                self.replace = Some(node);
                self.services = services.into_iter().map(|s| (s.key.clone(), s)).collect();
            }
        }
        None
    }

    /// The next message.
    pub(super) fn pop(&mut self) -> Option<Message> {
        if let Some(node) = self.replace.take() {
            // Changes that came after it are in it; removals among them are no part of a whole state.
            let mut services: Vec<_> = std::mem::take(&mut self.services).into_values().collect();
            services.retain(|service| !service.frontends.is_empty());
            let node = self.node.take().unwrap_or(node);
            return Some(Message::Replace(node, services));
        }
        if let Some(node) = self.node.take() {
            return Some(Message::Node(node));
        }
        if self.services.is_empty() {
            return None;
        }
        Some(Message::Change(
            std::mem::take(&mut self.services).into_values().collect(),
        ))
    }
}

impl Message {
    pub(super) async fn send(self, to: DataPathHandle) -> Result<(), Stopped> {
        match self {
            Self::Replace(node, services) => to.replace(node, services).await,
            Self::Node(node) => to.node(node).await,
            Self::Change(services) => to.change(services).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use herald_core::Protocol;
    use herald_speaker_core::{Frontend, FrontendForwarding, Role, TrafficPolicy};

    use super::*;

    fn service(name: &str, port: u16) -> ServiceForwarding {
        let mut forwarding = ServiceForwarding::empty(ServiceKey::new("default", name));
        forwarding.frontends.push(FrontendForwarding {
            frontend: Frontend::Address {
                address: "192.0.2.1".parse().unwrap(),
                protocol: Protocol::Tcp,
                port,
            },
            role: Role::LoadBalancer,
            policy: TrafficPolicy::Cluster,
            cluster: [].into(),
            local: [].into(),
            draining: [].into(),
            sources: None,
            ours: false,
        });
        forwarding
    }

    #[test]
    fn the_latest_word_about_a_service_counts() {
        let mut outbox = Outbox::default();
        outbox.push(Step::Change(vec![service("a", 80), service("b", 80)]));
        outbox.push(Step::Change(vec![service("a", 81)]));
        let expected = Message::Change(vec![service("a", 81), service("b", 80)]);
        assert_eq!(outbox.pop(), Some(expected));
        assert_eq!(outbox.pop(), None);
    }

    #[test]
    fn a_whole_state_takes_in_what_comes_after_it() {
        let mut outbox = Outbox::default();
        let node = NodeForwarding::default();
        outbox.push(Step::Change(vec![service("old", 80)]));
        outbox.push(Step::Replace(
            node.clone(),
            vec![service("a", 80), service("b", 80)],
        ));
        let gone = ServiceForwarding::empty(ServiceKey::new("default", "a"));
        outbox.push(Step::Change(vec![gone]));
        assert_eq!(
            outbox.pop(),
            Some(Message::Replace(node, vec![service("b", 80)]))
        );
        assert_eq!(outbox.pop(), None);
    }
}
