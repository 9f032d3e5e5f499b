use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Wall-clock time in whole seconds since 1970 (UTC).
///
/// Wall-clock, because what a provider remembers (when an old load balancer may go) is kept in the cloud and has
/// to mean the same after a restart on another node. It only ever delays a removal, so a clock step is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// This time plus `duration`, rounded up to whole seconds.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let rounded = duration
            .as_secs()
            .saturating_add(u64::from(duration.subsec_nanos() > 0));
        Self(self.0.saturating_add(rounded))
    }

    /// How long until `later`; zero when it is past.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_secs(later.0.saturating_sub(self.0))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
