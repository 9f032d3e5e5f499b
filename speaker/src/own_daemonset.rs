//! Whether this speaker is taken away from its node, or only restarted: a signal does not say, its DaemonSet does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use herald_core::Labels;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::{Api, Client};

/// A signal leaves 5 s for everything.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Between two tries at the start.
const RETRY: Duration = Duration::from_secs(10);

/// The DaemonSet that made this speaker's pod.
#[derive(Clone)]
pub(crate) struct OwnDaemonSet {
    api: Api<DaemonSet>,
    name: String,
    /// It was read once: what is missing or forbidden later was taken away since.
    seen: Arc<AtomicBool>,
}

/// What the API server says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Found {
        deleted: bool,
        node_selector: BTreeMap<String, String>,
    },
    /// It is gone.
    Missing,
    /// The speaker's account or its permissions are gone.
    Refused,
    /// No answer, or one that says nothing.
    Unknown,
}

impl OwnDaemonSet {
    /// By the name of the pod; `None` if that is no name that a DaemonSet gives.
    pub(crate) fn of_pod(client: Client, pod: &str) -> Option<Self> {
        let (name, _) = pod.rsplit_once('-')?;
        Some(Self {
            api: Api::default_namespaced(client),
            name: name.to_owned(),
            seen: Arc::default(),
        })
    }

    /// Reads it once, so that its absence means something later.
    pub(crate) async fn get_to_know(self) {
        loop {
            match self.read().await {
                Answer::Found { .. } => return self.seen.store(true, Ordering::Relaxed),
                // Another way of running it, or permissions of an older version: nothing can be told from its absence.
                Answer::Missing | Answer::Refused => return,
                Answer::Unknown => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// Whether no speaker is meant to run any more on a node with these labels. `false` in doubt.
    pub(crate) async fn leaves_out(&self, node: Labels) -> bool {
        let seen = self.seen.load(Ordering::Relaxed);
        seen && left_out(&self.read().await, &node)
    }

    async fn read(&self) -> Answer {
        match tokio::time::timeout(ANSWER_WITHIN, self.api.get_opt(&self.name)).await {
            Ok(Ok(Some(found))) => Answer::Found {
                deleted: found.metadata.deletion_timestamp.is_some(),
                node_selector: found
                    .spec
                    .and_then(|spec| spec.template.spec?.node_selector)
                    .unwrap_or_default(),
            },
            Ok(Ok(None)) => Answer::Missing,
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403) => {
                Answer::Refused
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "cannot read the own DaemonSet");
                Answer::Unknown
            }
            Err(_) => Answer::Unknown,
        }
    }
}

fn left_out(answer: &Answer, node: &Labels) -> bool {
    match answer {
        Answer::Found {
            deleted,
            node_selector,
        } => {
            let has = |(key, value): (&String, &String)| {
                node.get(key.as_str()).is_some_and(|v| **v == **value)
            };
            *deleted || !node_selector.iter().all(has)
        }
        Answer::Missing | Answer::Refused => true,
        Answer::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn a_restart_is_told_from_a_removal() {
        let node = labels(&[("kubernetes.io/os", "linux"), ("zone", "a")]);
        let found = |deleted, selector: &[_]| Answer::Found {
            deleted,
            node_selector: labels(selector),
        };
        for (answer, expected) in [
            (found(false, &[]), false),
            (found(false, &[("kubernetes.io/os", "linux")]), false),
            (found(false, &[("zone", "a"), ("zone2", "b")]), true),
            (found(false, &[("zone", "b")]), true),
            (found(true, &[]), true),
            (Answer::Missing, true),
            (Answer::Refused, true),
            (Answer::Unknown, false),
        ] {
            assert_eq!(left_out(&answer, &node), expected, "{answer:?}");
        }
    }
}
