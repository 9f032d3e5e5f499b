//! The node's gateways: next hops of its default routes, from rtnetlink.
//!
//! Read whole each time: the kernel says nothing when a route goes with its link, or when one takes another's place.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use futures::TryStreamExt;
use rtnetlink::Handle;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

/// Gateways by the index of the interface they are reached over.
pub(crate) type Gateways = BTreeMap<u32, BTreeSet<IpAddr>>;

/// Reads the default routes of all tables.
pub(crate) async fn read(handle: &Handle) -> Result<Gateways, rtnetlink::Error> {
    let mut gateways = Gateways::new();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        let mut routes = std::pin::pin!(handle.route().get(request).execute());
        while let Some(route) = routes.try_next().await? {
            for (index, gateway) in next_hops(&route) {
                gateways.entry(index).or_default().insert(gateway);
            }
        }
    }
    Ok(gateways)
}

/// Whether the notice may change what [`read`] finds.
pub(crate) fn concerns(notice: &RouteNetlinkMessage) -> bool {
    match notice {
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
            is_default(route)
        }
        RouteNetlinkMessage::NewLink(_)
        | RouteNetlinkMessage::DelLink(_)
        | RouteNetlinkMessage::DelAddress(_) => true,
        _ => false,
    }
}

fn is_default(route: &RouteMessage) -> bool {
    route.header.destination_prefix_length == 0 && route.header.kind == RouteType::Unicast
}

fn next_hops(route: &RouteMessage) -> Vec<(u32, IpAddr)> {
    if !is_default(route) {
        return Vec::new();
    }
    let mut hops: Vec<(u32, IpAddr)> = Vec::new();
    let index = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
    hops.extend(index.zip(gateway(&route.attributes)));
    for attribute in &route.attributes {
        if let RouteAttribute::MultiPath(several) = attribute {
            let several = several.iter();
            hops.extend(
                several.filter_map(|hop| Some((hop.interface_index, gateway(&hop.attributes)?))),
            );
        }
    }
    hops
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address))
        | RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        RouteAttribute::Gateway(RouteAddress::Inet6(address))
        // An IPv4 route by way of an IPv6 router.
        | RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(prefix_length: u8, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut route = RouteMessage::default();
        route.header.destination_prefix_length = prefix_length;
        route.header.kind = RouteType::Unicast;
        route.attributes = attributes;
        route
    }

    fn by(address: &str) -> RouteAttribute {
        RouteAttribute::Gateway(address.parse::<IpAddr>().unwrap().into())
    }

    #[test]
    fn gateways_are_the_next_hops_of_default_routes() {
        let (four, six): (IpAddr, IpAddr) = (
            "192.0.2.254".parse().unwrap(),
            "2001:db8::1".parse().unwrap(),
        );
        let single = route(0, vec![RouteAttribute::Oif(2), by("192.0.2.254")]);
        assert_eq!(next_hops(&single), [(2, four)]);
        let hop = |index, address| {
            let mut hop = rtnetlink::packet_route::route::RouteNextHop::default();
            hop.interface_index = index;
            hop.attributes = vec![by(address)];
            hop
        };
        let several = vec![hop(2, "192.0.2.254"), hop(3, "2001:db8::1")];
        let several = route(0, vec![RouteAttribute::MultiPath(several)]);
        assert_eq!(next_hops(&several), [(2, four), (3, six)]);
        assert!(next_hops(&route(0, vec![RouteAttribute::Oif(2)])).is_empty());
        let other = route(24, vec![RouteAttribute::Oif(2), by("192.0.2.9")]);
        assert!(next_hops(&other).is_empty());
        assert!(!concerns(&RouteNetlinkMessage::NewRoute(other)));
        assert!(concerns(&RouteNetlinkMessage::DelRoute(single)));
    }
}
