//! What answers teach.

use std::collections::BTreeSet;

use herald_provider::LoadBalancerId;

use super::{Inventory, Own, Unsure};
use crate::call::{Answer, Call, Change, Query};
use crate::config::Config;
use crate::model::{Health, LoadBalancer, SecurityGroup};
use crate::{names, tags};

impl Inventory {
    /// Enters what a call showed.
    pub fn absorb(&mut self, config: &Config, id: &LoadBalancerId, call: &Call, answer: Answer) {
        match (call, answer) {
            (Call::Ask(query), answer) => self.learn(config, id, query, answer),
            (Call::Change(_), Answer::LoadBalancer(lb)) => self.enter_load_balancer(config, lb),
            (Call::Change(_), Answer::TargetGroup(group)) => self.enter_target_group(config, group),
            (
                Call::Change(Change::CreateSecurityGroup { name, tags, .. }),
                Answer::SecurityGroup(id),
            ) => {
                let (name, tags, ingress) = (name.clone(), tags.clone(), BTreeSet::new());
                self.enter_security_group(
                    config,
                    SecurityGroup {
                        id,
                        name,
                        tags,
                        ingress,
                    },
                );
            }
            (Call::Change(change), answer) => {
                let own = self.own.entry(id.clone()).or_default();
                own.note(&mut self.shared, change, answer);
            }
        }
        self.tidy(id);
    }

    /// An entry without anything in it, and nothing left to look for, is gone.
    fn tidy(&mut self, id: &LoadBalancerId) {
        let gone = |own: &Own| {
            let doubtful = matches!(own.doubt, Unsure::Things | Unsure::Everything);
            own.is_empty() && own.suspects.is_empty() && !doubtful
        };
        if self.own.get(id).is_some_and(gone) {
            self.own.remove(id);
        }
    }

    fn learn(&mut self, config: &Config, id: &LoadBalancerId, query: &Query, answer: Answer) {
        match (query, answer) {
            (
                Query::Names { .. },
                Answer::Names {
                    load_balancers,
                    target_groups,
                    security_groups,
                },
            ) => {
                let looks = self.own.remove(id).map_or(0, |own| own.looks);
                let backend = self.shared.backend.take();
                self.shared.backend = backend.filter(|b| b.name != names::backend_group(config));
                for found in load_balancers {
                    self.enter_load_balancer(config, found);
                }
                for found in target_groups {
                    self.enter_target_group(config, found);
                }
                for found in security_groups {
                    self.enter_security_group(config, found);
                }
                self.with(id, |own| own.looks = looks);
            }
            (
                Query::Network(_),
                Answer::Network {
                    security_groups,
                    subnets,
                    vpc,
                },
            ) => {
                self.shared.vpc = vpc;
                self.shared.subnets = subnets;
                self.shared.others.clear();
                let ours = |group: &SecurityGroup| tags::is_ours(config, &group.tags);
                for found in security_groups.into_iter().filter(|group| !ours(group)) {
                    self.enter_security_group(config, found);
                }
                self.with(id, |own| own.doubt = Unsure::Things);
            }
            (Query::States { .. }, Answer::States(found)) => {
                let own = self.own.entry(id.clone()).or_default();
                own.load_balancers
                    .retain(|_, lb| found.iter().any(|other| other.arn == lb.arn));
                for other in found {
                    if let Some(lb) = own.load_balancers.get_mut(&other.name) {
                        lb.state = other.state;
                        lb.dns_name = other.dns_name;
                    }
                }
                // Health is only awaited of a load balancer that serves.
                if own.load_balancers.values().any(LoadBalancer::active) {
                    own.look_at_targets();
                }
                own.doubt = Unsure::Sure;
            }
            (Query::Listeners(lb), Answer::Listeners(found)) => {
                self.with(id, |own| match found {
                    Some(found) => {
                        if let Some(lb) = own.load_balancers.get_mut(&lb.name) {
                            lb.listeners = Some(found);
                        }
                    }
                    None => drop(own.load_balancers.remove(&lb.name)),
                });
            }
            (Query::Attributes(lb), Answer::Attributes(found)) => {
                self.with(id, |own| match found {
                    Some(found) => {
                        if let Some(lb) = own.load_balancers.get_mut(&lb.name) {
                            lb.attributes = Some(found);
                        }
                    }
                    None => drop(own.load_balancers.remove(&lb.name)),
                });
            }
            (
                Query::ListenerAttributes {
                    load_balancer,
                    port,
                    ..
                },
                Answer::Attributes(found),
            ) => {
                self.with(id, |own| {
                    if let Some(listener) = own.listener(load_balancer, *port) {
                        listener.attributes = found;
                    }
                });
            }
            (Query::GroupAttributes(group), Answer::Attributes(found)) => {
                self.with(id, |own| match found {
                    Some(found) => {
                        if let Some(group) = own.target_groups.get_mut(&group.name) {
                            group.attributes = Some(found);
                        }
                    }
                    None => drop(own.target_groups.remove(&group.name)),
                });
            }
            (Query::Targets(group), Answer::Targets(found)) => {
                self.with(id, |own| match found {
                    Some(found) => {
                        if let Some(group) = own.target_groups.get_mut(&group.name) {
                            group.targets = Some(found);
                        }
                    }
                    None => drop(own.target_groups.remove(&group.name)),
                });
            }
            // An answer that does not fit its question teaches nothing.
            (_, _) => {}
        }
    }

    fn with(&mut self, id: &LoadBalancerId, change: impl FnOnce(&mut Own)) {
        if let Some(own) = self.own.get_mut(id) {
            change(own);
        }
    }
}

impl Own {
    /// Lets the targets of groups in which some are not healthy be read again.
    fn look_at_targets(&mut self) {
        let mut awaited = false;
        for group in self.target_groups.values_mut() {
            let mut health = group.targets.iter().flat_map(|all| all.values());
            if health.any(|health| *health != Health::Healthy) {
                group.targets = None;
                awaited = true;
            }
        }
        self.looks = if awaited {
            self.looks.saturating_add(1)
        } else {
            0
        };
    }
}
