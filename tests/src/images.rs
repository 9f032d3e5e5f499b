//! Images on the nodes.

use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow};

use crate::archive::{self, Image};
use crate::node;
use crate::state::{State, folder};

const PAUSE: &str = "localhost/pause:1";

/// Imports archives into every node.
pub(crate) fn import(state: &State, archives: &[PathBuf]) -> Result<()> {
    thread::scope(|scope| {
        let nodes: Vec<_> = (1..=state.nodes)
            .map(|node| {
                scope.spawn(move || {
                    archives
                        .iter()
                        .try_for_each(|archive| node::import(state, node, archive))
                })
            })
            .collect();
        nodes.into_iter().try_for_each(|node| {
            node.join()
                .unwrap_or_else(|_| Err(anyhow!("a thread that imported images panicked")))
        })
    })
}

/// An archive of the image every pod begins with, if none of `archives` has it: a busybox that sleeps.
pub(crate) fn pause_if_missing(state: &State, archives: &[PathBuf]) -> Result<Option<PathBuf>> {
    for archive in archives {
        if archive::names(archive)?.iter().any(|name| name == PAUSE) {
            return Ok(None);
        }
    }
    let path = folder(&state.name).join("pause.tar");
    busybox(&[PAUSE], &["/bin/busybox", "sleep", "2147483647"], &path)?;
    Ok(Some(path))
}

/// Writes an archive of an image that holds Debian's static busybox alone, with links for a shell's needs.
/// Names are not resolved in it: its C library crashes when it is asked to.
pub fn busybox(names: &[&str], entrypoint: &[&str], path: &Path) -> Result<()> {
    let program = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
    let program = program.into_iter().find(|path| path.exists());
    let program = program.context("no busybox: `cargo xtask setup` installs busybox-static")?;
    let applets = [
        "sh", "sleep", "wget", "nc", "httpd", "cat", "echo", "ip", "hostname", "mkdir",
    ];
    let image = Image {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        entrypoint: entrypoint.iter().map(|word| (*word).to_owned()).collect(),
        files: vec![(program.to_owned(), "bin/busybox".to_owned())],
        links: applets
            .iter()
            .map(|applet| (format!("bin/{applet}"), "/bin/busybox".to_owned()))
            .collect(),
    };
    archive::write(&image, path)
}
