//! The conformance suite, run against the in-memory provider.

use herald_provider::testing::conformance::block_on;
use herald_provider::testing::fake::FakeHarness;

herald_provider::conformance!(block_on, FakeHarness::make);
