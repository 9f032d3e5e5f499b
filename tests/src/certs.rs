//! The cluster's own certificate authority, and what it signs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Signs certificates for one cluster; its files are in one folder, named by what they are for.
#[derive(Debug)]
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

/// Paths of a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    pub(crate) fn at(folder: &Path, name: &str) -> Self {
        Self {
            certificate: folder.join(format!("{name}.crt")),
            key: folder.join(format!("{name}.key")),
        }
    }
}

impl Authority {
    /// Makes a new authority in `folder` (`ca.crt`, `ca.key`) and the key that signs ServiceAccount tokens
    /// (`service-account.key`, `.pub`).
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "herald-lab");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        let ca = Pair::at(folder, "ca");
        fs::write(&ca.certificate, certificate.pem())?;
        write_secret(&ca.key, &key.serialize_pem())?;
        let tokens = KeyPair::generate()?;
        write_secret(&folder.join("service-account.key"), &tokens.serialize_pem())?;
        fs::write(folder.join("service-account.pub"), tokens.public_key_pem())?;
        Ok(Self {
            folder: folder.to_owned(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Signs a server's certificate for these names and addresses.
    pub(crate) fn server(&self, name: &str, names: &[String]) -> Result<Pair> {
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(name, params)
    }

    /// Signs a client's certificate: Kubernetes takes the common name as user and the organization as group.
    pub(crate) fn client(&self, name: &str, user: &str, group: Option<&str>) -> Result<Pair> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params
                .distinguished_name
                .push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(name, params)
    }

    fn sign(&self, name: &str, mut params: CertificateParams) -> Result<Pair> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let pair = Pair::at(&self.folder, name);
        fs::write(&pair.certificate, certificate.pem())?;
        write_secret(&pair.key, &key.serialize_pem())?;
        Ok(pair)
    }
}

/// How a client proves who it is.
pub(crate) enum Credentials<'a> {
    Certificate(&'a Pair),
    Token(&'a str),
}

/// Writes a kubeconfig for one server and one user.
pub(crate) fn write_kubeconfig(
    path: &Path,
    server: &str,
    ca: &Path,
    credentials: &Credentials<'_>,
) -> Result<()> {
    let user = match credentials {
        Credentials::Certificate(pair) => serde_json::json!({
            "client-certificate": pair.certificate,
            "client-key": pair.key,
        }),
        Credentials::Token(token) => serde_json::json!({"token": token}),
    };
    // JSON is YAML, and quotes itself.
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": "lab", "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        "current-context": "lab",
    });
    write_secret(path, &serde_json::to_string_pretty(&config)?)
}

fn write_secret(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::process::run;

    #[test]
    fn openssl_accepts_what_is_signed() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::create(folder.path()).unwrap();
        let names = [
            "localhost".to_owned(),
            "127.0.0.1".to_owned(),
            "fd00:77::2".to_owned(),
        ];
        let server = authority.server("server", &names).unwrap();
        let client = authority
            .client("n1", "system:node:n1", Some("system:nodes"))
            .unwrap();
        let ca = folder.path().join("ca.crt");
        for (purpose, pair) in [("sslserver", &server), ("sslclient", &client)] {
            let verify = ["verify", "-purpose", purpose, "-CAfile"];
            run(Command::new("openssl")
                .args(verify)
                .arg(&ca)
                .arg(&pair.certificate))
            .unwrap();
        }
        let show = ["x509", "-noout", "-text", "-in"];
        let text = run(Command::new("openssl").args(show).arg(&server.certificate)).unwrap();
        assert!(text.contains("IP Address:FD00:77:0:0:0:0:0:2"), "{text}");
        assert!(text.contains("DNS:localhost"), "{text}");
    }
}
