//! Layer 2 on real sockets: a switch, a client, and nodes that each run the speaker's announcer as a process of its own.
//! Needs root, arping, ndisc6 and tcpdump.

mod netns_layer2_lab;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use netns_layer2_lab::scenarios::{answers, frames, links, moves};
use netns_layer2_lab::{Lab, node, skipped};

type Scenario = (&'static str, fn(&Lab) -> anyhow::Result<()>);

fn main() -> ExitCode {
    if std::env::var_os(node::CHILD).is_some() {
        return node::main();
    }
    let arguments = Arguments::from_args();
    let scenarios: [Scenario; 16] = [
        ("arp_is_answered_by_one", answers::arp),
        ("ndp_is_answered_by_one", answers::ndp),
        ("detection_of_duplicates_is_answered", answers::detection),
        ("take_over_by_arp", frames::arp_take_over),
        ("take_over_by_ndp", frames::ndp_take_over),
        ("malformed_frames_are_ignored", frames::malformed),
        ("moves_never_double", moves::planned),
        ("a_paused_owner_stays_silent", moves::paused),
        ("two_owners_settle", moves::two_owners),
        ("a_healed_partition_leaves_one", moves::partition),
        ("a_restart_in_place_is_quick", moves::restart),
        ("link_loss_and_return", links::loss_and_return),
        ("a_new_hardware_address", links::new_hardware_address),
        ("foreign_hosts_keep_theirs", links::foreign_host),
        ("links_are_followed", links::followed),
        (
            "a_late_interface_hears_solicitations",
            links::late_interface,
        ),
    ];
    let trials = scenarios.map(|(name, scenario)| {
        Trial::test(name, move || {
            let lab = Lab::new(name)?;
            scenario(&lab).map_err(|error| format!("{error:#}\n{}", lab.describe()).into())
        })
        .with_ignored_flag(skipped())
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}
