//! The conformance suite, run against AWS in memory, for both kinds of targets.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod memory;

mod instance {
    use herald_provider::testing::conformance::block_on;

    herald_provider::conformance!(block_on, crate::memory::harness::make);
}

mod ip {
    use herald_provider::testing::conformance::block_on;

    herald_provider::conformance!(block_on, crate::memory::harness::make_ip);
}
