//! Sets of numbers kept as sorted, disjoint, non-touching spans: a /64 costs one entry.

use std::collections::BTreeMap;

/// A set of `u128` numbers (addresses within one family). Every operation but iteration is O(log spans) for one span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntervalSet {
    /// First number of a span → its last number.
    spans: BTreeMap<u128, u128>,
}

impl IntervalSet {
    /// Adds all numbers from `first` to `last`, both included. A reversed span adds nothing.
    pub fn insert(&mut self, first: u128, last: u128) {
        if first > last {
            return;
        }
        let (mut low, mut high) = (first, last);
        // Spans that overlap or touch the new one are swallowed by it, from the highest downwards.
        while let Some((&start, &end)) = self.spans.range(..=high.saturating_add(1)).next_back() {
            if end < low.saturating_sub(1) {
                break;
            }
            low = low.min(start);
            high = high.max(end);
            self.spans.remove(&start);
        }
        self.spans.insert(low, high);
    }

    /// Removes all numbers from `first` to `last`, both included. A reversed span removes nothing.
    pub fn remove(&mut self, first: u128, last: u128) {
        if first > last {
            return;
        }
        while let Some((&start, &end)) = self.spans.range(..=last).next_back() {
            if end < first {
                break;
            }
            self.spans.remove(&start);
            if end > last {
                self.spans.insert(last + 1, end);
            }
            if start < first {
                self.spans.insert(start, first - 1);
            }
        }
    }

    /// Whether `number` is in the set.
    pub fn contains(&self, number: u128) -> bool {
        self.spans
            .range(..=number)
            .next_back()
            .is_some_and(|(_, &last)| number <= last)
    }

    /// The lowest number.
    pub fn lowest(&self) -> Option<u128> {
        self.spans.first_key_value().map(|(&first, _)| first)
    }

    /// Whether the set holds nothing.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// How many numbers the set holds; the whole `u128` space counts as `u128::MAX`.
    pub fn count(&self) -> u128 {
        self.iter().fold(0, |sum: u128, (first, last)| {
            sum.saturating_add((last - first).saturating_add(1))
        })
    }

    /// The spans in order, both ends included.
    pub fn iter(&self) -> impl Iterator<Item = (u128, u128)> + '_ {
        self.spans.iter().map(|(&first, &last)| (first, last))
    }

    /// The lowest number in both sets.
    pub fn first_common(&self, other: &Self) -> Option<u128> {
        let (mut mine, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        while let (Some(&(a, b)), Some(&(c, d))) = (mine.peek(), theirs.peek()) {
            if a <= d && c <= b {
                return Some(a.max(c));
            }
            if b < d {
                mine.next();
            } else {
                theirs.next();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_ends_of_the_number_space_are_ordinary() {
        let mut set = IntervalSet::default();
        set.insert(0, u128::MAX);
        assert_eq!(set.count(), u128::MAX);
        set.remove(0, 0);
        set.remove(u128::MAX, u128::MAX);
        assert_eq!(set.iter().collect::<Vec<_>>(), [(1, u128::MAX - 1)]);
        set.insert(u128::MAX, u128::MAX);
        set.insert(0, 0);
        assert_eq!(set.iter().collect::<Vec<_>>(), [(0, u128::MAX)]);
        set.remove(0, u128::MAX);
        assert!(set.is_empty());
    }

    proptest! {
        #[test]
        fn behaves_as_a_plain_set(ops in prop::collection::vec((any::<bool>(), 0u8..60, 0u8..60), 0..40)) {
            let (mut set, mut model) = (IntervalSet::default(), BTreeSet::new());
            for (add, first, last) in ops {
                let (a, b) = (u128::from(first), u128::from(last));
                if add { set.insert(a, b) } else { set.remove(a, b) }
                for n in first..=last {
                    if add { model.insert(u128::from(n)); } else { model.remove(&u128::from(n)); }
                }
                prop_assert_eq!(set.count(), model.len() as u128);
                prop_assert_eq!(set.lowest(), model.first().copied());
                let listed: BTreeSet<u128> = set.iter().flat_map(|(a, b)| a..=b).collect();
                prop_assert_eq!(&listed, &model);
                let spans: Vec<_> = set.iter().collect();
                prop_assert!(spans.windows(2).all(|w| w[0].1 + 1 < w[1].0), "touching spans {:?}", spans);
            }
            for n in 0..62 {
                prop_assert_eq!(set.contains(n), model.contains(&n));
            }
        }

        #[test]
        fn finds_the_lowest_common_number(a in prop::collection::btree_set(0u128..80, 0..20), b in prop::collection::btree_set(0u128..80, 0..20)) {
            let build = |numbers: &BTreeSet<u128>| {
                let mut set = IntervalSet::default();
                for &n in numbers { set.insert(n, n); }
                set
            };
            prop_assert_eq!(build(&a).first_common(&build(&b)), a.intersection(&b).next().copied());
        }
    }
}
