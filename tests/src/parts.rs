//! The real parts: Kubernetes and CoreDNS, built once from their Go modules and kept outside the checkout.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::archive;
use crate::process::run;
use crate::sys;

/// How often a long build says that it goes on.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
const COREDNS_IMAGE: &str = "localhost/coredns:lab";

/// A Go module below `tests/parts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// etcd, control plane, kubelet, kube-proxy and kubectl in one program.
    Kubernetes,
    CoreDns,
}

impl Part {
    /// Folder below `tests/parts`, and name of the program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::CoreDns => "coredns",
        }
    }

    fn linker_flags(self) -> String {
        // Without its version the API server calls itself v0.0.0-master, and clients believe it.
        let version = "k8s.io/component-base/version";
        match self {
            Self::Kubernetes => format!(
                "-s -w -X {version}.gitVersion=v1.35.4 -X {version}.gitMajor=1 \
                 -X {version}.gitMinor=35 -X {version}.gitTreeState=clean"
            ),
            Self::CoreDns => "-s -w".to_owned(),
        }
    }

    /// What to expect of a cold build on two cores.
    fn expectation(self) -> &'static str {
        match self {
            Self::Kubernetes => "about 6 minutes the first time",
            Self::CoreDns => "about 90 seconds the first time",
        }
    }
}

/// The part's program, built if this version of it is not there yet. Safe beside another process that
/// does the same.
///
/// # Errors
/// If Go is missing or the build fails.
pub fn ensure(part: Part) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("parts")
        .join(part.name());
    let folder = cache()?.join(format!("{}-{}", part.name(), fingerprint(part, &source)?));
    let program = folder.join(part.name());
    if program.exists() {
        return Ok(program);
    }
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let lock = File::create(folder.join("lock"))?;
    sys::lock(&lock, true).context("wait for another build of the same part")?;
    if !program.exists() {
        let unfinished = folder.join("unfinished");
        build(part, &source, &unfinished)?;
        fs::rename(&unfinished, &program)?;
    }
    Ok(program)
}

/// CoreDNS as an image archive, and the image's name.
pub fn coredns_image() -> Result<(PathBuf, &'static str)> {
    let program = ensure(Part::CoreDns)?;
    let path = program.with_file_name("image.tar");
    if !path.exists() {
        let image = archive::Image {
            names: vec![COREDNS_IMAGE.to_owned()],
            entrypoint: vec!["/coredns".to_owned()],
            files: vec![(program, "coredns".to_owned())],
            links: Vec::new(),
        };
        archive::write(&image, &path)?;
    }
    Ok((path, COREDNS_IMAGE))
}

fn build(part: Part, source: &Path, output: &Path) -> Result<()> {
    let name = part.name();
    eprintln!(
        "building {name} from its Go module ({})",
        part.expectation()
    );
    let begun = Instant::now();
    let log_path = output.with_file_name("build.log");
    let log = File::create(&log_path)?;
    let mut child = Command::new("go")
        .current_dir(source)
        .args([
            "build",
            "-trimpath",
            "-buildvcs=false",
            "-ldflags",
            &part.linker_flags(),
            "-o",
        ])
        .args([output.as_os_str(), ".".as_ref()])
        .env("CGO_ENABLED", "0")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("cannot run go")?;
    let mut said = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if sys::interrupted() {
            child.kill()?;
            child.wait()?;
            bail!("interrupted while building {name}");
        }
        if said.elapsed() >= SIGN_OF_LIFE {
            said = Instant::now();
            eprintln!("  still building {name}, {} s", begun.elapsed().as_secs());
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    if !status.success() {
        let text = fs::read_to_string(&log_path).unwrap_or_default();
        bail!(
            "go build of {name} in {}: {status}\n{text}",
            source.display()
        );
    }
    eprintln!("  built {name} in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Where built parts are kept: outside the checkout, so that a fresh clone finds them.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(base.join("herald/parts"))
}

/// Names a build by everything that goes into it.
fn fingerprint(part: Part, source: &Path) -> Result<String> {
    let go = run(Command::new("go")
        .current_dir(source)
        .args(["env", "GOVERSION"]))
    .context("the real parts are built with Go: install Go 1.26 or newer and put it into PATH")?;
    let mut hash = Sha256::new();
    for text in [go.trim(), &part.linker_flags()] {
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    for file in ["go.mod", "go.sum", "main.go"] {
        let path = source.join(file);
        let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        hash.update(text);
        hash.update([0]);
    }
    Ok(hex(&hash.finalize())[..12].to_owned())
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_source_is_another_build() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["go.mod", "go.sum", "main.go"] {
            fs::write(folder.path().join(file), "module x\n").unwrap();
        }
        let before = fingerprint(Part::CoreDns, folder.path()).unwrap();
        assert_eq!(before, fingerprint(Part::CoreDns, folder.path()).unwrap());
        fs::write(folder.path().join("main.go"), "package main\n").unwrap();
        assert_ne!(before, fingerprint(Part::CoreDns, folder.path()).unwrap());
        assert_eq!(hex(&[0, 0xab]), "00ab");
    }
}
