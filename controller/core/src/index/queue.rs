//! Keys that need a new plan.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use herald_core::ServiceKey;

/// A queue of keys in which each is at most once.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    order: VecDeque<ServiceKey>,
    present: HashSet<ServiceKey>,
}

impl Queue {
    /// Adds `key` at the end unless it is in the queue.
    pub fn push(&mut self, key: &ServiceKey) {
        if self.present.insert(key.clone()) {
            self.order.push_back(key.clone());
        }
    }

    /// Puts `keys` before all others, in their order.
    pub fn put_first(&mut self, keys: impl IntoIterator<Item = ServiceKey>) {
        let first: Vec<ServiceKey> = keys.into_iter().collect();
        if first.is_empty() {
            return;
        }
        let moved: HashSet<&ServiceKey> = first.iter().collect();
        self.order.retain(|key| !moved.contains(key));
        for key in first.into_iter().rev() {
            self.present.insert(key.clone());
            self.order.push_front(key);
        }
    }

    /// Takes the first key.
    pub fn pop(&mut self) -> Option<ServiceKey> {
        let key = self.order.pop_front()?;
        self.present.remove(&key);
        Some(key)
    }

    /// How many keys wait.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

/// Keys that need a new plan.
#[derive(Clone, Debug, Default)]
pub struct Dirty {
    /// Services whose allocation may have to change.
    pub services: Queue,
    /// Services whose condition Announced may have to change.
    pub announced: Queue,
    /// Pools whose status may have to change.
    pub pools: BTreeSet<Arc<str>>,
}
