//! Image archives (docker format: what `docker save` writes and containerd imports) of a few files.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::parts::hex;

/// An image with one layer.
#[derive(Debug)]
pub(crate) struct Image {
    /// Full names with tag; one image may have several.
    pub(crate) names: Vec<String>,
    pub(crate) entrypoint: Vec<String>,
    /// Programs: where they are, and their path in the image.
    pub(crate) files: Vec<(PathBuf, String)>,
    /// Symbolic links: path in the image, and what it points to.
    pub(crate) links: Vec<(String, String)>,
}

/// Writes the archive, replacing what is there at once.
pub(crate) fn write(image: &Image, path: &Path) -> Result<()> {
    let folder = path.parent().context("an archive needs a folder")?;
    let layer = layer(image)?;
    let digest = hex(&Sha256::digest(&layer));
    let config = serde_json::to_vec(&json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {"Entrypoint": image.entrypoint, "Env": ["PATH=/bin:/sbin:/usr/bin:/usr/sbin"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "history": [{"created_by": "herald lab"}],
    }))?;
    let config_name = format!("{}.json", hex(&Sha256::digest(&config)));
    let layer_name = format!("{digest}/layer.tar");
    let manifest = serde_json::to_vec(&json!([
        {"Config": config_name, "RepoTags": image.names, "Layers": [layer_name]}
    ]))?;

    let unfinished = tempfile::NamedTempFile::new_in(folder)?;
    let mut archive = tar::Builder::new(io::BufWriter::new(&unfinished));
    for (name, content) in [
        (config_name.as_str(), &config),
        (layer_name.as_str(), &layer),
        ("manifest.json", &manifest),
    ] {
        append(&mut archive, name, 0o644, content)?;
    }
    archive.into_inner()?.flush()?;
    unfinished
        .persist(path)
        .with_context(|| format!("write {}", path.display()))?;
    Ok(())
}

fn layer(image: &Image) -> Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for (source, name) in &image.files {
        let content =
            std::fs::read(source).with_context(|| format!("read {}", source.display()))?;
        append(&mut layer, name, 0o755, &content)?;
    }
    for (name, target) in &image.links {
        let mut header = header(0, 0o777);
        header.set_entry_type(tar::EntryType::Symlink);
        layer.append_link(&mut header, name, target)?;
    }
    Ok(layer.into_inner()?)
}

fn append(
    archive: &mut tar::Builder<impl Write>,
    name: &str,
    mode: u32,
    content: &[u8],
) -> Result<()> {
    archive.append_data(&mut header(content.len() as u64, mode), name, content)?;
    Ok(())
}

/// No times and no owners: the same files give the same archive.
fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(0);
    header
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Reads the names of the images in an archive of docker or OCI format.
pub(crate) fn names(path: &Path) -> Result<Vec<String>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let mut names = Vec::new();
    for entry in tar::Archive::new(io::BufReader::new(file)).entries()? {
        let entry = entry.with_context(|| format!("{} is not a tar", path.display()))?;
        let name = entry.path()?.to_string_lossy().into_owned();
        if name == "manifest.json" {
            let manifest: serde_json::Value = serde_json::from_reader(entry)?;
            let tags = manifest.as_array().into_iter().flatten();
            let tags = tags
                .filter_map(|image| image["RepoTags"].as_array())
                .flatten();
            names.extend(tags.filter_map(|tag| Some(tag.as_str()?.to_owned())));
        } else if name == "index.json" {
            let index: serde_json::Value = serde_json::from_reader(entry)?;
            let manifests = index["manifests"].as_array().into_iter().flatten();
            names.extend(manifests.filter_map(|image| {
                Some(
                    image["annotations"]["io.containerd.image.name"]
                        .as_str()?
                        .to_owned(),
                )
            }));
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_files_give_the_same_archive_with_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, "binary").unwrap();
        let image = Image {
            names: vec!["localhost/a:1".to_owned(), "localhost/b:1".to_owned()],
            entrypoint: vec!["/program".to_owned()],
            files: vec![(program, "program".to_owned())],
            links: vec![("bin/sh".to_owned(), "/program".to_owned())],
        };
        let (one, two) = (folder.path().join("one.tar"), folder.path().join("two.tar"));
        write(&image, &one).unwrap();
        write(&image, &two).unwrap();
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        assert_eq!(names(&one).unwrap(), ["localhost/a:1", "localhost/b:1"]);
    }
}
