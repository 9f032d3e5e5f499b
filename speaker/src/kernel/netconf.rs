//! The kernel's notices that an IP setting has changed (netconf). They are only a sign to read the settings again.

use std::io;
use std::time::Duration;

use rtnetlink::sys::protocols::NETLINK_ROUTE;
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};

const RTNLGRP_IPV4_NETCONF: u32 = 24;
const RTNLGRP_IPV6_NETCONF: u32 = 25;
/// One sysctl changes every device, each with a notice of its own.
const BURST: Duration = Duration::from_millis(20);

pub(super) struct Netconf(TokioSocket);

impl Netconf {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        let inner = socket.socket_mut();
        inner.bind(&SocketAddr::new(0, 0))?;
        inner.add_membership(RTNLGRP_IPV4_NETCONF)?;
        inner.add_membership(RTNLGRP_IPV6_NETCONF)?;
        Ok(Self(socket))
    }

    /// Returns once a setting has changed, and no other has for a moment.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        self.notice().await?;
        while let Ok(notice) = tokio::time::timeout(BURST, self.notice()).await {
            notice?;
        }
        Ok(())
    }

    async fn notice(&mut self) -> io::Result<()> {
        match self.0.recv_from_full().await {
            // Some were lost: something has changed all the same.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
            received => received.map(|_| ()),
        }
    }
}
