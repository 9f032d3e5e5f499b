//! What nf_tables tells about changes: whose table, and who changed it.

use std::sync::Arc;

use crate::attribute::Attributes;
use crate::dump::{Malformed, messages};
use crate::message::{HEADER, HEADERS, MessageKind, SUBSYSTEM};
use crate::object::TableName;

/// Changes to the watched tables that others made, as far as they were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The tables, each once.
    pub tables: Vec<TableName>,
    /// Who made the last change, if the kernel said so: a name and a process number, for people only.
    pub by: Option<Arc<str>>,
    /// Notifications were lost: any table may have changed.
    pub lost: bool,
    /// The last change seen was to a watched table, and its author is yet to come.
    open: bool,
}

impl Changes {
    /// Whether nothing of interest has happened.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && !self.lost
    }

    /// Takes up a datagram of notifications. Those of the port `own` and those about other tables than `watched` are passed
    /// over at the cost of two comparisons.
    pub fn add(
        &mut self,
        datagram: &[u8],
        watched: &[TableName],
        own: u32,
    ) -> Result<(), Malformed> {
        for message in messages(datagram) {
            let message = message?;
            if message.kind >> 8 != SUBSYSTEM || message.port == own {
                continue;
            }
            let family = message.bytes.get(HEADER).copied();
            let attributes = Attributes::new(message.bytes.get(HEADERS..).unwrap_or_default());
            // One such message ends each transaction.
            if message.kind == MessageKind::NewGeneration.number() {
                if std::mem::take(&mut self.open) {
                    self.by = author(&attributes);
                }
                continue;
            }
            // Whatever the object, its first attribute is the table's name.
            let Some(name) = attributes.get(1).and_then(|a| a.text()) else {
                continue;
            };
            let changed = watched
                .iter()
                .find(|table| Some(table.family.number()) == family && *table.name == *name);
            if let Some(table) = changed {
                self.open = true;
                if !self.tables.contains(table) {
                    self.tables.push(table.clone());
                }
            }
        }
        Ok(())
    }
}

/// `NFTA_GEN_PROC_NAME` and `NFTA_GEN_PROC_PID`.
fn author(generation: &Attributes<'_>) -> Option<Arc<str>> {
    let name = generation.get(3)?.text()?;
    let process = generation.get(2)?.u32()?;
    Some(format!("{name}, process {process}").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribute::Writer;
    use crate::message::message;
    use crate::object::Family;

    const OURS: u32 = 77;

    fn event(kind: MessageKind, family: u8, port: u32, fill: impl FnOnce(&mut Writer)) -> Vec<u8> {
        let mut writer = Writer::default();
        message(&mut writer, kind.number(), 0, 9, (family, 0), fill);
        writer.bytes[12..16].copy_from_slice(&port.to_ne_bytes());
        writer.bytes
    }

    fn generation(port: u32) -> Vec<u8> {
        event(MessageKind::NewGeneration, 0, port, |w| {
            w.u32(1, 5);
            w.u32(2, 4711);
            w.text(3, "nft");
        })
    }

    fn watched() -> Vec<TableName> {
        [Family::Ipv4, Family::Ipv6]
            .map(|family| TableName::new(family, "herald"))
            .to_vec()
    }

    fn seen(datagrams: &[Vec<u8>]) -> Changes {
        let mut changes = Changes::default();
        for datagram in datagrams {
            changes.add(datagram, &watched(), OURS).unwrap();
        }
        changes
    }

    #[test]
    fn a_change_by_another_to_our_table_is_seen_with_its_author() {
        for (kind, family) in [
            (MessageKind::DeleteTable, Family::Ipv4),
            (MessageKind::DeleteElements, Family::Ipv6),
            (MessageKind::NewRule, Family::Ipv4),
        ] {
            let change = event(kind, family.number(), 5, |w| w.text(1, "herald"));
            let datagram = [change, generation(5)].concat();
            let changes = seen(&[datagram]);
            assert_eq!(changes.tables, [TableName::new(family, "herald")]);
            assert_eq!(changes.by.as_deref(), Some("nft, process 4711"));
        }
    }

    #[test]
    fn our_own_changes_and_other_tables_are_none_of_it() {
        let own = event(MessageKind::NewElements, 2, OURS, |w| w.text(1, "herald"));
        let other = event(MessageKind::NewTable, 2, 5, |w| w.text(1, "kube-proxy"));
        let inet = event(MessageKind::DeleteTable, 1, 5, |w| w.text(1, "herald"));
        let longer = event(MessageKind::DeleteTable, 2, 5, |w| w.text(1, "herald-x"));
        let all = [own, generation(OURS), other, inet, longer, generation(5)].concat();
        assert_eq!(seen(&[all]), Changes::default());
    }

    #[test]
    fn the_author_may_come_in_a_later_datagram() {
        let change = event(MessageKind::DeleteTable, 2, 5, |w| w.text(1, "herald"));
        let changes = seen(&[change, generation(5)]);
        assert_eq!(changes.by.as_deref(), Some("nft, process 4711"));
    }

    #[test]
    fn a_datagram_cut_off_is_malformed() {
        let change = event(MessageKind::DeleteTable, 2, 5, |w| w.text(1, "herald"));
        let cut = &change[..change.len() - 3];
        let mut changes = Changes::default();
        assert_eq!(changes.add(cut, &watched(), OURS), Err(Malformed));
    }
}
