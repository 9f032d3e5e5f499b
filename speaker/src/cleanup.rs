//! `--cleanup`: leaves the node's kernel as if Herald had never run there.

use anyhow::Context;

use crate::data_path::DataPath;

/// Removes the tables of this node. Addresses are on no interface and answers come from sockets, so there is nothing else.
pub(crate) fn run() -> anyhow::Result<()> {
    DataPath::cleanup().context("cleaning up")?;
    tracing::info!("removed Herald's nf_tables tables from this node");
    Ok(())
}
