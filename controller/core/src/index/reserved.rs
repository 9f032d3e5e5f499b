//! Addresses that are somebody's, as they are observed, and the Services and pools that this is about.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{AddressRange, NodeAddresses, Reservation, ReservedAddresses};

use super::Index;
use crate::announce::SpeakerView;
use crate::service::ServiceView;

impl Index {
    /// The addresses that a Node object names.
    pub fn observe_node(&mut self, name: &Arc<str>, addresses: Vec<IpAddr>) {
        self.reserve(|reserved| reserved.change_node(name, |node| node.named = addresses));
    }

    /// A Node that is gone. What its Speaker says stays as long as that.
    pub fn forget_node(&mut self, name: &Arc<str>) {
        self.observe_node(name, Vec::new());
    }

    /// The nodes of which an address is known, from their Node or Speaker objects.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.allocator.reserved_nodes()
    }

    /// The addresses of all API servers.
    pub fn observe_api_servers(&mut self, addresses: Vec<IpAddr>) {
        self.reserve(|reserved| reserved.set(&Reservation::ApiServer, addresses));
    }

    /// The ranges of a ServiceCIDR; none when it is gone.
    pub fn observe_service_cidr(&mut self, name: Arc<str>, ranges: Vec<AddressRange>) {
        let what = Reservation::ClusterIpRange(name);
        if self.allocator.reserve_ranges(&what, ranges) {
            self.collect_touched();
            self.mark_all();
        }
    }

    /// The interfaces of a speaker's node.
    pub(super) fn observe_interfaces(&mut self, view: &SpeakerView) {
        let subnets = view.interfaces.iter().flat_map(|(_, subnets)| subnets);
        let subnets = subnets.copied().collect();
        let change = |node: &mut NodeAddresses| node.interfaces = subnets;
        self.reserve(|reserved| reserved.change_node(&view.node, change));
    }

    /// A Service's cluster IPs, its external IPs and the addresses in its status, `before` and now; `None` when it is gone.
    pub(super) fn observe_addresses(
        &mut self,
        before: Option<&ServiceView>,
        now: Option<&ServiceView>,
    ) {
        let Some(key) = before.or(now).map(|view| view.key.clone()) else {
            return;
        };
        let of = |view: Option<&ServiceView>, pick: fn(&ServiceView) -> &Vec<IpAddr>| {
            let addresses = view.into_iter().flat_map(pick);
            addresses.copied().collect::<BTreeSet<IpAddr>>()
        };
        let (had, has) = (
            of(before, |view| &view.external_ips),
            of(now, |view| &view.external_ips),
        );
        for address in &had - &has {
            if let Some(users) = self.external.get_mut(&address) {
                users.remove(&key);
                if users.is_empty() {
                    self.external.remove(&address);
                }
            }
        }
        for address in &has - &had {
            self.external
                .entry(address)
                .or_default()
                .insert(key.clone());
        }
        let (showed, shows) = (
            of(before, |view| &view.ingress),
            of(now, |view| &view.ingress),
        );
        self.mark_external(&(&showed ^ &shows));
        let cluster_ips = of(now, |view| &view.cluster_ips);
        let what = Reservation::ClusterIp(key);
        self.reserve(|reserved| reserved.set(&what, cluster_ips));
    }

    fn reserve(&mut self, change: impl FnOnce(&mut ReservedAddresses) -> BTreeSet<IpAddr>) {
        let changed = self.allocator.reserve(change);
        if changed.is_empty() {
            return;
        }
        self.collect_touched();
        self.mark_external(&changed);
        if !self.leading {
            return;
        }
        let mut pooled = false;
        for address in &changed {
            pooled |= self.allocator.pool_of(*address).is_some();
            for key in self.allocator.holders(*address) {
                self.dirty.services.push(key);
            }
        }
        if pooled {
            self.freed();
        }
    }

    /// Whose an external IP is may have changed.
    fn mark_external(&mut self, addresses: &BTreeSet<IpAddr>) {
        if !self.leading {
            return;
        }
        let users = addresses.iter().filter_map(|a| self.external.get(a));
        for key in users.flatten() {
            self.dirty.services.push(key);
        }
    }
}
