//! `cargo xtask setup`: what the machine needs beyond a checkout.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use herald_tests::{Part, run};

use crate::root;

/// Debian packages, each with a file that shows it is there.
const PACKAGES: [(&str, &str); 25] = [
    ("arping", "/usr/sbin/arping"),
    ("busybox-static", "/usr/share/doc/busybox-static"),
    ("ca-certificates", "/etc/ssl/certs/ca-certificates.crt"),
    ("conntrack", "/usr/sbin/conntrack"),
    ("containerd", "/usr/bin/containerd"),
    ("containernetworking-plugins", "/usr/lib/cni/ptp"),
    ("curl", "/usr/bin/curl"),
    ("gcc", "/usr/bin/gcc"),
    ("haproxy", "/usr/sbin/haproxy"),
    ("iproute2", "/usr/share/doc/iproute2"),
    ("iptables", "/usr/sbin/iptables"),
    ("iputils-ping", "/usr/share/doc/iputils-ping"),
    ("jq", "/usr/bin/jq"),
    ("libc6-dev", "/usr/share/doc/libc6-dev"),
    // jemalloc is built with make.
    ("make", "/usr/bin/make"),
    ("ndisc6", "/usr/bin/ndisc6"),
    ("netcat-openbsd", "/bin/nc.openbsd"),
    ("nftables", "/usr/sbin/nft"),
    ("openssl", "/usr/bin/openssl"),
    ("procps", "/usr/share/doc/procps"),
    ("python3-venv", "/usr/share/doc/python3-venv"),
    ("runc", "/usr/sbin/runc"),
    ("socat", "/usr/bin/socat"),
    ("tcpdump", "/usr/bin/tcpdump"),
    ("util-linux", "/usr/share/doc/util-linux"),
];

const MUSL_TARGET: &str = "x86_64-unknown-linux-musl";

/// Installs what is missing and builds the real parts; quick when all is there.
pub(crate) fn setup() -> Result<()> {
    let missing = missing_packages();
    if !missing.is_empty() {
        install(&missing)?;
    }
    ensure_musl_target()?;
    for part in [Part::Kubernetes, Part::CoreDns] {
        let program = herald_tests::ensure_part(part)?;
        println!("{:<12} {}", part.name(), program.display());
    }
    let python = herald_tests::moto::ensure()?;
    println!("moto         {}", python.display());
    Ok(())
}

fn missing_packages() -> Vec<&'static str> {
    let missing = PACKAGES
        .iter()
        .filter(|(_, file)| !Path::new(file).exists());
    missing.map(|(package, _)| *package).collect()
}

fn install(packages: &[&str]) -> Result<()> {
    if run(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!(
            "missing Debian packages: {}; run setup as root",
            packages.join(" ")
        );
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "missing: {}; this is no Debian, install what they hold by other means",
            packages.join(" ")
        );
    }
    println!("installing Debian packages: {}", packages.join(" "));
    let mut last = None;
    // Lists that are there may be old, or not there at all: only then fetch new ones.
    for update in [false, true] {
        if update {
            apt(&["update"])?;
        }
        match apt(&[&["install", "--yes", "--no-install-recommends"], packages].concat()) {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(error),
        }
    }
    last.map_or(Ok(()), Err)
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .args(["--quiet=2", "-o", "Dpkg::Use-Pty=0"])
        .args(arguments);
    // A package that starts its service at once (containerd) would be one more thing that runs.
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("RUNLEVEL", "1");
    let status = command.status().context("cannot run apt-get")?;
    if !status.success() {
        bail!("apt-get {}: {status}", arguments.join(" "));
    }
    Ok(())
}

/// rust-toolchain.toml names the target, but a toolchain installed by hand may lack it.
fn ensure_musl_target() -> Result<()> {
    let libraries = run(Command::new("rustc").current_dir(root()).args([
        "--print=target-libdir",
        "--target",
        MUSL_TARGET,
    ]))?;
    if Path::new(libraries.trim()).exists() {
        return Ok(());
    }
    println!("adding Rust target {MUSL_TARGET}");
    run(Command::new("rustup")
        .current_dir(root())
        .args(["target", "add", MUSL_TARGET]))
    .map(drop)
    .context("static binaries need the musl target; without rustup install it by hand")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_sorted_and_named_once() {
        assert!(PACKAGES.is_sorted_by(|one, other| one.0 < other.0));
    }
}
