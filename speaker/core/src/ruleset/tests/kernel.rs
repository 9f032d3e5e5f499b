//! nf_tables in miniature: takes the operations of a transaction, refuses what the kernel refuses, and can be listed.

use std::collections::BTreeMap;
use std::sync::Arc;

use herald_core::IpFamily;
use herald_nft::{
    Chain, Data, Element, Expression, Family, Listing, Operation, Set, Table, Value, Verdict,
};

type Elements = BTreeMap<Vec<u8>, Element>;

#[derive(Clone, Debug, Default)]
struct Contents {
    table: Option<Table>,
    chains: BTreeMap<Arc<str>, (Chain, Vec<Vec<Expression>>)>,
    sets: BTreeMap<Arc<str>, (Set, Elements)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Kernel {
    tables: BTreeMap<Family, Contents>,
}

impl Kernel {
    /// One transaction; panics where the kernel would refuse it.
    pub(super) fn commit(&mut self, operations: impl IntoIterator<Item = Operation>) {
        for operation in operations {
            self.apply(operation);
        }
        for contents in self.tables.values() {
            contents.check();
        }
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::AddTable(table) => {
                let contents = self.tables.entry(table.name.family).or_default();
                contents.table = Some(table);
            }
            Operation::DeleteTable(table) => {
                assert!(self.tables.remove(&table.family).is_some(), "no {table:?}");
            }
            Operation::AddChain(chain) => {
                let chains = &mut self.table(chain.name.table.family).chains;
                let name = chain.name.name.clone();
                let old = chains.insert(name, (chain, Vec::new()));
                assert!(old.is_none(), "chain made twice: {old:?}");
            }
            Operation::ClearChain(chain) => {
                let chains = &mut self.table(chain.table.family).chains;
                chains.get_mut(&chain.name).expect("chain").1.clear();
            }
            Operation::DeleteChain(chain) => {
                let contents = self.table(chain.table.family);
                let (_, rules) = contents.chains.remove(&chain.name).expect("chain");
                assert!(rules.is_empty(), "{chain:?} has rules");
            }
            Operation::AddSet(set) => {
                let sets = &mut self.table(set.name.table.family).sets;
                let old = sets.insert(set.name.name.clone(), (set, Elements::new()));
                assert!(old.is_none(), "set made twice: {old:?}");
            }
            Operation::AddRule(rule) => {
                let chains = &mut self.table(rule.chain.table.family).chains;
                let (_, rules) = chains.get_mut(&rule.chain.name).expect("chain");
                rules.push(rule.expressions);
            }
            Operation::AddElements(added) => {
                let sets = &mut self.table(added.set.table.family).sets;
                let (set, elements) = sets.get_mut(&added.set.name).expect("set");
                for element in added.elements {
                    check_shape(set, &element);
                    let old = elements.get(&element.key);
                    let same = old.is_none_or(|old| *old == element);
                    assert!(same, "{}: {old:?} → {element:?}", set.name.name);
                    elements.insert(element.key.clone(), element);
                }
            }
            Operation::FlushSet(set) => {
                let sets = &mut self.table(set.table.family).sets;
                sets.get_mut(&set.name).expect("set").1.clear();
            }
            Operation::DeleteElements(deleted) => {
                let sets = &mut self.table(deleted.set.table.family).sets;
                let (set, elements) = sets.get_mut(&deleted.set.name).expect("set");
                for element in deleted.elements {
                    let old = elements.remove(&element.key);
                    let same = old.as_ref() == Some(&element);
                    assert!(same, "{}: {element:?}, but {old:?}", set.name.name);
                }
            }
        }
    }

    fn table(&mut self, family: Family) -> &mut Contents {
        self.tables.get_mut(&family).expect("table")
    }

    /// As the dump of both tables would show it.
    pub(super) fn listings(&self) -> BTreeMap<IpFamily, Listing> {
        [(IpFamily::V4, Family::Ipv4), (IpFamily::V6, Family::Ipv6)]
            .into_iter()
            .map(|(ip, family)| {
                let listing = self.tables.get(&family).map(Contents::listing);
                (ip, listing.unwrap_or_default())
            })
            .collect()
    }

    /// All elements of a set, by key.
    pub(super) fn elements(&self, family: Family, set: &str) -> Elements {
        let contents = self.tables.get(&family);
        let found = contents.and_then(|c| c.sets.get(set));
        found
            .map(|(_, elements)| elements.clone())
            .unwrap_or_default()
    }
}

fn check_shape(set: &Set, element: &Element) {
    let length = usize::try_from(set.key.length()).unwrap();
    assert_eq!(element.key.len(), length, "key of {}", set.name.name);
    match (&set.value, &element.data) {
        (None, None) | (Some(Value::Verdict), Some(Data::Verdict(_))) => {}
        (Some(Value::Fields(fields)), Some(Data::Bytes(bytes))) => {
            assert_eq!(bytes.len(), usize::try_from(fields.length()).unwrap());
        }
        other => panic!("{}: {other:?}", set.name.name),
    }
}

impl Contents {
    /// What the kernel checks at the end of a transaction.
    fn check(&self) {
        let exists = |chain: &Arc<str>| assert!(self.chains.contains_key(chain), "no {chain}");
        for (_, elements) in self.sets.values() {
            for element in elements.values() {
                if let Some(Data::Verdict(Verdict::Goto(chain))) = &element.data {
                    exists(chain);
                }
            }
        }
        for (_, rules) in self.chains.values() {
            for expression in rules.iter().flatten() {
                match expression {
                    Expression::Verdict(Verdict::Goto(chain) | Verdict::Jump(chain)) => {
                        exists(chain);
                    }
                    Expression::Lookup { set, .. } => {
                        assert!(self.sets.contains_key(set), "no {set}");
                    }
                    _ => {}
                }
            }
        }
        // Ranges of concatenations must not overlap.
        if let Some((_, ranges)) = self.sets.get("source-ranges") {
            let mut last: Option<&Element> = None;
            for range in ranges.values() {
                let clear = last.is_none_or(|l| l.key_end.as_ref() < Some(&range.key));
                assert!(clear, "{last:?} overlaps {range:?}");
                last = Some(range);
            }
        }
    }

    fn listing(&self) -> Listing {
        let rules = self.chains.iter();
        Listing {
            table: self.table.clone(),
            chains: self
                .chains
                .values()
                .map(|(chain, _)| chain.clone())
                .collect(),
            rules: rules
                .map(|(name, (_, rules))| (name.clone(), rules.clone()))
                .collect(),
            sets: self.sets.values().map(|(set, _)| set.clone()).collect(),
            elements: self
                .sets
                .iter()
                .map(|(name, (_, elements))| (name.clone(), elements.values().cloned().collect()))
                .collect(),
            unknown: false,
        }
    }
}
