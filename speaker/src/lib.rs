//! The speaker: one per node.

pub mod data_path;
