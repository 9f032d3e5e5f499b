//! Herald's own resources.

use std::sync::Arc;

use herald_api::{AddressPool, L2Advertisement, Speaker, conditions, selectors};
use herald_core::IpFamily;
use herald_speaker_core::{AdvertisementView, Interface, PoolView};

use super::{name_key, parse, warn_left_out};
use crate::engine::SpeakerSeen;

/// The view of an AddressPool.
pub fn pool(object: &AddressPool) -> Option<PoolView> {
    Some(PoolView {
        name: name_key(&object.metadata)?,
        labels: object.metadata.labels.clone().unwrap_or_default(),
    })
}

/// The view of an L2Advertisement.
pub fn advertisement(object: &L2Advertisement) -> Option<AdvertisementView> {
    let spec = &object.spec;
    Some(AdvertisementView {
        name: name_key(&object.metadata)?,
        pools: spec.address_pools.clone(),
        pool_selectors: selectors(&spec.address_pool_selectors),
        node_selectors: selectors(&spec.node_selectors),
        interfaces: spec.interfaces.clone(),
        service_selectors: selectors(&spec.service_selectors),
    })
}

/// What a Speaker object says.
pub fn speaker(object: &Speaker) -> Option<SpeakerSeen> {
    let node = name_key(&object.metadata)?;
    let status = object.status.clone().unwrap_or_default();
    let address = |field: &str, text: &str| {
        let address = parse::address(text);
        if address.is_none() {
            warn_left_out("Speaker", &node, field, text);
        }
        address
    };
    let interfaces = status.interfaces.iter().map(|interface| Interface {
        name: Arc::from(interface.name.as_str()),
        addresses: interface
            .addresses
            .iter()
            .filter_map(|text| text.parse().ok())
            .collect(),
        up: interface.up,
        not_forwarding: [IpFamily::V4, IpFamily::V6]
            .into_iter()
            .filter(|family| interface.not_forwarding.contains(&family.to_string()))
            .collect(),
    });
    let refused = [
        conditions::speaker::DRAINING,
        conditions::speaker::DATA_PATH_NOT_SYNCED,
    ];
    let unwilling = status.conditions.iter().any(|condition| {
        condition.type_ == conditions::speaker::READY
            && condition.status == "False"
            && refused.contains(&condition.reason.as_str())
    });
    let mac = |field: &str, text: &str| {
        let mac = parse::mac(text);
        if mac.is_none() && !text.is_empty() {
            warn_left_out("Speaker", &node, field, text);
        }
        mac
    };
    let macs = status.interfaces.iter();
    let macs = macs.filter_map(|i| mac("status.interfaces", &i.mac));
    let conflicts = status.conflicts.iter().filter_map(|conflict| {
        let other = mac("status.conflicts", &conflict.mac)?;
        Some((address("status.conflicts", &conflict.address)?, other))
    });
    Some(SpeakerSeen {
        macs: macs.collect(),
        conflicts: conflicts.collect(),
        renewed: status
            .renew_time
            .as_ref()
            .map_or_else(String::new, |time| time.0.to_string()),
        willing: !unwilling,
        interfaces: interfaces.collect(),
        owned: status
            .owned
            .iter()
            .filter_map(|owned| address("status.owned", &owned.address))
            .collect(),
        node,
    })
}
