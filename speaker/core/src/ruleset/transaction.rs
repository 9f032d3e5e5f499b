//! Plans as transactions, and transactions as bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use herald_core::{IpFamily, ServiceKey};
use herald_nft::{Batch, Chain, Element, Elements, Encoded, Operation, Rule, Table, TooLong};

use super::change::{Change, Shared};
use super::layout::{SetId, Structure, table};
use super::pick::Pick;
use super::rules;
use super::steps::Stage;
use crate::Frontend;

/// Changes made on behalf of one Service, or of the node.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    service: Option<ServiceKey>,
    changes: Vec<Change>,
}

/// Everything that leads from what is installed to what is wanted.
#[derive(Debug, Default)]
pub struct Plan {
    stages: BTreeMap<Stage, Vec<Group>>,
    tables: Vec<(IpFamily, Vec<Operation>)>,
    building: bool,
    /// What ends a transaction that makes a table.
    last: Vec<Operation>,
    mark: u32,
    pub(super) frontends: Vec<Frontend>,
    pub(super) shared: Vec<Shared>,
}

impl Plan {
    pub(super) fn new(mark: u32) -> Self {
        Self {
            mark,
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, stage: Stage, service: Option<&ServiceKey>, change: Change) {
        let groups = self.stages.entry(stage).or_default();
        match groups.last_mut() {
            Some(group) if group.service.as_ref() == service => group.changes.push(change),
            _ => groups.push(Group {
                service: service.cloned(),
                changes: vec![change],
            }),
        }
    }

    /// The table is as wanted, but its owner is gone: take it over.
    pub(super) fn claim(&mut self, family: IpFamily, table: Table) {
        self.tables.push((family, vec![Operation::AddTable(table)]));
    }

    /// The table is made, after deleting the one that is there.
    pub(super) fn build(&mut self, family: IpFamily, structure: &Structure, delete: bool) {
        let mut operations = Vec::new();
        if delete {
            operations.push(Operation::DeleteTable(table(family)));
        }
        operations.extend(structure.operations());
        self.tables.push((family, operations));
        self.building = true;
    }

    /// Where a table is made, its first sign of life comes with it: there is no moment in between.
    pub(super) fn start_living(&mut self, sign_of_life: Vec<Operation>) {
        if self.building {
            self.last = sign_of_life;
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty() && self.tables.is_empty()
    }

    /// Changes of all stages.
    pub fn changes(&self) -> impl Iterator<Item = (Stage, Option<&ServiceKey>, &Change)> {
        self.stages.iter().flat_map(|(stage, groups)| {
            groups.iter().flat_map(move |group| {
                let service = group.service.as_ref();
                group.changes.iter().map(move |c| (*stage, service, c))
            })
        })
    }

    /// The transactions, in order. A table that is made appears with everything in it at once.
    pub fn transactions(&mut self) -> Vec<Transaction> {
        let mut stages: Vec<Vec<Group>> = std::mem::take(&mut self.stages).into_values().collect();
        if self.building {
            stages = vec![stages.into_iter().flatten().collect()];
        }
        if stages.is_empty() && !self.tables.is_empty() {
            stages.push(Vec::new());
        }
        let mut tables = std::mem::take(&mut self.tables);
        let mut last = std::mem::take(&mut self.last);
        stages
            .into_iter()
            .map(|groups| Transaction {
                tables: std::mem::take(&mut tables),
                groups,
                // A plan that makes a table has one transaction.
                last: std::mem::take(&mut last),
                mark: self.mark,
            })
            .collect()
    }
}

/// Changes that may be committed together.
#[derive(Debug, PartialEq, Eq)]
pub struct Transaction {
    tables: Vec<(IpFamily, Vec<Operation>)>,
    groups: Vec<Group>,
    last: Vec<Operation>,
    mark: u32,
}

/// As much of a transaction as fits into one datagram. Splitting is safe at any Service's bounds: all changes of a
/// transaction are of one stage, or of a table that nothing uses yet.
#[derive(Debug)]
pub struct Part {
    groups: Range<usize>,
    with_tables: bool,
    batch: Encoded<Option<ServiceKey>>,
    elements: usize,
}

impl Part {
    /// The bytes; each message says which Service it is for.
    pub fn batch(&self) -> &Encoded<Option<ServiceKey>> {
        &self.batch
    }

    /// Elements added or deleted.
    pub fn elements(&self) -> usize {
        self.elements
    }
}

impl Transaction {
    /// The operations, each with the Service it is for.
    pub fn operations(&self) -> Vec<(Option<ServiceKey>, Operation)> {
        let tables = self.tables.iter().flat_map(|(_, operations)| operations);
        let mut all: Vec<_> = tables.map(|o| (None, o.clone())).collect();
        for group in &self.groups {
            let operations = self.operations_of(group);
            all.extend(operations.into_iter().map(|o| (group.service.clone(), o)));
        }
        all.extend(self.last.iter().map(|o| (None, o.clone())));
        all
    }

    /// The transaction in parts of about `limit` bytes.
    pub fn parts(&self, limit: usize) -> Result<Vec<Part>, TooLong> {
        let mut parts = Vec::new();
        let mut batch = Batch::new();
        for (_, operations) in &self.tables {
            for operation in operations {
                batch.push(None, operation);
            }
        }
        let mut start = 0;
        let mut finish = |batch: Batch<Option<ServiceKey>>, groups: Range<usize>| {
            let elements = batch.elements();
            let part = Part {
                with_tables: groups.start == 0,
                groups,
                elements,
                batch: batch.finish()?,
            };
            parts.push(part);
            Ok(())
        };
        for (index, group) in self.groups.iter().enumerate() {
            if batch.length() > limit {
                finish(std::mem::take(&mut batch), start..index)?;
                start = index;
            }
            for operation in self.operations_of(group) {
                batch.push(group.service.clone(), &operation);
            }
        }
        for operation in &self.last {
            batch.push(None, operation);
        }
        finish(batch, start..self.groups.len())?;
        Ok(parts)
    }

    pub(super) fn families_of(&self, part: &Part) -> impl Iterator<Item = IpFamily> {
        let tables = self.tables.iter().filter(|_| part.with_tables);
        tables.map(|(family, _)| *family)
    }

    pub(super) fn changes_of(&self, part: &Part) -> impl Iterator<Item = &Change> {
        let groups = self.groups.get(part.groups.clone()).unwrap_or_default();
        groups.iter().flat_map(|group| &group.changes)
    }

    /// Chains first; then, set by set, what goes before what comes: a changed element is deleted and added.
    fn operations_of(&self, group: &Group) -> Vec<Operation> {
        let mut operations = Vec::new();
        let mut edits: BTreeMap<(IpFamily, SetId), (Vec<Element>, Vec<Element>)> = BTreeMap::new();
        for change in &group.changes {
            match change {
                Change::Pick(family, pick, true) => operations.extend(self.make(*family, *pick)),
                Change::Pick(family, pick, false) => {
                    let chain = table(*family).chain(pick.chain());
                    operations.push(Operation::ClearChain(chain.clone()));
                    operations.push(Operation::DeleteChain(chain));
                }
                change => {
                    if let Some(edit) = change.edit() {
                        let (delete, add) = edits.entry((edit.family, edit.set)).or_default();
                        delete.extend(edit.delete);
                        add.extend(edit.add);
                    }
                }
            }
        }
        for ((family, id), (delete, add)) in edits {
            let set = table(family).set(id.name());
            let elements = |elements| Elements {
                set: set.clone(),
                elements,
            };
            if !delete.is_empty() {
                operations.push(Operation::DeleteElements(elements(delete)));
            }
            if !add.is_empty() {
                operations.push(Operation::AddElements(elements(add)));
            }
        }
        operations
    }

    fn make(&self, family: IpFamily, pick: Pick) -> Vec<Operation> {
        let table = table(family);
        let name = table.chain(pick.chain());
        let mut operations = vec![Operation::AddChain(Chain {
            name: name.clone(),
            base: None,
        })];
        let rules = rules::pick(table.family, pick, self.mark);
        operations.extend(rules.into_iter().map(|expressions| {
            Operation::AddRule(Rule {
                chain: name.clone(),
                expressions,
            })
        }));
        operations
    }
}
