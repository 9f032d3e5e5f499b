//! Prints Herald's CRDs as YAML documents, each after a line `---`, in a fixed order.

#![forbid(unsafe_code)]

use std::io::Write;

use herald_api::{AddressPool, L2Advertisement, Speaker};
use kube::CustomResourceExt;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout().lock();
    for crd in [AddressPool::crd(), L2Advertisement::crd(), Speaker::crd()] {
        writeln!(out, "---\n{}", serde_yaml_ng::to_string(&crd)?.trim_end())?;
    }
    Ok(())
}
