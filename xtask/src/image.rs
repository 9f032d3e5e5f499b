//! `cargo xtask image`: static binaries into OCI archives, without Docker.

mod oci;

use std::collections::BTreeMap;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use oci::{File, Image};

const TARGET: &str = "x86_64-unknown-linux-musl";
/// The user the controller runs as; deploy/ names it too.
const NON_ROOT: u32 = 65532;
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How the binaries are built; the names are those of cargo's profiles in the root Cargo.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Quick to build, for CI and the demo.
    Image,
    /// What users run: small and fast, minutes to build.
    Release,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Release => "release",
        }
    }
}

/// Where the archives are.
#[derive(Debug)]
pub(crate) struct Images {
    /// The folder that holds all of them.
    pub(crate) dir: PathBuf,
    /// `localhost/herald-controller:dev`
    pub(crate) controller: PathBuf,
    /// `localhost/herald-speaker:dev`
    pub(crate) speaker: PathBuf,
    /// `localhost/herald-echo:dev` and, of the same layer, `localhost/pause:1`
    pub(crate) echo: PathBuf,
}

impl Images {
    /// The archives in the folder `dir`, whether they exist or not.
    fn within(dir: PathBuf) -> Self {
        let archive = |name: &str| dir.join(format!("{name}.tar"));
        Self {
            controller: archive("herald-controller"),
            speaker: archive("herald-speaker"),
            echo: archive("herald-echo"),
            dir,
        }
    }
}

/// Builds the binaries and packs those that changed into target/image/<profile>/.
pub(crate) fn ensure(profile: Profile) -> Result<Images> {
    ensure_in(profile, folder(profile))
}

/// Where [`ensure`] puts the archives.
pub(crate) fn folder(profile: Profile) -> PathBuf {
    crate::root().join("target/image").join(profile.name())
}

/// As [`ensure`], with the archives in `dir`.
pub(crate) fn ensure_in(profile: Profile, dir: PathBuf) -> Result<Images> {
    let binaries = build(profile)?;
    let images = Images::within(dir);
    std::fs::create_dir_all(&images.dir)
        .with_context(|| format!("cannot create {}", images.dir.display()))?;
    pack(
        &images.controller,
        &[controller(read(&binaries, "herald-controller")?)],
    )?;
    pack(
        &images.speaker,
        &[speaker(read(&binaries, "herald-speaker")?)],
    )?;
    pack(&images.echo, &echo(read(&binaries, "herald-echo")?))?;
    Ok(images)
}

/// Builds all three at once, so that cargo shares the cores among them; gives their paths by name.
fn build(profile: Profile) -> Result<BTreeMap<String, PathBuf>> {
    let mut cargo = crate::cargo();
    cargo.args(["build", "--target", TARGET, "--profile", profile.name()]);
    cargo.args([
        "-p",
        "herald-controller",
        "-p",
        "herald-speaker",
        "-p",
        "herald-echo",
    ]);
    cargo.arg("--message-format=json-render-diagnostics");
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!(
            "the image binaries do not build. If it is the target that is missing: \
             rustup target add {TARGET}"
        );
    }
    Ok(executables(&String::from_utf8_lossy(&output.stdout)))
}

/// Executables in cargo's JSON messages, by target name.
fn executables(messages: &str) -> BTreeMap<String, PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| {
            let name = message["target"]["name"].as_str()?;
            Some((
                name.to_owned(),
                PathBuf::from(message["executable"].as_str()?),
            ))
        })
        .collect()
}

