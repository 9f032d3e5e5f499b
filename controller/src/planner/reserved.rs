//! What tells which addresses are somebody's, into the index. A kind that cannot be seen holds nothing up (I6).

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{AddressRange, ServiceKey};

use super::Planner;
use super::observe::{gone, names};
use crate::watch::Change;

impl Planner {
    pub(super) fn observe_nodes(&mut self, change: Change<(Arc<str>, Vec<IpAddr>)>) {
        let index = &mut self.parts.index;
        match change {
            Change::All {
                views, unreadable, ..
            } => {
                let present = names(views.iter().map(|(name, _)| name), &unreadable);
                let known = index.nodes().cloned().collect();
                for name in gone(known, &present) {
                    index.forget_node(&name);
                }
                for (name, addresses) in views {
                    index.observe_node(&name, addresses);
                }
                self.synced(5);
            }
            Change::One((name, addresses)) => index.observe_node(&name, addresses),
            Change::Gone(key) => index.forget_node(&key.name),
            Change::Unavailable => self.synced(5),
        }
    }

    pub(super) fn observe_api_servers(&mut self, change: Change<(ServiceKey, Vec<IpAddr>)>) {
        let store = &mut self.api_servers;
        let mut listed = false;
        match change {
            Change::All {
                views, unreadable, ..
            } => {
                let unreadable: HashSet<ServiceKey> = unreadable.into_iter().collect();
                store.retain(|key, _| unreadable.contains(key));
                store.extend(views);
                listed = true;
            }
            Change::One((key, addresses)) => drop(store.insert(key, addresses)),
            Change::Gone(key) => drop(store.remove(&key)),
            Change::Unavailable => listed = true,
        }
        let all = store.values().flatten().chain(&self.parts.api_servers);
        let all = all.copied().collect();
        self.parts.index.observe_api_servers(all);
        if listed {
            self.synced(6);
        }
    }

    pub(super) fn observe_service_cidrs(&mut self, change: Change<(Arc<str>, Vec<AddressRange>)>) {
        let (index, known) = (&mut self.parts.index, &mut self.service_cidrs);
        match change {
            Change::All {
                views, unreadable, ..
            } => {
                let present = names(views.iter().map(|(name, _)| name), &unreadable);
                for name in gone(known.iter().cloned().collect(), &present) {
                    index.observe_service_cidr(name, Vec::new());
                }
                *known = present.into_iter().collect();
                for (name, ranges) in views {
                    index.observe_service_cidr(name, ranges);
                }
                self.synced(7);
            }
            Change::One((name, ranges)) => {
                known.insert(name.clone());
                index.observe_service_cidr(name, ranges);
            }
            Change::Gone(key) => {
                known.remove(&key.name);
                index.observe_service_cidr(key.name, Vec::new());
            }
            Change::Unavailable => self.synced(7),
        }
    }
}
