//! Fields of watched objects that cannot be read: each object with such fields is told of it once, by the leader, as an Event.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use herald_core::ServiceKey;
use herald_kube::{Read, Readable};
use kube::Resource as _;
use tokio::sync::{Notify, watch};

use crate::events::Events;
use crate::index::key_of;
use crate::lease::Leadership;

/// An object that an Event can be about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject {
    pub(crate) kind: String,
    pub(crate) api_version: String,
    pub(crate) key: ServiceKey,
}

/// What an object lost.
#[derive(Debug)]
struct Loss {
    uid: Arc<str>,
    message: String,
    told: bool,
}

/// All objects with losses, whoever watches them.
#[derive(Clone, Default)]
pub(crate) struct Losses(Arc<Shared>);

#[derive(Default)]
struct Shared {
    known: Mutex<BTreeMap<Subject, Loss>>,
    news: Notify,
}

impl fmt::Debug for Losses {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_tuple("Losses").field(&*self.known()).finish()
    }
}

impl Losses {
    /// Enters what could not be read of an object; gives a message if that is news.
    pub(crate) fn note<K: Readable>(&self, object: &Read<K>) -> Option<String> {
        let subject = subject(object);
        if object.lost().is_empty() {
            self.known().remove(&subject);
            return None;
        }
        let message = message(object.lost(), object.doubtful());
        let mut known = self.known();
        if known
            .get(&subject)
            .is_some_and(|loss| loss.message == message)
        {
            return None;
        }
        let loss = Loss {
            uid: object.meta().uid.as_deref().unwrap_or_default().into(),
            message: message.clone(),
            told: false,
        };
        known.insert(subject, loss);
        drop(known);
        self.0.news.notify_one();
        Some(message)
    }

    /// The object is gone.
    pub(crate) fn forget<K: Readable>(&self, object: &Read<K>) {
        self.known().remove(&subject(object));
    }

    /// Tells each object of its losses while this replica leads; ends with the leadership's sender.
    pub(crate) async fn tell(self, events: Events, mut leadership: watch::Receiver<Leadership>) {
        loop {
            if leadership.borrow_and_update().term().is_some() {
                for (subject, uid, message) in self.untold() {
                    events.emit_unreadable(subject, uid, message);
                }
            }
            tokio::select! {
                () = self.0.news.notified() => {}
                changed = leadership.changed() => if changed.is_err() { return },
            }
        }
    }

    fn untold(&self) -> Vec<(Subject, Arc<str>, String)> {
        let mut known = self.known();
        let untold = known.iter_mut().filter(|(_, loss)| !loss.told);
        let told = untold.map(|(subject, loss)| {
            loss.told = true;
            (subject.clone(), loss.uid.clone(), loss.message.clone())
        });
        told.collect()
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Subject, Loss>> {
        // What is behind it is whole at every moment.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subject<K: Readable>(object: &Read<K>) -> Subject {
    Subject {
        kind: K::kind(&()).into_owned(),
        api_version: K::api_version(&()).into_owned(),
        key: key_of(object.meta()),
    }
}

fn message(lost: &[String], doubtful: bool) -> String {
    /// An object may be garbled throughout.
    const NAMED: usize = 8;
    let named = lost
        .iter()
        .take(NAMED)
        .map(String::as_str)
        .collect::<Vec<_>>();
    let more = match lost.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let effect = if doubtful {
        "the object is taken as it was last known, because they decide what is done"
    } else {
        "they are left out, and the rest of the object counts"
    };
    format!(
        "cannot read {}{more}: {effect}; correct them",
        named.join(", ")
    )
}

#[cfg(test)]
mod tests;
