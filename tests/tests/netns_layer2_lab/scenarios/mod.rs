pub(crate) mod answers;
pub(crate) mod frames;
pub(crate) mod links;
pub(crate) mod moves;
