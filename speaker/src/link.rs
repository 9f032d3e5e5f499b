//! This node's links, from rtnetlink: read whole at first, then kept up to date from the kernel's notices.
//!
//! Kept are links that can carry ARP and neighbour discovery: Ethernet, not loopback, not NOARP, and not part of a bridge,
//! bond or team (whose own link is kept). Whether a link is *used* is decided elsewhere, by the subnets it owns.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt};
use herald_speaker_core::{LinkView, Mac};
use ipnet::IpNet;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{
    InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{MulticastGroup, new_connection, new_multicast_connection};
use tokio::sync::watch;

use crate::gateway::{self, Gateways};

/// Links by interface index.
pub type Links = BTreeMap<u32, LinkView>;

/// After the netlink socket failed.
const RETRY: Duration = Duration::from_secs(1);

/// Publishes the links of the network namespace whenever they change, until nobody listens any more; `None` until they are
/// known. After lost notices or a broken socket everything is read again.
pub async fn watch_links(links: watch::Sender<Option<Links>>) {
    loop {
        let result = tokio::select! {
            result = follow(&links) => result,
            () = links.closed() => return,
        };
        if let Err(error) = result {
            tracing::warn!(%error, "cannot follow the node's links; reading them anew");
        }
        tokio::time::sleep(RETRY).await;
    }
}

#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("open a netlink socket: {0}")]
    Open(#[from] std::io::Error),
    #[error("read the links, addresses and routes: {0}")]
    Dump(#[from] rtnetlink::Error),
    #[error("the netlink socket was closed")]
    Closed,
}

async fn follow(links: &watch::Sender<Option<Links>>) -> Result<(), LinkError> {
    let groups = [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
        MulticastGroup::Ipv4Route,
        MulticastGroup::Ipv6Route,
    ];
    // Subscribed before everything is read, so that nothing falls between the two.
    let (monitor, _handle, mut notices) = new_multicast_connection(&groups)?;
    let monitor = AbortOnDrop(tokio::spawn(monitor));
    let mut table = Table::default();
    table.read().await?;
    loop {
        table.publish(links);
        let mut next = notices.next().await;
        let mut routes_changed = false;
        // A burst is one change.
        while let Some(notice) = next {
            match notice.0.payload {
                NetlinkPayload::InnerMessage(message) => {
                    routes_changed |= gateway::concerns(&message);
                    table.handle(message);
                }
                NetlinkPayload::Overrun(_) => table.read().await?,
                _ => {}
            }
            next = match notices.next().now_or_never() {
                Some(Some(notice)) => Some(notice),
                Some(None) => return Err(LinkError::Closed),
                None => break,
            };
        }
        if monitor.0.is_finished() {
            return Err(LinkError::Closed);
        }
        if routes_changed {
            table.read_gateways().await?;
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug, Default)]
struct Table {
    links: BTreeMap<u32, Link>,
    addresses: BTreeMap<u32, BTreeSet<IpNet>>,
    gateways: Gateways,
}

#[derive(Debug, PartialEq, Eq)]
struct Link {
    name: Arc<str>,
    mac: Mac,
    up: bool,
}

impl Table {
    /// Reads everything, over a socket of its own: the answers must not be lost among notices.
    async fn read(&mut self) -> Result<(), LinkError> {
        let (connection, handle, _) = new_connection()?;
        let _connection = AbortOnDrop(tokio::spawn(connection));
        let mut table = Self::default();
        let mut links = std::pin::pin!(handle.link().get().execute());
        while let Some(link) = links.try_next().await? {
            table.handle(RouteNetlinkMessage::NewLink(link));
        }
        let mut addresses = std::pin::pin!(handle.address().get().execute());
        while let Some(address) = addresses.try_next().await? {
            table.handle(RouteNetlinkMessage::NewAddress(address));
        }
        table.gateways = gateway::read(&handle).await?;
        *self = table;
        Ok(())
    }

    async fn read_gateways(&mut self) -> Result<(), LinkError> {
        let (connection, handle, _) = new_connection()?;
        let _connection = AbortOnDrop(tokio::spawn(connection));
        self.gateways = gateway::read(&handle).await?;
        Ok(())
    }

    fn handle(&mut self, message: RouteNetlinkMessage) {
        match message {
            // With family AF_BRIDGE it speaks of a bridge's port.
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
                if link.header.interface_family != AddressFamily::Unspec => {}
            RouteNetlinkMessage::NewLink(link) => {
                let index = link.header.index;
                match announcing_link(&link) {
                    Some(link) => self.links.insert(index, link),
                    None => self.links.remove(&index),
                };
            }
            RouteNetlinkMessage::DelLink(link) => {
                self.links.remove(&link.header.index);
                self.addresses.remove(&link.header.index);
            }
            RouteNetlinkMessage::NewAddress(message) => {
                if let Some(net) = own_address(&message) {
                    self.addresses
                        .entry(message.header.index)
                        .or_default()
                        .insert(net);
                }
            }
            RouteNetlinkMessage::DelAddress(message) => {
                let addresses = self.addresses.get_mut(&message.header.index);
                if let (Some(addresses), Some(net)) = (addresses, own_address(&message)) {
                    addresses.remove(&net);
                }
            }
            _ => {}
        }
    }

    fn publish(&self, sender: &watch::Sender<Option<Links>>) {
        let view = |(index, link): (&u32, &Link)| {
            let addresses = self.addresses.get(index);
            let addresses = addresses.map(|nets| nets.iter().copied().collect());
            let gateways = self.gateways.get(index);
            let gateways = gateways.map(|all| all.iter().copied().collect());
            let view = LinkView {
                index: *index,
                name: link.name.clone(),
                mac: link.mac,
                up: link.up,
                addresses: addresses.unwrap_or_default(),
                gateways: gateways.unwrap_or_default(),
            };
            (*index, view)
        };
        let links: Links = self.links.iter().map(view).collect();
        sender.send_if_modified(|current| {
            let changed = current.as_ref() != Some(&links);
            if changed {
                *current = Some(links);
            }
            changed
        });
    }
}

/// The link, if it can carry ARP and neighbour discovery.
fn announcing_link(message: &LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    let ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    if !ethernet || flags.intersects(LinkFlags::Loopback | LinkFlags::Noarp) {
        return None;
    }
    let (mut name, mut mac, mut enslaved, mut in_vrf) = (None, None, false, false);
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(Arc::from(text.as_str())),
            LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes.as_slice()).ok(),
            LinkAttribute::Controller(index) => enslaved = *index != 0,
            LinkAttribute::LinkInfo(infos) => {
                in_vrf = infos.contains(&LinkInfo::PortKind(InfoPortKind::Vrf));
            }
            _ => {}
        }
    }
    if enslaved && !in_vrf {
        return None;
    }
    let up = flags.contains(LinkFlags::Up | LinkFlags::Running | LinkFlags::LowerUp);
    Some(Link {
        name: name?,
        mac: Mac(mac?),
        up,
    })
}

/// The address and the prefix length of its subnet. On a point-to-point link `Local` is ours and `Address` the peer's.
fn own_address(message: &AddressMessage) -> Option<IpNet> {
    let find =
        |pick: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(pick);
    let local = find(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let address = find(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    IpNet::new(local.or(address)?, message.header.prefix_len).ok()
}
