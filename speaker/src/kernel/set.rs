//! Settings of single devices, by RTM_SETLINK, IFLA_AF_SPEC, IFLA_INET_CONF: NET_ADMIN is enough.

use rtnetlink::packet_route::link::{
    AfSpecInet, AfSpecUnspec, InetDevConf, LinkAttribute, LinkMessage,
};

/// Why a setting could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// No netlink socket.
    #[error("open a netlink socket: {0}")]
    Open(#[from] std::io::Error),
    /// The kernel refused.
    #[error("{0}")]
    Refused(#[from] rtnetlink::Error),
}

/// Switches IPv4 forwarding on for packets that come in by a device.
///
/// # Errors
/// When the device is gone, or NET_ADMIN is missing.
pub async fn forwarding(device: &str) -> Result<(), SetError> {
    let mut conf = InetDevConf::default();
    conf.forwarding = 1;
    set(device, conf).await
}

/// Sets a device's reverse path filter.
///
/// # Errors
/// As [`forwarding`].
pub async fn rp_filter(device: &str, value: u32) -> Result<(), SetError> {
    let mut conf = InetDevConf::default();
    conf.rp_filter = i32::try_from(value).unwrap_or_default();
    set(device, conf).await
}

/// Only what is not zero is sent.
async fn set(device: &str, conf: InetDevConf) -> Result<(), SetError> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let mut message = LinkMessage::default();
    message
        .attributes
        .push(LinkAttribute::IfName(device.to_owned()));
    message
        .attributes
        .push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet(vec![
            AfSpecInet::DevConfRequest(conf),
        ])]));
    let result = handle.link().set(message).execute().await;
    connection.abort();
    Ok(result?)
}
