//! Condition types and reasons that Herald writes. A reason is a word that a user can search the documentation for; the
//! message beside it says what to do.

/// Conditions of a Service (`status.conditions`). `herald_controller_core::Reason` is the same list with the policy behind it.
pub mod service {
    /// Whether the Service has every address it asked for.
    pub const ALLOCATED: &str = "heraldlb.io/Allocated";
    /// Whether a speaker announces the Service's addresses, and which.
    pub const ANNOUNCED: &str = "heraldlb.io/Announced";
    /// Whether the pools still hold the Service's addresses. Absent where nothing is wrong.
    pub const ADDRESS_IN_POOL: &str = "heraldlb.io/AddressInPool";

    /// Reasons of [`ALLOCATED`].
    pub mod allocated {
        /// True: the Service has what it asked for.
        pub const ALLOCATED: &str = "Allocated";
        /// It keeps the address it has, because what it asks for now cannot be had.
        pub const REQUEST_NOT_MET: &str = "RequestNotMet";
        /// No pool may serve this Service: none exists, or none is allotted to its namespace and labels.
        pub const NO_POOL: &str = "NoPool";
        /// The pool that the Service names does not exist.
        pub const POOL_NOT_FOUND: &str = "PoolNotFound";
        /// The pool that the Service names is allotted to other Services, is disabled or not usable.
        pub const POOL_NOT_ALLOWED: &str = "PoolNotAllowed";
        /// Every address of the pools in question is taken.
        pub const POOL_EXHAUSTED: &str = "PoolExhausted";
        /// The address that the Service asks for belongs to another Service.
        pub const ADDRESS_TAKEN: &str = "AddressTaken";
        /// No pool that may serve the Service holds the address it asks for.
        pub const ADDRESS_NOT_IN_POOL: &str = "AddressNotInPool";
        /// The pools in question have no addresses of a family the Service needs.
        pub const FAMILY_NOT_AVAILABLE: &str = "FamilyNotAvailable";
        /// The request cannot be read, or contradicts itself or the Service's families.
        pub const INVALID_REQUEST: &str = "InvalidRequest";
        /// The status holds something that is not from a pool; it is left alone.
        pub const FOREIGN_STATUS: &str = "ForeignStatus";
    }

    /// Reasons of [`ANNOUNCED`].
    pub mod announced {
        /// True: the message names the speaker.
        pub const ANNOUNCED: &str = "Announced";
        /// No L2Advertisement selects the pool and the Service.
        pub const NO_ADVERTISEMENT: &str = "NoAdvertisement";
        /// No node may own the address; the message says why for each.
        pub const NO_ELIGIBLE_NODE: &str = "NoEligibleNode";
        /// A speaker should own the address and has not said so yet.
        pub const PENDING: &str = "Pending";
        /// A host that is not Herald's answers for the address.
        pub const ADDRESS_CONFLICT: &str = "AddressConflict";
    }

    /// Reasons of [`ADDRESS_IN_POOL`](super::service::ADDRESS_IN_POOL).
    pub mod address_in_pool {
        /// False: the pool exists and no longer holds the address. The address is kept.
        pub const POOL_CHANGED: &str = "PoolChanged";
        /// False: the pool is gone. The address is kept.
        pub const POOL_DELETED: &str = "PoolDeleted";
    }
}

/// Conditions of an AddressPool.
pub mod address_pool {
    /// Whether the pool can give addresses.
    pub const READY: &str = "Ready";

    /// True: every range is understood and the pool's own.
    pub const VALID: &str = "Valid";
    /// A range cannot be read or is reversed; the pool gives no new addresses until it is mended.
    pub const INVALID: &str = "Invalid";
    /// An older pool holds some of the same addresses; this one gives no new addresses until they differ.
    pub const OVERLAP: &str = "Overlap";
}

/// Conditions of a Speaker.
pub mod speaker {
    /// Whether the speaker can announce and forward.
    pub const READY: &str = "Ready";
    /// Whether the node's rules are those the Services ask for.
    pub const DATA_PATH_SYNCED: &str = "DataPathSynced";
    /// Whether the node's kernel settings let traffic through; the message names the setting and the remedy.
    pub const KERNEL_SETTINGS: &str = "KernelSettings";

    /// [`READY`] is True.
    pub const RUNNING: &str = "Running";
    /// [`READY`] is False: the first lists from the API server are not complete.
    pub const STARTING: &str = "Starting";
    /// [`READY`] is False: the speaker ends because its node goes; other nodes take its addresses at once.
    pub const DRAINING: &str = "Draining";
    /// [`READY`] is False: no interface can carry announcements.
    pub const NO_INTERFACE: &str = "NoInterface";
    /// [`READY`] is False: the node's rules are not in place.
    pub const DATA_PATH_NOT_SYNCED: &str = "DataPathNotSynced";
    /// [`DATA_PATH_SYNCED`] is True: the rules are in the kernel.
    pub const SYNCED: &str = "Synced";
    /// [`DATA_PATH_SYNCED`] is False: no rules were written yet.
    pub const NOT_SYNCED: &str = "NotSynced";
    /// [`DATA_PATH_SYNCED`] is False: the kernel refused the rules; the message says why.
    pub const REFUSED: &str = "Refused";
    /// [`DATA_PATH_SYNCED`] is True: `--service-proxy off`, another proxy forwards.
    pub const OFF: &str = "Off";
    /// [`KERNEL_SETTINGS`] is True.
    pub const SUITABLE: &str = "Suitable";
    /// [`KERNEL_SETTINGS`] is False: a setting stands in the way.
    pub const UNSUITABLE: &str = "Unsuitable";
}
