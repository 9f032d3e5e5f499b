//! Links and kernel settings as observations, whenever either changes.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::netconf::Netconf;
use super::{KernelSettings, check};
use crate::engine::Observation;
use crate::link::Links;

/// Settings are read again after this time whatever the kernel says.
const CHECK_EVERY: Duration = Duration::from_secs(300);
/// Without notices from the kernel.
const CHECK_BLIND: Duration = Duration::from_secs(10);

/// Passes links on, and with `check_settings` the settings after each change of either, until nobody listens.
pub async fn follow(
    mut links: watch::Receiver<Option<Links>>,
    observations: mpsc::Sender<Observation>,
    check_settings: bool,
) {
    let mut notices = None;
    let mut last = KernelSettings::default();
    loop {
        if check_settings && notices.is_none() {
            notices = Netconf::open()
                .inspect_err(|error| {
                    tracing::warn!(%error, "cannot follow kernel settings: reading them every {CHECK_BLIND:?}");
                })
                .ok();
        }
        let now = links.borrow_and_update().clone();
        if let Some(now) = now {
            let known = now.clone();
            if observations.send(Observation::Links(now)).await.is_err() {
                return;
            }
            if check_settings {
                let settings = check(&known).await;
                if settings != last {
                    tell(&settings, &last);
                    last = settings.clone();
                }
                let observation = Observation::KernelSettings(settings);
                if observations.send(observation).await.is_err() {
                    return;
                }
            }
        }
        let pause = if check_settings && notices.is_none() {
            CHECK_BLIND
        } else {
            CHECK_EVERY
        };
        let changed = async {
            match &mut notices {
                Some(notices) => notices.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = links.changed() => if changed.is_err() { return },
            changed = changed => if let Err(error) = changed {
                tracing::warn!(%error, "lost sight of kernel settings; looking anew");
                notices = None;
                tokio::time::sleep(BLINK).await;
            },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// After the netlink socket failed.
const BLINK: Duration = Duration::from_secs(1);

fn tell(now: &KernelSettings, before: &KernelSettings) {
    for problem in now.problems.iter().filter(|p| !before.problems.contains(p)) {
        tracing::warn!("{problem}");
    }
    if now.problems.is_empty() && !before.problems.is_empty() {
        tracing::info!("the kernel settings are well again");
    }
}
