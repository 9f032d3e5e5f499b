//! `cargo xtask crds`: deploy/crds holds what the types of herald-api say.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Files of this folder that begin so are ours; others (a kustomization) are left alone.
const PREFIX: &str = "heraldlb.io_";

/// Writes the files, and removes those whose resource is gone.
pub(crate) fn write() -> Result<()> {
    let folder = crate::root().join("deploy/crds");
    let wanted = generate()?;
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    for (name, text) in &wanted {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("    {}", path.display());
    }
    for path in ours(&folder)?
        .into_keys()
        .filter(|name| !wanted.contains_key(name))
    {
        std::fs::remove_file(folder.join(&path))
            .with_context(|| format!("cannot remove {path}"))?;
        println!("    {path} removed");
    }
    Ok(())
}

/// Fails, with the difference, where the files are not what the code says.
pub(crate) fn check() -> Result<()> {
    let folder = crate::root().join("deploy/crds");
    let wanted = generate()?;
    let have = ours(&folder)?;
    let mut names: Vec<&String> = wanted.keys().chain(have.keys()).collect();
    names.sort();
    names.dedup();
    let mut drifted = 0;
    for name in names {
        let (have, wanted) = (have.get(name), wanted.get(name));
        if have != wanted {
            drifted += 1;
            show_difference(&folder.join(name), wanted.map_or("", String::as_str))?;
        }
    }
    if drifted > 0 {
        bail!("{drifted} files of deploy/crds differ from the code; run: cargo xtask crds");
    }
    Ok(())
}

/// File name to content, from the program of herald-api that prints the definitions.
fn generate() -> Result<BTreeMap<String, String>> {
    let mut cargo = crate::cargo();
    cargo.args([
        "run",
        "--quiet",
        "-p",
        "herald-api",
        "--features",
        "crdgen",
        "--bin",
        "crdgen",
    ]);
    let output = cargo
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("crdgen of herald-api does not build or run");
    }
    let text = String::from_utf8(output.stdout).context("crdgen printed no text")?;
    split(&text)
}

/// One file per YAML document, named by its resource: `heraldlb.io_<plural>.yaml`.
fn split(text: &str) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut document = String::new();
    // A last separator ends the last document.
    for line in text.lines().chain(["---"]) {
        if line != "---" {
            document.push_str(line);
            document.push('\n');
        } else if !document.trim().is_empty() {
            let document = std::mem::take(&mut document);
            let name = resource(&document).context("crdgen printed a document without a name")?;
            let (plural, group) = name.split_once('.').context("a resource without a group")?;
            let file = format!("{group}_{plural}.yaml");
            if !file.starts_with(PREFIX) {
                bail!("{name} is not a resource of our group");
            }
            if files.contains_key(&file) {
                bail!("crdgen printed {name} twice");
            }
            files.insert(file, document);
        }
    }
    if files.is_empty() {
        bail!("crdgen printed no resource");
    }
    Ok(files)
}

/// `metadata.name` of a document in block style.
fn resource(document: &str) -> Option<&str> {
    let mut lines = document
        .lines()
        .skip_while(|line| *line != "metadata:")
        .skip(1);
    lines
        .find_map(|line| line.strip_prefix("  name:"))
        .map(str::trim)
}

/// The files of the folder that are ours, by name.
fn ours(folder: &Path) -> Result<BTreeMap<String, String>> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(BTreeMap::new());
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let path: PathBuf = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with(PREFIX) {
            let text = std::fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            files.insert(name, text);
        }
    }
    Ok(files)
}

fn show_difference(path: &Path, wanted: &str) -> Result<()> {
    let mut diff = Command::new("diff")
        .args([
            "-u",
            "-N",
            "--label",
            "checked in",
            "--label",
            "from the code",
        ])
        .arg(path)
        .arg("-")
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run diff; install Debian package diffutils")?;
    println!("--- {}", path.display());
    if let Some(mut stdin) = diff.stdin.take() {
        // diff may stop reading early; what it printed is what matters.
        let _ = stdin.write_all(wanted.as_bytes());
    }
    diff.wait().context("diff did not end")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_become_files() {
        let text = "apiVersion: v1\nmetadata:\n  name: pools.heraldlb.io\nspec:\n  name: x\n---\n\
                    metadata:\n  labels: {}\n  name: speakers.heraldlb.io\n";
        let files = split(text).unwrap();
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["heraldlb.io_pools.yaml", "heraldlb.io_speakers.yaml"]
        );
        assert!(files["heraldlb.io_pools.yaml"].ends_with("  name: x\n"));
    }

    #[test]
    fn anything_else_is_refused() {
        for (text, part) in [
            ("", "no resource"),
            ("kind: List\n", "without a name"),
            ("metadata:\n  name: pods\n", "without a group"),
            (
                "metadata:\n  name: pools.example.com\n",
                "not a resource of our group",
            ),
            (
                "metadata:\n  name: a.heraldlb.io\n---\nmetadata:\n  name: a.heraldlb.io\n",
                "twice",
            ),
        ] {
            let error = format!("{:#}", split(text).unwrap_err());
            assert!(error.contains(part), "{text:?}: {error}");
        }
    }
}
