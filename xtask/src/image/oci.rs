//! OCI image archives (image-spec v1): a tar of `oci-layout`, `index.json` and content-addressed
//! blobs. The same input gives the same bytes: entries sorted, times zero, no owner names.

use std::collections::BTreeMap;
use std::io::{self, Write};

use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Raise it when this module writes the same images differently.
const LAYOUT: u32 = 1;

/// A file of an image.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Permission bits.
    pub(crate) mode: u32,
    pub(crate) data: Vec<u8>,
}

/// An image of one layer on an empty base.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Full reference, such as `localhost/herald-controller:dev`.
    pub(crate) name: String,
    /// By path without a leading slash. Owned by root; folders appear by themselves.
    pub(crate) files: BTreeMap<String, File>,
    pub(crate) entrypoint: Vec<String>,
    /// Numeric user, or user:group.
    pub(crate) user: String,
}

/// Writes one archive that holds all `images`; what they have in common is stored once.
pub(crate) fn write_archive(images: &[Image], out: impl Write) -> io::Result<()> {
    let mut blobs = Blobs::default();
    let manifests: Vec<Value> = images
        .iter()
        .map(|image| add_image(&mut blobs, image))
        .collect::<io::Result<_>>()?;
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    let mut files = BTreeMap::from([
        (
            "oci-layout".to_owned(),
            file(to_bytes(&json!({"imageLayoutVersion": "1.0.0"}))),
        ),
        ("index.json".to_owned(), file(to_bytes(&index))),
    ]);
    for (digest, data) in blobs.0 {
        files.insert(format!("blobs/sha256/{digest}"), file(data));
    }
    write_tar(&files, out).map(drop)
}

/// Of everything the images are made from, without the cost of packing it.
pub(crate) fn digest(images: &[Image]) -> String {
    let describe = |image: &Image| {
        let file = |(path, file): (&String, &File)| json!([path, file.mode, sha256(&file.data)]);
        let files: Vec<Value> = image.files.iter().map(file).collect();
        json!([image.name, image.entrypoint, image.user, files])
    };
    let images: Vec<Value> = images.iter().map(describe).collect();
    sha256(json!([LAYOUT, images]).to_string().as_bytes())
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256(data: &[u8]) -> String {
    format!("{:x}", Sha256::digest(data))
}

fn file(data: Vec<u8>) -> File {
    File { mode: 0o644, data }
}

/// Content by digest.
#[derive(Default)]
struct Blobs(BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Stores a blob and describes it.
    fn add(&mut self, media_type: &str, data: Vec<u8>) -> Value {
        let digest = sha256(&data);
        let descriptor = json!({
            "mediaType": media_type,
            "digest": format!("sha256:{digest}"),
            "size": data.len(),
        });
        self.0.insert(digest, data);
        descriptor
    }
}

/// Stores an image's blobs; gives its line in the index.
fn add_image(blobs: &mut Blobs, image: &Image) -> io::Result<Value> {
    let tar = write_tar(&image.files, Vec::new())?;
    let config = json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": "amd64",
        "os": "linux",
        "config": {"User": image.user, "Entrypoint": image.entrypoint, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&tar))]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "cargo xtask image"}],
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blobs.add(CONFIG, to_bytes(&config)),
        "layers": [blobs.add(LAYER, gzip(&tar)?)],
    });
    let mut descriptor = blobs.add(MANIFEST, to_bytes(&manifest));
    descriptor["platform"] = json!({"architecture": "amd64", "os": "linux"});
    // containerd reads the first, podman and others the second.
    descriptor["annotations"] = json!({
        "io.containerd.image.name": image.name,
        "org.opencontainers.image.ref.name": image.name,
    });
    Ok(descriptor)
}

/// `serde_json` sorts the keys of a `Value`, so equal values are equal bytes.
fn to_bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn gzip(data: &[u8]) -> io::Result<Vec<u8>> {
    // The builder's defaults: no time, no name, unknown operating system.
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::default());
    encoder.write_all(data)?;
    encoder.finish()
}

fn write_tar<W: Write>(files: &BTreeMap<String, File>, out: W) -> io::Result<W> {
    let mut entries: BTreeMap<String, Option<&File>> = BTreeMap::new();
    for (path, file) in files {
        for (at, _) in path.match_indices('/') {
            entries.insert(path[..=at].to_owned(), None);
        }
        entries.insert(path.clone(), Some(file));
    }
    let mut tar = tar::Builder::new(out);
    for (path, file) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        let data = if let Some(file) = file {
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(file.mode);
            file.data.as_slice()
        } else {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o755);
            &[]
        };
        header.set_size(data.len() as u64);
        tar.append_data(&mut header, path, data)?;
    }
    tar.into_inner()
}

#[cfg(test)]
mod tests;
