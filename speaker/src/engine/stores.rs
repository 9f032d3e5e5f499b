//! Which kinds have been listed completely, and what a complete list says about deletions (I6).

use std::collections::HashSet;
use std::fmt;
use std::hash::Hash;

/// How far the watch of one kind has come.
#[derive(Debug)]
pub(super) struct Store<K> {
    /// Plural name, for messages.
    pub(super) name: &'static str,
    /// Every cluster has objects of this kind, so a list without any is not believed: it neither completes the first
    /// list nor deletes anything.
    never_empty: bool,
    listed: bool,
    listing: Option<HashSet<K>>,
}

/// What [`Store::finish`] found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Listed {
    /// Objects not in this set are gone.
    Holds,
    /// The list is not to be believed.
    Doubtful,
}

impl<K: Eq + Hash + Clone + fmt::Debug> Store<K> {
    pub(super) fn new(name: &'static str, never_empty: bool) -> Self {
        Self {
            name,
            never_empty,
            listed: false,
            listing: None,
        }
    }

    /// The first list has been read to its end.
    pub(super) fn synced(&self) -> bool {
        self.listed
    }

    pub(super) fn begin(&mut self) {
        self.listing = Some(HashSet::new());
    }

    pub(super) fn saw(&mut self, key: &K) {
        if let Some(listing) = &mut self.listing {
            listing.insert(key.clone());
        }
    }

    /// Ends a list. `known` is asked which of the keys it holds are not in the list.
    pub(super) fn finish<'a>(&mut self, known: impl Iterator<Item = &'a K>) -> (Listed, Vec<K>)
    where
        K: 'a,
    {
        let seen = self.listing.take().unwrap_or_default();
        if self.never_empty && seen.is_empty() {
            tracing::error!(
                kind = self.name,
                "the API server lists none of these, which cannot be; what was known is kept"
            );
            return (Listed::Doubtful, Vec::new());
        }
        self.listed = true;
        let gone = known.filter(|key| !seen.contains(key)).cloned().collect();
        (Listed::Holds, gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_list_of_what_every_cluster_has_deletes_nothing() {
        let mut store = Store::new("services", true);
        store.begin();
        assert_eq!(store.finish([1, 2].iter()), (Listed::Doubtful, vec![]));
        assert!(!store.synced());
        store.begin();
        store.saw(&1);
        assert_eq!(store.finish([1, 2].iter()), (Listed::Holds, vec![2]));
        assert!(store.synced());
        store.begin();
        assert_eq!(store.finish([1].iter()), (Listed::Doubtful, vec![]));
    }

    #[test]
    fn an_empty_list_of_what_users_make_deletes_what_it_lacks() {
        let mut store = Store::new("addresspools", false);
        store.begin();
        assert_eq!(store.finish([7].iter()), (Listed::Holds, vec![7]));
        assert!(store.synced());
    }
}
