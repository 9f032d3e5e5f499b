//! Hearing of changes to nf_tables.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::{RECEIVE_BUFFER, raw};
use crate::event::Changes;
use crate::object::TableName;

/// Datagrams read in one go, so that a storm of changes does not keep the reader from its other work.
const AT_ONCE: usize = 1024;

/// A socket that hears of every change to nf_tables in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Watch {
    raw: raw::Netlink,
}

impl Watch {
    /// Opens the socket; changes from now on are heard.
    pub fn open() -> io::Result<Self> {
        let raw = raw::Netlink::open(raw::NFTABLES_GROUP)?;
        raw.grow_receive_buffer(RECEIVE_BUFFER)?;
        Ok(Self { raw })
    }

    /// Reads what waits to be read, without blocking: changes to `watched` tables by other ports than `own`. False when more
    /// may be waiting.
    pub fn read(
        &mut self,
        changes: &mut Changes,
        watched: &[TableName],
        own: u32,
    ) -> io::Result<bool> {
        for _ in 0..AT_ONCE {
            match self.raw.receive_now() {
                Ok(None) => return Ok(true),
                // What cannot be read may have been about our tables.
                Ok(Some(datagram)) => {
                    changes.lost |= changes.add(datagram, watched, own).is_err();
                }
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOBUFS)
                        || error.kind() == io::ErrorKind::InvalidData =>
                {
                    changes.lost = true;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

impl AsRawFd for Watch {
    fn as_raw_fd(&self) -> RawFd {
        self.raw.as_raw_fd()
    }
}
