//! The core crates decide and do not act: what they may depend on is a short list.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

/// The crates this holds for, and whether their default features (the socket of herald-nft) count.
const CORE: [(&str, bool); 5] = [
    ("herald-core", true),
    ("herald-provider", true),
    ("herald-controller-core", true),
    ("herald-speaker-core", true),
    ("herald-nft", false),
];

/// What they may name in their own Cargo.toml, beside each other.
const ALLOWED: [&str; 4] = ["ipnet", "serde", "thiserror", "tracing"];

/// What nothing below them may bring in either: the API, sockets, runtimes, the system.
const BANNED: [&str; 11] = [
    "async-std",
    "hyper",
    "k8s-openapi",
    "kube",
    "libc",
    "mio",
    "netlink",
    "nix",
    "rtnetlink",
    "socket2",
    "tokio",
];

/// Fails with the first dependency that has no place in a core crate.
pub(super) fn check() -> Result<()> {
    for (name, default_features) in CORE {
        let mut cargo = crate::cargo();
        cargo.args(["tree", "-p", name, "-e", "normal,build", "--target", "all"]);
        cargo.args(["--no-dedupe", "--prefix", "depth", "--format", " {p}"]);
        if !default_features {
            cargo.arg("--no-default-features");
        }
        let output = cargo.output().context("cannot run cargo")?;
        if !output.status.success() {
            bail!(
                "cargo tree -p {name}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        let count = judge(&String::from_utf8_lossy(&output.stdout))?;
        println!("    {name}: {count} crates");
    }
    Ok(())
}

/// Judges the output of `cargo tree` (depth, blank, name, blank, more); gives how many crates it
/// holds, itself included.
fn judge(tree: &str) -> Result<usize> {
    // The names from the root to the current line.
    let mut path: Vec<&str> = Vec::new();
    let mut all = BTreeSet::new();
    for line in tree.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let (Some(Ok(depth)), Some(name)) = (words.next().map(str::parse), words.next()) else {
            bail!("cannot read this line of cargo tree: {line}");
        };
        path.truncate(depth);
        let parent = path.last().copied();
        path.push(name);
        all.insert(name);
        let core = |name: &str| CORE.iter().any(|(core, _)| *core == name);
        let direct = parent.is_some_and(core);
        let named = core(name) || ALLOWED.contains(&name);
        let banned = BANNED.iter().any(|banned| is_or_extends(name, banned));
        if (direct && !named) || banned {
            bail!(
                "{name} has no place in a core crate ({}); move what needs it out",
                path.join(" → ")
            );
        }
    }
    if all.is_empty() {
        bail!("cargo tree printed nothing");
    }
    Ok(all.len())
}

/// Whether `name` is that crate or one of its family: `tokio`, `tokio-util`.
fn is_or_extends(name: &str, family: &str) -> bool {
    name.strip_prefix(family)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_passes_with_all_below_it() {
        let tree = "0 herald-speaker-core v0.1.0 (/x)\n1 herald-core v0.1.0 (/x)\n2 ipnet v2\n\
                    1 serde v1\n2 serde_derive v1 (proc-macro)\n3 syn v2\n1 tracing v0.1\n";
        assert_eq!(judge(tree).unwrap(), 7);
    }

    #[test]
    fn the_offender_is_named_with_its_way_in() {
        for (tree, way) in [
            ("0 herald-core v0\n1 regex v1\n", "herald-core → regex"),
            (
                "0 herald-core v0\n1 tracing v0\n2 tokio-util v0\n",
                "herald-core → tracing → tokio-util",
            ),
            ("0 herald-nft v0\n1 libc v0\n", "herald-nft → libc"),
            (
                "0 herald-speaker-core v0\n1 serde v1\n1 herald-nft v0\n2 kube v5\n",
                "herald-nft → kube",
            ),
        ] {
            let error = judge(tree).unwrap_err().to_string();
            assert!(error.contains(way), "{error}");
        }
        assert!(judge("").is_err());
        assert!(judge("herald-core v0\n").is_err());
    }
}
