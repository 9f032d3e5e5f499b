//! The times of announcing. They hang together; the assertions say how.

use std::time::Duration;

/// Probes in a series. Nobody answering any of them means that nobody holds the address.
pub const PROBES: u8 = 3;
/// From one probe to the next, and from the last to the decision.
pub const PROBE_INTERVAL: Duration = Duration::from_millis(80);
/// How often the driver reads its sockets when nothing happens.
pub const TICK: Duration = Duration::from_millis(100);
/// Not having read for longer than this, a holder answers nothing until it has read what it missed.
pub const DEAF: Duration = Duration::from_millis(200);
/// The right to answer, from when everything received had last been read.
pub const RIGHT: Duration = Duration::from_millis(1500);

/// Announcements after a take-over, each with the wait that follows it.
pub(super) const ROUNDS: [Duration; 3] = [
    Duration::from_millis(250),
    Duration::from_millis(750),
    REFRESH,
];
/// Between announcements ever after, more or less; for switches that forget.
pub(super) const REFRESH: Duration = Duration::from_secs(60);
/// After a take-over a holder looks for a second one for this long, ...
pub(super) const WATCH: Duration = Duration::from_secs(3);
/// ... this often.
pub(super) const WATCH_PROBE: Duration = Duration::from_millis(175);
/// After a frame that could not be sent.
pub(super) const SEND_RETRY: Duration = Duration::from_millis(100);
/// A holder announces again when another claims its address, and gives up if that has not helped after this ...
pub(super) const DEFENCE_GRACE: Duration = Duration::from_millis(500);
/// ... and the claims come within this (`DEFEND_INTERVAL` of RFC 5227).
pub(super) const DEFENCE: Duration = Duration::from_secs(10);
/// Between the first probes of many new targets.
pub(super) const PACE: Duration = Duration::from_micros(500);

const SLOW_PROBE: Duration = Duration::from_secs(10);
/// Holders of many addresses spread their slow probes: at most fifty a second for the whole node.
const SLOW_PROBE_EACH: Duration = Duration::from_millis(20);

// A holder that missed a whole series knows that it may have.
const _: () = assert!(DEAF.as_millis() < PROBES as u128 * PROBE_INTERVAL.as_millis());
// One that ran on time never thinks so.
const _: () = assert!(TICK.as_millis() < DEAF.as_millis());

/// How often a holder of `addresses` addresses looks for a second holder of one of them.
pub(super) fn slow_probe(addresses: usize) -> Duration {
    let each = SLOW_PROBE_EACH.saturating_mul(u32::try_from(addresses).unwrap_or(u32::MAX));
    SLOW_PROBE.max(each)
}

/// How long to wait before probing again when `refusals` series in a row met another host: soon at first, because
/// the other is mostly a speaker about to withdraw, then slowly.
pub(super) fn backoff(refusals: u32) -> Duration {
    Duration::from_millis(match refusals {
        0 | 1 => 100,
        2 => 150,
        3..=10 => 250,
        _ => 1000,
    })
}
