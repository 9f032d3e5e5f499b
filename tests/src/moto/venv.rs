//! The Python environment, made once and kept outside the checkout.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use super::source;
use crate::parts;
use crate::process::run;
use crate::sys;

/// Debian's own Python, whose `venv` is a package; any other if there is none.
const PYTHON: [&str; 2] = ["/usr/bin/python3", "python3"];

/// The program `python` of an environment with moto, made if it is not there yet. Safe beside another
/// process that does the same.
///
/// # Errors
/// If Python or its venv module is missing, or a package cannot be had.
pub fn ensure() -> Result<PathBuf> {
    let python = PYTHON
        .into_iter()
        .find(|python| !python.starts_with('/') || Path::new(python).exists())
        .unwrap_or("python3");
    let requirements = source().join("requirements.txt");
    let folder = parts::cache()?.join(format!("moto-{}", fingerprint(python, &requirements)?));
    let program = folder.join("venv/bin/python");
    let complete = folder.join("complete");
    if complete.exists() {
        return Ok(program);
    }
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let lock = File::create(folder.join("lock"))?;
    sys::lock(&lock, true).context("wait for another to make the same Python environment")?;
    if !complete.exists() {
        make(python, &requirements, &folder.join("venv"))?;
        // An environment cannot be moved: its last step says that it is whole.
        File::create(&complete)?;
    }
    Ok(program)
}

fn make(python: &str, requirements: &Path, folder: &Path) -> Result<()> {
    eprintln!("making a Python environment with moto (about 30 s the first time)");
    let begun = Instant::now();
    // `--clear`: what an interrupted one has left must not stay.
    run(Command::new(python)
        .args(["-m", "venv", "--clear"])
        .arg(folder))
    .context("Python's venv module is missing: install the Debian package python3-venv")?;
    run(Command::new(folder.join("bin/python"))
        .args(["-m", "pip", "install", "--quiet", "--no-input"])
        .args(["--disable-pip-version-check", "--requirement"])
        .arg(requirements))
    .context("cannot install moto: is a Python package index reachable?")?;
    eprintln!(
        "  made the Python environment in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Names an environment by everything that goes into it.
fn fingerprint(python: &str, requirements: &Path) -> Result<String> {
    let version =
        run(Command::new(python).args(["-c", "import sys; print(sys.version, sys.base_prefix)"]))
            .context(
            "the AWS test base needs Python 3.10 or newer: install the Debian package python3-venv",
        )?;
    let text =
        fs::read(requirements).with_context(|| format!("read {}", requirements.display()))?;
    let mut hash = Sha256::new();
    hash.update(version.as_bytes());
    hash.update([0]);
    hash.update(text);
    Ok(parts::hex(&hash.finalize())[..12].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_requirements_are_another_environment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("requirements.txt");
        let named = |text: &str| {
            fs::write(&path, text).unwrap();
            fingerprint("python3", &path).unwrap()
        };
        let before = named("moto==1\n");
        assert_eq!(before, named("moto==1\n"));
        assert_ne!(before, named("moto==2\n"));
    }

    #[test]
    fn every_requirement_is_pinned() {
        let text = fs::read_to_string(source().join("requirements.txt")).unwrap();
        let wanted = text.lines().filter(|line| !line.starts_with('#'));
        let loose: Vec<_> = wanted.filter(|line| !line.contains("==")).collect();
        assert!(loose.is_empty(), "{loose:?}");
        assert!(text.contains("moto[server,ec2,elbv2]==5.2.5"), "{text}");
    }
}
