//! Hearing of what others do to our tables, where the kernel does not keep them from it.

use std::fmt::Write as _;
use std::io;

use herald_nft::{Changes, TableName, Watch};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The watch, and what it is for.
#[derive(Debug)]
pub(super) struct Watching {
    watch: AsyncFd<Watch>,
    tables: Vec<TableName>,
    /// The port of the socket whose changes are our own.
    own: u32,
}

impl Watching {
    /// Changes to `tables` by other ports than `own` are heard from now on.
    pub(super) fn start(tables: Vec<TableName>, own: u32) -> io::Result<Self> {
        Ok(Self {
            watch: readable(Watch::open()?)?,
            tables,
            own,
        })
    }

    /// What has changed, once something has; may be empty, as almost all changes of other tables are.
    async fn changed(&mut self) -> io::Result<Changes> {
        let mut ready = self.watch.readable_mut().await?;
        let mut changes = Changes::default();
        let watch = ready.get_inner_mut();
        if watch.read(&mut changes, &self.tables, self.own)? {
            ready.clear_ready();
        }
        Ok(changes)
    }
}

#[expect(
    unsafe_code,
    reason = "tokio has no safe call for descriptors of one's own"
)]
fn readable(watch: Watch) -> io::Result<AsyncFd<Watch>> {
    // SAFETY: a Watch keeps its one descriptor open until it is dropped, and nobody takes it out of the AsyncFd.
    let fd = unsafe { AsyncFd::register_with_interest(watch, Interest::READABLE) }?;
    Ok(fd)
}

/// Waits for changes; without a watch, for ever.
pub(super) async fn changed(watching: Option<&mut Watching>) -> io::Result<Changes> {
    match watching {
        Some(watching) => watching.changed().await,
        None => std::future::pending().await,
    }
}

/// Which tables were changed and by whom, for people.
pub(super) fn describe(changes: &Changes) -> String {
    let mut text = String::from("another program");
    if let Some(by) = &changes.by {
        // Writing to a String cannot fail.
        let _ = write!(text, " ({by})");
    }
    text.push_str(" changed ");
    for (index, table) in changes.tables.iter().enumerate() {
        let family = match table.family {
            herald_nft::Family::Ipv4 => "ip",
            herald_nft::Family::Ipv6 => "ip6",
        };
        let and = if index > 0 { " and " } else { "" };
        let _ = write!(text, "{and}table {family} {}", table.name);
    }
    text.push_str("; the rules are being mended");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_did_it_and_to_what_is_said() {
        let mut changes = Changes::default();
        let table = TableName::new(herald_nft::Family::Ipv4, "herald");
        changes.tables.push(table);
        changes.by = Some("nft, process 12".into());
        assert_eq!(
            describe(&changes),
            "another program (nft, process 12) changed table ip herald; the rules are being mended"
        );
        changes.by = None;
        let other = TableName::new(herald_nft::Family::Ipv6, "herald");
        changes.tables.push(other);
        assert_eq!(
            describe(&changes),
            "another program changed table ip herald and table ip6 herald; the rules are being mended"
        );
    }
}
