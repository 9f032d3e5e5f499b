//! What the documentation points to exists: files, sections, and the manifests that its commands apply.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn every_link_leads_somewhere() -> Result<()> {
    let mut links = 0;
    let mut broken = Vec::new();
    for page in pages()? {
        let text = read(&page)?;
        for link in links_of(&text) {
            links += 1;
            let (path, section) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() {
                page.clone()
            } else {
                page.with_file_name(path)
            };
            let there =
                target.exists() && (section.is_empty() || sections(&target)?.contains(section));
            if !there {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    ensure!(links > 50, "only {links} links found");
    ensure!(broken.is_empty(), "{broken:#?}");
    Ok(())
}

#[test]
fn every_manifest_of_a_command_exists() -> Result<()> {
    let mut seen = BTreeSet::new();
    for page in pages()? {
        let text = read(&page)?;
        let after = text.split("deploy/").skip(1);
        seen.extend(after.map(|rest| {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "/-_.".contains(c)));
            rest[..end.unwrap_or(rest.len())]
                .trim_end_matches(['.', '/'])
                .to_owned()
        }));
    }
    ensure!(seen.contains("examples/web.yaml"), "{seen:?}");
    let missing: Vec<&String> = seen
        .iter()
        .filter(|path| !Path::new(ROOT).join("deploy").join(path).exists())
        .collect();
    ensure!(missing.is_empty(), "deploy/ lacks {missing:?}");
    Ok(())
}

/// Remedies that were advised once and that no API server allows, or that show nothing. The others are tried by `api_controller`.
#[test]
fn nothing_advises_what_cannot_work() -> Result<()> {
    // A Service's class is set when it is created, and so is its first family; `kubectl describe` shows no conditions of it.
    let impossible = [
        "set spec.loadbalancerclass",
        "set `spec.loadbalancerclass",
        "or spec.ipfamilies",
        "set spec.ipfamilies",
    ];
    let mut texts = pages()?;
    for folder in [
        "controller/src",
        "controller/core/src",
        "speaker/src",
        "speaker/core/src",
        "provider-trait/aws/src",
    ] {
        texts.extend(files(&Path::new(ROOT).join(folder))?);
    }
    ensure!(texts.len() > 100, "only {} texts found", texts.len());
    let mut found = Vec::new();
    for path in texts {
        for line in read(&path)?.lines() {
            let lower = line.to_lowercase();
            let describes = lower.contains("describe service") && lower.contains("condition");
            let denies = lower.contains("does not show");
            if impossible.iter().any(|advice| lower.contains(advice)) || (describes && !denies) {
                found.push(format!("{}: {line}", path.display()));
            }
        }
    }
    ensure!(found.is_empty(), "{found:#?}");
    Ok(())
}

/// All files in a folder and those below it.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (folders, mut found): (Vec<_>, Vec<_>) =
        entries(folder)?.into_iter().partition(|path| path.is_dir());
    for folder in folders {
        found.extend(files(&folder)?);
    }
    Ok(found)
}

/// The pages at the top, and those under docs/.
fn pages() -> Result<Vec<PathBuf>> {
    let mut pages = entries(Path::new(ROOT))?;
    let mut folders = vec![PathBuf::from(ROOT).join("docs")];
    while let Some(folder) = folders.pop() {
        let inside = entries(&folder)?;
        folders.extend(inside.iter().filter(|path| path.is_dir()).cloned());
        pages.extend(inside);
    }
    pages.retain(|path| path.extension().is_some_and(|kind| kind == "md"));
    Ok(pages)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

fn read(page: &Path) -> Result<String> {
    fs::read_to_string(page).with_context(|| format!("read {}", page.display()))
}

/// Targets of links within the repository, outside code.
fn links_of(text: &str) -> Vec<String> {
    let text = prose(text);
    let plain: String = text.split('`').step_by(2).collect();
    let targets = plain.split("](").skip(1);
    targets
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .filter(|target| !target.contains("://"))
        .collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn sections(page: &Path) -> Result<BTreeSet<String>> {
    let text = prose(&read(page)?);
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchors = headings.map(|line| {
        let words = line.trim_start_matches('#').trim().to_lowercase();
        let kept = words
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().replace(' ', "-")
    });
    Ok(anchors.collect())
}

/// A page without its blocks of code.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}
