//! Reading a table of an earlier run: its elements, if its structure is the one this program would make.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use herald_core::{AddressRange, IpFamily};
use herald_nft::{Data, Element, Listing, table_flag};
use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::change::{Entry, NodeSet, Reader, Rows, Shared};
use super::installed::Installed;
use super::layout::{SetId, Structure};
use super::pick::{Pick, Target};
use super::rules;
use crate::Frontend;

/// Why a table is not taken over as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Its flags differ.
    #[error("its flags are {0:#x}")]
    Flags(u32),
    /// A set is missing, differs, or is not ours.
    #[error("set \"{0}\" differs")]
    Set(String),
    /// A chain or its rules are missing, differ, or are not ours.
    #[error("chain \"{0}\" differs")]
    Chain(String),
    /// It holds something that is not of our making.
    #[error("it holds something of a kind that we do not make")]
    Unknown,
    /// An element makes no sense.
    #[error("an element of \"{0}\" cannot be read")]
    Element(&'static str),
}

/// What the table holds.
pub(super) fn read(
    family: IpFamily,
    listing: &Listing,
    structure: &Structure,
    mark: u32,
) -> Result<Installed, Mismatch> {
    let flags = listing.table.as_ref().map_or(0, |table| table.flags);
    // The kernel takes the owner's bit away when its socket closes.
    if (flags ^ structure.table.flags) & !table_flag::OWNER != 0 {
        return Err(Mismatch::Flags(flags));
    }
    if listing.unknown {
        return Err(Mismatch::Unknown);
    }
    check_sets(listing, structure)?;
    let mut installed = Installed::default();
    for pick in check_chains(listing, structure, mark)? {
        installed.picks.insert((family, pick), 0);
    }
    for id in SetId::ALL {
        let elements = listing
            .elements
            .get(id.name())
            .map_or(&[][..], Vec::as_slice);
        read_set(family, id, elements, &mut installed)
            .ok_or_else(|| Mismatch::Element(id.name()))?;
    }
    Ok(installed)
}

fn check_sets(listing: &Listing, structure: &Structure) -> Result<(), Mismatch> {
    let found: HashMap<_, _> = listing.sets.iter().map(|s| (&s.name, s)).collect();
    let wanted: HashMap<_, _> = structure.sets.iter().map(|s| (&s.name, s)).collect();
    let names: BTreeSet<_> = found.keys().chain(wanted.keys()).copied().collect();
    let differs = names.into_iter().find(|n| found.get(n) != wanted.get(n));
    differs.map_or(Ok(()), |name| Err(Mismatch::Set(name.name.to_string())))
}

/// The pick chains there are, if every chain is a fixed one or a pick chain, with the rules it should have.
fn check_chains(
    listing: &Listing,
    structure: &Structure,
    mark: u32,
) -> Result<Vec<Pick>, Mismatch> {
    let family = structure.table.name.family;
    let mut fixed: BTreeMap<&Arc<str>, _> = structure
        .chains
        .iter()
        .map(|(chain, rules)| (&chain.name.name, (chain, rules)))
        .collect();
    let none = Vec::new();
    let mut picks = Vec::new();
    for chain in &listing.chains {
        let name = &chain.name.name;
        let rules = listing.rules.get(name).unwrap_or(&none);
        let same = if let Some((wanted, expected)) = fixed.remove(name) {
            wanted == chain && expected.iter().map(|r| &r.expressions).eq(rules)
        } else if let Some(pick) = Pick::parse(name) {
            picks.push(pick);
            chain.base.is_none() && rules::pick(family, pick, mark) == *rules
        } else {
            false
        };
        if !same {
            return Err(Mismatch::Chain(name.to_string()));
        }
    }
    match fixed.into_keys().next() {
        None => Ok(picks),
        Some(missing) => Err(Mismatch::Chain(missing.to_string())),
    }
}

/// `None` where an element makes no sense.
fn read_set(
    family: IpFamily,
    id: SetId,
    elements: &[Element],
    installed: &mut Installed,
) -> Option<()> {
    match id {
        SetId::Services => read_entries(family, false, Entry::Main, elements, installed),
        SetId::Guarded => read_entries(family, false, Entry::Guarded, elements, installed),
        SetId::ServicesShort => read_entries(family, false, Entry::Short, elements, installed),
        SetId::NodePorts => read_entries(family, true, Entry::Main, elements, installed),
        SetId::NodePortsShort => read_entries(family, true, Entry::Short, elements, installed),
        SetId::Endpoints => read_rows(family, false, Rows::Endpoints, elements, installed),
        SetId::EndpointsLocal => read_rows(family, false, Rows::Local, elements, installed),
        SetId::NodePortEndpoints => read_rows(family, true, Rows::Endpoints, elements, installed),
        SetId::NodePortEndpointsLocal => read_rows(family, true, Rows::Local, elements, installed),
        SetId::SourceRanges => {
            for element in elements {
                let (frontend, first) = read_source(family, &element.key)?;
                let (_, last) = read_source(family, element.key_end.as_ref()?)?;
                let net = single_net(AddressRange::new(first, last)?)?;
                let slot = installed.slots.entry(frontend).or_default();
                slot.sources.insert(net);
            }
            Some(())
        }
        SetId::Addresses | SetId::ClusterIps | SetId::OwnAddresses | SetId::Hairpin => {
            for element in elements {
                let mut reader = Reader::new(family, &element.key);
                let address = reader.address()?;
                let shared = match id {
                    SetId::Addresses => Shared::Address(address),
                    SetId::ClusterIps => Shared::ClusterIp(address),
                    SetId::OwnAddresses => Shared::Own(address),
                    _ => {
                        (reader.address()? == address).then_some(())?;
                        Shared::Hairpin(address)
                    }
                };
                installed.shared.insert(reader.end(shared)?);
            }
            Some(())
        }
        SetId::NodeAddresses => read_ranges(family, NodeSet::Addresses, elements, installed),
        SetId::Pods => read_ranges(family, NodeSet::Pods, elements, installed),
        SetId::KeepSource => read_ranges(family, NodeSet::KeepSource, elements, installed),
        // It says nothing about what is forwarded, and ends by itself.
        SetId::Alive => Some(()),
    }
}