fn read(binaries: &BTreeMap<String, PathBuf>, name: &str) -> Result<Vec<u8>> {
    let path = binaries
        .get(name)
        .ok_or_else(|| anyhow!("cargo built no {name}"))?;
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Runs as nobody in particular; has the certificates that a cloud's API is checked against, if
/// this machine has them (Debian package ca-certificates).
fn controller(binary: Vec<u8>) -> Image {
    let passwd = format!("herald:x:{NON_ROOT}:{NON_ROOT}::/:/sbin/nologin\n");
    let mut image = image("herald-controller:dev", "herald-controller", binary);
    image.user = format!("{NON_ROOT}:{NON_ROOT}");
    image.files.insert(
        "etc/passwd".to_owned(),
        File {
            mode: 0o644,
            data: passwd.into_bytes(),
        },
    );
    if let Ok(data) = std::fs::read(CA_BUNDLE) {
        let path = CA_BUNDLE.trim_start_matches('/').to_owned();
        image.files.insert(path, File { mode: 0o644, data });
    }
    image
}

/// User 0: the manifests drop every capability but NET_ADMIN and NET_RAW.
fn speaker(binary: Vec<u8>) -> Image {
    image("herald-speaker:dev", "herald-speaker", binary)
}

fn echo(binary: Vec<u8>) -> [Image; 2] {
    let mut echo = image("herald-echo:dev", "herald-echo", binary);
    echo.user = format!("{NON_ROOT}:{NON_ROOT}");
    let mut pause = echo.clone();
    "localhost/pause:1".clone_into(&mut pause.name);
    pause.entrypoint.push("--pause".to_owned());
    [echo, pause]
}

/// An image that holds one program and runs it as root.
fn image(name: &str, program: &str, binary: Vec<u8>) -> Image {
    Image {
        name: format!("localhost/{name}"),
        files: BTreeMap::from([(
            program.to_owned(),
            File {
                mode: 0o755,
                data: binary,
            },
        )]),
        entrypoint: vec![format!("/{program}")],
        user: "0".to_owned(),
    }
}

/// Writes the archive if it is not there or anything in it changed; prints its size.
fn pack(archive: &Path, images: &[Image]) -> Result<()> {
    let inputs = oci::digest(images);
    let stamp = archive.with_extension("inputs");
    let current =
        archive.exists() && std::fs::read_to_string(&stamp).is_ok_and(|before| before == inputs);
    if !current {
        write(archive, images).with_context(|| format!("cannot write {}", archive.display()))?;
        std::fs::write(&stamp, &inputs)
            .with_context(|| format!("cannot write {}", stamp.display()))?;
    }
    let names: Vec<&str> = images.iter().map(|image| image.name.as_str()).collect();
    let unpacked = images[0]
        .files
        .values()
        .map(|file| file.data.len() as u64)
        .sum();
    // Not to standard output: `cluster up --json` prints for programs.
    eprintln!(
        "    {}: {} packed, {} unpacked{}",
        names.join(" and "),
        mebibytes(archive.metadata()?.len()),
        mebibytes(unpacked),
        if current { ", unchanged" } else { "" },
    );
    Ok(())
}

/// Under another name first, of this process alone: a reader sees the old archive or the new one, whole, and two writers do
/// not meet.
fn write(archive: &Path, images: &[Image]) -> std::io::Result<()> {
    let unfinished = archive.with_extension(format!("unfinished-{}", std::process::id()));
    let mut out = BufWriter::new(std::fs::File::create(&unfinished)?);
    oci::write_archive(images, &mut out)?;
    out.flush()?;
    std::fs::rename(unfinished, archive)
}

#[allow(clippy::cast_precision_loss)] // For people to read.
fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_among_cargos_messages() {
        let messages = concat!(
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"herald-echo\"},",
            "\"executable\":\"/t/herald-echo\"}\n",
            "{\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"ring\"},\"executable\":null}\n",
            "not JSON\n",
            "{\"reason\":\"build-finished\",\"success\":true}\n",
        );
        let wanted = BTreeMap::from([("herald-echo".to_owned(), PathBuf::from("/t/herald-echo"))]);
        assert_eq!(executables(messages), wanted);
    }

    #[test]
    fn only_the_speaker_runs_as_root() {
        assert_eq!(speaker(Vec::new()).user, "0");
        assert_eq!(controller(Vec::new()).user, "65532:65532");
        let [echo, pause] = echo(b"program".to_vec());
        assert_eq!(
            (echo.user.as_str(), pause.user.as_str()),
            ("65532:65532", "65532:65532")
        );
        assert_eq!(pause.entrypoint, ["/herald-echo", "--pause"]);
    }

    #[test]
    fn an_archive_is_written_again_only_when_it_changed() {
        let dir = std::env::temp_dir().join(format!("herald-image-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let archive = dir.join("a.tar");
        pack(&archive, &[speaker(b"one".to_vec())]).unwrap();
        let first = std::fs::read(&archive).unwrap();
        // Left alone while its inputs are the same, even if someone else wrote to it.
        std::fs::write(&archive, b"marked").unwrap();
        pack(&archive, &[speaker(b"one".to_vec())]).unwrap();
        assert_eq!(std::fs::read(&archive).unwrap(), b"marked");
        pack(&archive, &[speaker(b"two".to_vec())]).unwrap();
        let second = std::fs::read(&archive).unwrap();
        assert!(second != first && second != b"marked");
        std::fs::remove_file(&archive).unwrap();
        pack(&archive, &[speaker(b"one".to_vec())]).unwrap();
        assert_eq!(std::fs::read(&archive).unwrap(), first);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
