//! Which Services use which external address, and which addresses the data path never takes for any.
//!
//! Kept beside the stores of a [`Snapshot`], so that one look decides about an address, however many Services there are, and a
//! change names the Services it is about. [`Addresses::of`] builds the same from the stores alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{Reservation, ReservedAddresses, ServiceKey};
use ipnet::IpNet;

use crate::{LinkView, Mac, Role, ServiceView, Snapshot};

/// The Service in front of the API servers, whose endpoints they are.
pub fn api_service() -> ServiceKey {
    ServiceKey::new("default", "kubernetes")
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    reserved: ReservedAddresses,
    /// Services that have the address in `status.loadBalancer` or `spec.externalIPs`.
    users: HashMap<IpAddr, BTreeSet<ServiceKey>>,
    /// Services that have it in `status.loadBalancer`.
    balanced: HashMap<IpAddr, BTreeSet<ServiceKey>>,
    conflicts: BTreeMap<IpAddr, Mac>,
}

/// Why the data path does not take an address for a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// It is somebody's.
    Reserved(&'a Reservation),
    /// It is an external IP, and a load-balancer address of a Service of another namespace.
    LoadBalancerOf(&'a ServiceKey),
    /// A host that is none of the nodes answers for it.
    Conflict(Mac),
}

impl Addresses {
    /// What follows from the stores of `snapshot`, and from the API servers' addresses that were given by flag.
    pub fn of(snapshot: &Snapshot, api_servers: &[IpAddr]) -> Self {
        let mut addresses = Self::default();
        for view in snapshot.services.values() {
            addresses.replace_service(None, Some(view));
        }
        for node in snapshot.nodes.values() {
            addresses.set_node(&node.name, &node.known_addresses);
        }
        for speaker in snapshot.speakers.values() {
            if speaker.node != snapshot.node {
                let nets = speaker.interfaces.iter().flat_map(|i| &i.addresses);
                addresses.set_subnets(&speaker.node, nets.copied().collect());
            }
        }
        addresses.set_links(&snapshot.node, snapshot.links.values());
        addresses.set_api_servers(snapshot, api_servers);
        addresses
    }

    /// Why the data path does not take `address` for Service `key` in this role.
    pub fn refusal(&self, key: &ServiceKey, role: Role, address: IpAddr) -> Option<Refusal<'_>> {
        if !matches!(role, Role::LoadBalancer | Role::ExternalIp) {
            return None;
        }
        if let Some(what) = self.reserved.of(address) {
            return Some(Refusal::Reserved(what));
        }
        let others = || {
            let holders = self.balanced.get(&address)?;
            let other = holders
                .iter()
                .find(|holder| holder.namespace != key.namespace)?;
            // An external IP beside the Service's own load-balancer address is that address.
            (!holders.contains(key)).then_some(Refusal::LoadBalancerOf(other))
        };
        let strangers = (role == Role::ExternalIp).then(others).flatten();
        strangers.or_else(|| self.conflict(address).map(Refusal::Conflict))
    }

    /// What `address` is when no Service may have it.
    pub fn reservation(&self, address: IpAddr) -> Option<&Reservation> {
        self.reserved.of(address)
    }

    /// The host that answers for `address` although it is none of the nodes.
    pub fn conflict(&self, address: IpAddr) -> Option<Mac> {
        self.conflicts.get(&address).copied()
    }

    /// All of them.
    pub fn conflicts(&self) -> &BTreeMap<IpAddr, Mac> {
        &self.conflicts
    }

    // Each change returns the Services whose forwarding may have to change with it.

    /// A Service as it was and as it is. The Service itself is not among those returned, unless others' rules say so.
    pub fn replace_service(
        &mut self,
        before: Option<&ServiceView>,
        after: Option<&ServiceView>,
    ) -> BTreeSet<ServiceKey> {
        let Some(key) = before.or(after).map(|view| view.key.clone()) else {
            return BTreeSet::new();
        };
        let cluster_ips = after.map_or(&[][..], |view| &view.cluster_ips);
        let what = Reservation::ClusterIp(key.clone());
        let mut changed = self.reserved.set(&what, cluster_ips.iter().copied());
        let balanced = |view: Option<&ServiceView>| -> BTreeSet<IpAddr> {
            let addresses = view.map_or(&[][..], |view| &view.load_balancer_ips);
            addresses.iter().copied().collect()
        };
        let used = |view: Option<&ServiceView>| -> BTreeSet<IpAddr> {
            let external = view.map_or(&[][..], |view| &view.external_ips);
            external.iter().copied().chain(balanced(view)).collect()
        };
        changed.extend(exchange(
            &mut self.balanced,
            &key,
            &balanced(before),
            &balanced(after),
        ));
        exchange(&mut self.users, &key, &used(before), &used(after));
        self.users_of(&changed)
    }

    /// The addresses that a Node object names; none when it is gone.
    pub fn set_node(&mut self, node: &Arc<str>, named: &[IpAddr]) -> BTreeSet<ServiceKey> {
        let changed = self
            .reserved
            .change_node(node, |known| known.named = named.to_vec());
        self.users_of(&changed)
    }

    /// The addresses of a node's interfaces.
    pub fn set_subnets(&mut self, node: &Arc<str>, nets: Vec<IpNet>) -> BTreeSet<ServiceKey> {
        let changed = self
            .reserved
            .change_node(node, |known| known.interfaces = nets);
        self.users_of(&changed)
    }

    /// The links of this speaker's own node.
    pub fn set_links<'a>(
        &mut self,
        node: &Arc<str>,
        links: impl Iterator<Item = &'a LinkView>,
    ) -> BTreeSet<ServiceKey> {
        let (mut nets, mut gateways) = (Vec::new(), Vec::new());
        for link in links {
            nets.extend(link.addresses.iter().copied());
            gateways.extend(link.gateways.iter().copied());
        }
        let changed = self.reserved.change_node(node, |known| {
            known.interfaces = nets;
            known.gateways = gateways;
        });
        self.users_of(&changed)
    }

    /// The API servers: those in front of which `snapshot` has a Service, and those `given` by flag.
    pub fn set_api_servers(
        &mut self,
        snapshot: &Snapshot,
        given: &[IpAddr],
    ) -> BTreeSet<ServiceKey> {
        let slices = snapshot.slices_of(&api_service());
        let endpoints = slices
            .flat_map(|slice| &slice.endpoints)
            .map(|endpoint| endpoint.address);
        let all = endpoints.chain(given.iter().copied());
        let changed = self.reserved.set(&Reservation::ApiServer, all);
        self.users_of(&changed)
    }

    /// The addresses for which hosts answer that are no nodes.
    pub fn set_conflicts(&mut self, conflicts: BTreeMap<IpAddr, Mac>) -> BTreeSet<ServiceKey> {
        let keys = |map: &BTreeMap<IpAddr, Mac>| map.keys().copied().collect::<BTreeSet<_>>();
        let changed = &keys(&self.conflicts) ^ &keys(&conflicts);
        self.conflicts = conflicts;
        self.users_of(&changed)
    }

    fn users_of(&self, addresses: &BTreeSet<IpAddr>) -> BTreeSet<ServiceKey> {
        let users = addresses.iter().filter_map(|a| self.users.get(a));
        users.flatten().cloned().collect()
    }
}

/// Moves `key` from the addresses it had to those it has; returns the difference.
fn exchange(
    users: &mut HashMap<IpAddr, BTreeSet<ServiceKey>>,
    key: &ServiceKey,
    before: &BTreeSet<IpAddr>,
    after: &BTreeSet<IpAddr>,
) -> BTreeSet<IpAddr> {
    for address in before - after {
        if let Some(keys) = users.get_mut(&address) {
            keys.remove(key);
            if keys.is_empty() {
                users.remove(&address);
            }
        }
    }
    for address in after - before {
        users.entry(address).or_default().insert(key.clone());
    }
    before ^ after
}

#[cfg(test)]
mod tests;