fn read_entries(
    family: IpFamily,
    node_port: bool,
    entry: Entry,
    elements: &[Element],
    installed: &mut Installed,
) -> Option<()> {
    for element in elements {
        let mut reader = Reader::new(family, &element.key);
        let frontend = reader.frontend(node_port)?;
        let frontend = reader.end(frontend)?;
        let Some(Data::Verdict(verdict)) = &element.data else {
            return None;
        };
        let target = Target::of(verdict)?;
        if let Target::Pick(pick) = target {
            *installed.picks.get_mut(&(family, pick))? += 1;
        }
        let slot = installed.slots.entry(frontend).or_default();
        *slot.entry(entry) = Some(target);
    }
    Some(())
}

fn read_rows(
    family: IpFamily,
    node_port: bool,
    rows: Rows,
    elements: &[Element],
    installed: &mut Installed,
) -> Option<()> {
    let mut found: HashMap<Frontend, BTreeMap<u32, SocketAddr>> = HashMap::new();
    for element in elements {
        let mut reader = Reader::new(family, &element.key);
        let frontend = reader.frontend(node_port)?;
        let index = reader.index()?;
        let index = reader.end(index)?;
        let Some(Data::Bytes(bytes)) = &element.data else {
            return None;
        };
        let mut reader = Reader::new(family, bytes);
        let backend = SocketAddr::new(reader.address()?, reader.port()?);
        let backend = reader.end(backend)?;
        found.entry(frontend).or_default().insert(index, backend);
    }
    for (frontend, by_index) in found {
        // Rows are made and deleted at the end only, so there are no holes.
        let last = *by_index.keys().next_back()?;
        (usize::try_from(last).ok()? + 1 == by_index.len()).then_some(())?;
        let slot = installed.slots.entry(frontend).or_default();
        *slot.rows(rows) = by_index.into_values().collect();
    }
    Some(())
}

fn read_source(family: IpFamily, key: &[u8]) -> Option<(Frontend, std::net::IpAddr)> {
    let mut reader = Reader::new(family, key);
    let frontend = reader.frontend(false)?;
    let address = reader.address()?;
    reader.end((frontend, address))
}

/// The prefix that is exactly this range.
fn single_net(range: AddressRange) -> Option<IpNet> {
    use std::net::IpAddr::{V4, V6};
    let mut nets: Vec<IpNet> = match (range.first(), range.last()) {
        (V4(first), V4(last)) => Ipv4Subnets::new(first, last, 0)
            .take(2)
            .map(Into::into)
            .collect(),
        (V6(first), V6(last)) => Ipv6Subnets::new(first, last, 0)
            .take(2)
            .map(Into::into)
            .collect(),
        _ => return None,
    };
    let net = nets.pop()?;
    nets.is_empty().then_some(net)
}

/// First keys and keys beyond the last, in any order, as ranges.
fn read_ranges(
    family: IpFamily,
    set: NodeSet,
    elements: &[Element],
    installed: &mut Installed,
) -> Option<()> {
    let mut bounds = BTreeMap::new();
    for element in elements {
        let mut reader = Reader::new(family, &element.key);
        let address = reader.address()?;
        let number = AddressRange::number(reader.end(address)?);
        // An end at zero belongs to no range of ours; ranges of ours never touch.
        if !(element.interval_end && number == 0) {
            let free = bounds.insert(number, element.interval_end).is_none();
            free.then_some(())?;
        }
    }
    let mut open = None;
    for (number, is_end) in bounds {
        let address = |n| AddressRange::address(family, n);
        open = match (open, is_end) {
            (None, false) => Some(address(number)?),
            (Some(first), true) => {
                let range = AddressRange::new(first, address(number - 1)?)?;
                installed.node.insert((set, range));
                None
            }
            _ => return None,
        };
    }
    if let Some(first) = open {
        let last = match family {
            IpFamily::V4 => u128::from(u32::MAX),
            IpFamily::V6 => u128::MAX,
        };
        let range = AddressRange::new(first, AddressRange::address(family, last)?)?;
        installed.node.insert((set, range));
    }
    Some(())
}

impl Installed {
    /// Joins what was found in the tables of both families.
    pub(super) fn merge(&mut self, other: Self) {
        self.picks.extend(other.picks);
        self.slots.extend(other.slots);
        self.shared.extend(other.shared);
        self.node.extend(other.node);
    }
}
