//! What changes do, entered without asking again.

use super::{Own, Shared};
use crate::call::{Answer, Change};
use crate::model::{Health, Listener, Ref, SecurityGroup, Source, Wire};

impl Own {
    pub(super) fn listener(&mut self, lb: &Ref, port: u16) -> Option<&mut Listener> {
        self.load_balancers
            .get_mut(&lb.name)?
            .listeners
            .as_mut()?
            .get_mut(&port)
    }

    fn rules(&mut self, shared: &mut Shared, group: &Ref, change: impl FnOnce(&mut SecurityGroup)) {
        let id = group.id.as_deref().unwrap_or_default();
        let own = self.security_groups.get_mut(&group.name);
        let found = own
            .or_else(|| shared.backend.as_mut().filter(|backend| backend.id == id))
            .or_else(|| shared.others.get_mut(id));
        if let Some(found) = found {
            change(found);
        }
    }

    /// Enters what a change did.
    pub(super) fn note(&mut self, shared: &mut Shared, change: &Change, answer: Answer) {
        match change {
            Change::AuthorizeIngress { group, rules } => {
                self.rules(shared, group, |found| {
                    found.ingress.extend(rules.iter().cloned());
                });
            }
            Change::RevokeIngress { group, rules } => {
                self.rules(shared, group, |found| {
                    found.ingress.retain(|rule| !rules.contains(rule));
                });
            }
            Change::DeleteSecurityGroup { group } => {
                if shared.backend.as_ref().map(|b| &b.id) == group.id.as_ref() {
                    shared.backend = None;
                    for other in shared.others.values_mut() {
                        other
                            .ingress
                            .retain(|rule| rule.source != Source::Group(group.clone()));
                    }
                }
                self.security_groups.remove(&group.name);
            }
            Change::ModifyTargetGroup {
                group,
                health_check,
            } => {
                if let Some(found) = self.target_groups.get_mut(&group.name) {
                    found.spec.health_check = health_check.clone();
                }
            }
            Change::SetGroupAttributes { group, attributes } => {
                if let Some(found) = self.target_groups.get_mut(&group.name) {
                    found
                        .attributes
                        .get_or_insert_default()
                        .extend(attributes.clone());
                }
            }
            Change::DeleteTargetGroup { group } => drop(self.target_groups.remove(&group.name)),
            Change::RegisterTargets { group, targets } => {
                self.looks = 0;
                let found = self.target_groups.get_mut(&group.name);
                if let Some(have) = found.and_then(|found| found.targets.as_mut()) {
                    have.extend(
                        targets
                            .iter()
                            .map(|target| (target.clone(), Health::Initial)),
                    );
                }
            }
            Change::DeregisterTargets { group, targets } => {
                let found = self.target_groups.get_mut(&group.name);
                if let Some(have) = found.and_then(|found| found.targets.as_mut()) {
                    have.extend(
                        targets
                            .iter()
                            .map(|target| (target.clone(), Health::Draining)),
                    );
                }
            }
            Change::DeleteLoadBalancer { load_balancer } => {
                self.load_balancers.remove(&load_balancer.name);
            }
            Change::AddTags { resource, tags } => {
                self.tags(resource, |have| have.extend(tags.clone()));
            }
            Change::RemoveTags { resource, keys } => {
                self.tags(resource, |have| have.retain(|key, _| !keys.contains(key)));
            }
            other => self.note_load_balancer(other, answer),
        }
    }

    fn note_load_balancer(&mut self, change: &Change, answer: Answer) {
        match (change, answer) {
            (
                Change::SetSubnets {
                    load_balancer,
                    mappings,
                    address_type,
                },
                _,
            ) => {
                if let Some(lb) = self.load_balancers.get_mut(&load_balancer.name) {
                    lb.mappings.clone_from(mappings);
                    lb.address_type = *address_type;
                }
            }
            (
                Change::SetSecurityGroups {
                    load_balancer,
                    security_groups,
                },
                _,
            ) => {
                if let Some(lb) = self.load_balancers.get_mut(&load_balancer.name) {
                    lb.security_groups = security_groups
                        .iter()
                        .filter_map(|g| g.id.clone())
                        .collect();
                }
            }
            (
                Change::SetAddressType {
                    load_balancer,
                    address_type,
                },
                _,
            ) => {
                if let Some(lb) = self.load_balancers.get_mut(&load_balancer.name) {
                    lb.address_type = *address_type;
                }
            }
            (
                Change::SetAttributes {
                    load_balancer,
                    attributes,
                },
                _,
            ) => {
                if let Some(lb) = self.load_balancers.get_mut(&load_balancer.name) {
                    lb.attributes
                        .get_or_insert_default()
                        .extend(attributes.clone());
                }
            }
            (
                Change::CreateListener {
                    load_balancer,
                    spec,
                    ..
                },
                Answer::Listener(listener),
            ) => {
                if let Some(lb) = self.load_balancers.get_mut(&load_balancer.name) {
                    lb.listeners
                        .get_or_insert_default()
                        .insert(spec.port, listener);
                }
            }
            (
                Change::ModifyListener {
                    load_balancer,
                    spec,
                    ..
                },
                _,
            ) => {
                if let Some(found) = self.listener(load_balancer, spec.port) {
                    found.spec.clone_from(spec);
                    if spec.protocol != Wire::Tls {
                        found.certificates.clear();
                    }
                }
            }
            (
                Change::DeleteListener {
                    load_balancer,
                    port,
                    ..
                },
                _,
            ) => {
                let lb = self.load_balancers.get_mut(&load_balancer.name);
                if let Some(listeners) = lb.and_then(|lb| lb.listeners.as_mut()) {
                    listeners.remove(port);
                }
            }
            (
                Change::SetListenerAttributes {
                    load_balancer,
                    port,
                    attributes,
                    ..
                },
                _,
            ) => {
                if let Some(found) = self.listener(load_balancer, *port) {
                    found
                        .attributes
                        .get_or_insert_default()
                        .extend(attributes.clone());
                }
            }
            (
                Change::AddCertificates {
                    load_balancer,
                    port,
                    certificates,
                    ..
                },
                _,
            ) => {
                if let Some(found) = self.listener(load_balancer, *port) {
                    found.certificates.extend(certificates.iter().cloned());
                }
            }
            (
                Change::RemoveCertificates {
                    load_balancer,
                    port,
                    certificates,
                    ..
                },
                _,
            ) => {
                if let Some(found) = self.listener(load_balancer, *port) {
                    found.certificates.retain(|c| !certificates.contains(c));
                }
            }
            (_, _) => {}
        }
    }

    fn tags(&mut self, resource: &Ref, change: impl FnOnce(&mut crate::model::Tags)) {
        let Some(arn) = &resource.id else { return };
        let lb = self.load_balancers.values_mut().find(|lb| lb.arn == *arn);
        if let Some(lb) = lb {
            return change(&mut lb.tags);
        }
        let group = self
            .target_groups
            .values_mut()
            .find(|group| group.arn == *arn);
        if let Some(group) = group {
            return change(&mut group.spec.tags);
        }
        let listeners = self
            .load_balancers
            .values_mut()
            .filter_map(|lb| lb.listeners.as_mut());
        let listener = listeners
            .flat_map(|all| all.values_mut())
            .find(|l| l.arn == *arn);
        if let Some(listener) = listener {
            return change(&mut listener.tags);
        }
        let group = self
            .security_groups
            .values_mut()
            .find(|group| group.id == *arn);
        if let Some(group) = group {
            change(&mut group.tags);
        }
    }
}
