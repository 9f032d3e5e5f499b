use std::io::Read;

use super::*;

fn image(name: &str, user: &str) -> Image {
    let program = File {
        mode: 0o755,
        data: b"\x7fELF program".to_vec(),
    };
    let passwd = File {
        mode: 0o644,
        data: b"root:x:0:0::/:\n".to_vec(),
    };
    Image {
        name: name.to_owned(),
        files: BTreeMap::from([
            ("program".to_owned(), program),
            ("etc/passwd".to_owned(), passwd),
            ("etc/ssl/certs/ca.crt".to_owned(), file(b"ca".to_vec())),
        ]),
        entrypoint: vec!["/program".to_owned()],
        user: user.to_owned(),
    }
}

fn archive(images: &[Image]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_archive(images, &mut bytes).unwrap();
    bytes
}

/// Name, type, mode, modification time and content of every entry, in order.
fn entries(bytes: &[u8]) -> Vec<(String, tar::EntryType, u32, u64, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let read = |entry: io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let header = entry.header();
        let (mode, mtime) = (header.mode().unwrap(), header.mtime().unwrap());
        (path, header.entry_type(), mode, mtime, data)
    };
    archive.entries().unwrap().map(read).collect()
}

fn files(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    entries(bytes)
        .into_iter()
        .map(|(path, _, _, _, data)| (path, data))
        .collect()
}

/// The blob a descriptor points to, its digest and size checked.
fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"]
        .as_str()
        .unwrap()
        .strip_prefix("sha256:")
        .unwrap();
    let data = &files[&format!("blobs/sha256/{digest}")];
    assert_eq!(sha256(data), digest);
    assert_eq!(descriptor["size"], data.len());
    data
}

fn json_blob(files: &BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Value {
    serde_json::from_slice(blob(files, descriptor)).unwrap()
}

#[test]
fn digests_lead_from_the_index_to_the_files() {
    let files = files(&archive(&[image("localhost/a:dev", "65532")]));
    assert_eq!(files["oci-layout"], br#"{"imageLayoutVersion":"1.0.0"}"#);
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let descriptor = &index["manifests"][0];
    assert_eq!(
        descriptor["annotations"]["io.containerd.image.name"],
        "localhost/a:dev"
    );
    let manifest = json_blob(&files, descriptor);
    let config = json_blob(&files, &manifest["config"]);
    assert_eq!(config["config"]["User"], "65532");
    assert_eq!(config["config"]["Entrypoint"], json!(["/program"]));

    let mut tar = Vec::new();
    let layer = blob(&files, &manifest["layers"][0]);
    flate2::read::GzDecoder::new(layer)
        .read_to_end(&mut tar)
        .unwrap();
    assert_eq!(
        config["rootfs"]["diff_ids"],
        json!([format!("sha256:{}", sha256(&tar))])
    );
    let layout: Vec<_> = entries(&tar)
        .into_iter()
        .map(|(path, kind, mode, mtime, _)| (path, kind, mode, mtime))
        .collect();
    let wanted = [
        ("etc/", tar::EntryType::Directory, 0o755),
        ("etc/passwd", tar::EntryType::Regular, 0o644),
        ("etc/ssl/", tar::EntryType::Directory, 0o755),
        ("etc/ssl/certs/", tar::EntryType::Directory, 0o755),
        ("etc/ssl/certs/ca.crt", tar::EntryType::Regular, 0o644),
        ("program", tar::EntryType::Regular, 0o755),
    ];
    assert_eq!(
        layout,
        wanted.map(|(path, kind, mode)| (path.to_owned(), kind, mode, 0))
    );
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let images = [image("localhost/a:dev", "0")];
    assert_eq!(archive(&images), archive(&images));
    assert_ne!(archive(&images), archive(&[image("localhost/b:dev", "0")]));
}

#[test]
fn images_of_one_archive_share_their_layer() {
    let files = files(&archive(&[
        image("localhost/a:dev", "0"),
        image("localhost/b:1", "1"),
    ]));
    let index: Value = serde_json::from_slice(&files["index.json"]).unwrap();
    let layers: Vec<Value> = (0..2)
        .map(|at| json_blob(&files, &index["manifests"][at])["layers"][0].clone())
        .collect();
    assert_eq!(layers[0], layers[1]);
    // Two folders, layout, index, one layer, two configs, two manifests.
    assert_eq!(files.len(), 9);
}

#[test]
fn long_paths_survive() {
    let mut long = image("localhost/a:dev", "0");
    let path = format!("{}/{}", "d".repeat(120), "f".repeat(180));
    long.files.insert(path.clone(), file(b"x".to_vec()));
    let mut tar = Vec::new();
    tar = write_tar(&long.files, tar).unwrap();
    assert_eq!(files(&tar)[&path], b"x");
}
