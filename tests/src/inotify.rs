//! Room for the programs of several clusters to watch files.
//!
//! A cluster's kubelets, containerds and control plane hold about 25 inotify instances, and Linux allows a user 128: the
//! sixth cluster on a machine fails to start, with errors that do not name the limit.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Where Linux keeps how many inotify instances one user may have.
pub(crate) const INSTANCES: &str = "/proc/sys/fs/inotify/max_user_instances";
/// Enough for some forty clusters.
const WANTED: u32 = 1024;

/// Raises the limit behind `path` if it is low, and says so, or says how to when it may not.
///
/// # Errors
/// When the limit cannot be read.
pub(crate) fn make_room(path: &Path) -> Result<()> {
    let show = path.display();
    let now = fs::read_to_string(path).with_context(|| format!("reading {show}"))?;
    let now: u32 = now
        .trim()
        .parse()
        .with_context(|| format!("{show} holds {now:?}"))?;
    if now >= WANTED {
        return Ok(());
    }
    match fs::write(path, WANTED.to_string()) {
        Ok(()) => println!("raised fs.inotify.max_user_instances from {now} to {WANTED}"),
        // A single cluster may fit even so.
        Err(error) => println!(
            "cannot raise fs.inotify.max_user_instances from {now} ({error}): about five clusters fit on this machine; for \
             more, set it as root: sysctl -w fs.inotify.max_user_instances={WANTED}"
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("max_user_instances");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn a_low_limit_is_raised_and_a_high_one_kept() {
        for (before, after) in [("128\n", "1024"), ("8192\n", "8192\n")] {
            let (_folder, path) = limit(before);
            make_room(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let (_folder, path) = limit("many");
        let error = format!("{:#}", make_room(&path).unwrap_err());
        assert!(
            error.contains("max_user_instances holds \"many\""),
            "{error}"
        );
    }
}
