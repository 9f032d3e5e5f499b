//! Condition types and reasons that Herald writes. A reason is a word that a user can search the documentation for; the
//! message beside it says what to do. Those of a Service are `herald_controller_core::Reason`.

/// Conditions of an AddressPool.
pub mod address_pool {
    /// Whether the pool can give addresses.
    pub const READY: &str = "Ready";
}

/// Conditions of a Speaker.
pub mod speaker {
    /// Whether the speaker can announce and forward.
    pub const READY: &str = "Ready";
    /// Whether the node's rules are those the Services ask for.
    pub const DATA_PATH_SYNCED: &str = "DataPathSynced";
    /// Whether the node's kernel settings let traffic through; the message names the setting and the remedy.
    pub const KERNEL_SETTINGS: &str = "KernelSettings";
    /// Whether probes and metrics are served. Nothing else depends on it.
    pub const ADMIN_SERVER: &str = "AdminServer";

    /// [`READY`] is True.
    pub const RUNNING: &str = "Running";
    /// [`READY`] is True, but the Node's conditions speak against it: it keeps its addresses until a sound node can take them.
    pub const NODE_NOT_READY: &str = "NodeNotReady";
    /// [`READY`] is False: the first lists from the API server are not complete.
    pub const STARTING: &str = "Starting";
    /// [`READY`] is False: the speaker ends because its node goes; other nodes take its addresses at once.
    pub const DRAINING: &str = "Draining";
    /// [`READY`] is False: no interface can carry announcements.
    pub const NO_INTERFACE: &str = "NoInterface";
    /// [`READY`] is False: the node's rules are not in place.
    pub const DATA_PATH_NOT_SYNCED: &str = "DataPathNotSynced";
    /// [`READY`] is Unknown, which the controller says: the speaker has been silent for too long. It says Ready anew itself.
    pub const SILENT: &str = "Silent";
    /// [`DATA_PATH_SYNCED`] is True: the rules are in the kernel.
    pub const SYNCED: &str = "Synced";
    /// [`DATA_PATH_SYNCED`] is False: no rules were written yet.
    pub const NOT_SYNCED: &str = "NotSynced";
    /// [`DATA_PATH_SYNCED`] is False: the kernel refused the rules; the message says why.
    pub const REFUSED: &str = "Refused";
    /// [`DATA_PATH_SYNCED`] is False: another program changed the rules; they are being mended.
    pub const DAMAGED: &str = "Damaged";
    /// [`DATA_PATH_SYNCED`] is True: `--service-proxy off`, another proxy forwards.
    pub const OFF: &str = "Off";
    /// [`KERNEL_SETTINGS`] is True.
    pub const SUITABLE: &str = "Suitable";
    /// [`KERNEL_SETTINGS`] is False: a setting stands in the way.
    pub const UNSUITABLE: &str = "Unsuitable";
    /// [`ADMIN_SERVER`] is True.
    pub const LISTENING: &str = "Listening";
    /// [`ADMIN_SERVER`] is False: the port cannot be had; the message says why.
    pub const NOT_LISTENING: &str = "NotListening";
}
