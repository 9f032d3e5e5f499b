//! What is always there: the two tables with their sets, maps and fixed chains.

use herald_core::IpFamily;
use herald_nft::{
    BaseChain, Chain, ChainKind, Family, Field, Hook, KeyType, Operation, Rule, Set, Table,
    TableName, Value,
};

use super::pick::{GUARD, REJECT};
use super::rules;

/// The name of both tables.
pub const TABLE: &str = "herald";

/// Before kube-proxy's nat chains (−100): the first chain that translates a connection wins.
const BEFORE_OTHERS: i32 = -110;
/// Before kube-proxy's and the usual postrouting chains (100).
const MASQUERADE_PRIORITY: i32 = 90;

/// Before the usual filter chains (0), and after all that translate what comes in or goes out.
const REFUSE_PRIORITY: i32 = -10;

/// A set or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SetId {
    /// Frontend of an address → verdict.
    Services,
    /// Node port → verdict.
    NodePorts,
    /// Frontend with source ranges → verdict for allowed sources.
    Guarded,
    /// Frontend and allowed source.
    SourceRanges,
    /// Frontend under policy Local → verdict for the node's own clients.
    ServicesShort,
    /// The same for node ports.
    NodePortsShort,
    /// Frontend and index → backend.
    Endpoints,
    /// The same for the local backends of policy Local.
    EndpointsLocal,
    /// Node port and index → backend.
    NodePortEndpoints,
    /// The same for the local backends of policy Local.
    NodePortEndpointsLocal,
    /// Load-balancer addresses and external IPs, with a counter each.
    Addresses,
    /// Cluster IPs: ports nobody defines are refused.
    ClusterIps,
    /// Addresses that Herald allocated: the same.
    OwnAddresses,
    /// Where node ports answer.
    NodeAddresses,
    /// Sources that are this node's pods.
    Pods,
    /// Sources that keep their address when they connect to a cluster IP.
    KeepSource,
    /// Local backends, as source and destination of a connection to themselves.
    Hairpin,
    /// The speaker's sign of life: one element with a time-out. Only where there is another proxy to step aside for.
    Alive,
}

impl SetId {
    pub(super) const ALL: [Self; 18] = [
        Self::Services,
        Self::NodePorts,
        Self::Guarded,
        Self::SourceRanges,
        Self::ServicesShort,
        Self::NodePortsShort,
        Self::Endpoints,
        Self::EndpointsLocal,
        Self::NodePortEndpoints,
        Self::NodePortEndpointsLocal,
        Self::Addresses,
        Self::ClusterIps,
        Self::OwnAddresses,
        Self::NodeAddresses,
        Self::Pods,
        Self::KeepSource,
        Self::Hairpin,
        Self::Alive,
    ];

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::NodePorts => "node-ports",
            Self::Guarded => "guarded",
            Self::SourceRanges => "source-ranges",
            Self::ServicesShort => "services-short",
            Self::NodePortsShort => "node-ports-short",
            Self::Endpoints => "endpoints",
            Self::EndpointsLocal => "endpoints-local",
            Self::NodePortEndpoints => "node-port-endpoints",
            Self::NodePortEndpointsLocal => "node-port-endpoints-local",
            Self::Addresses => "addresses",
            Self::ClusterIps => "cluster-ips",
            Self::OwnAddresses => "own-addresses",
            Self::NodeAddresses => "node-addresses",
            Self::Pods => "pods",
            Self::KeepSource => "keep-source",
            Self::Hairpin => "hairpin",
            Self::Alive => "alive",
        }
    }

    fn definition(self, table: &TableName) -> Set {
        let address = address_field(table.family);
        let frontend = [address, Field::Protocol, Field::Port];
        let node_port = [Field::Protocol, Field::Port];
        let indexed = |key: &[Field]| [key, &[Field::Mark]].concat();
        let (key, value) = match self {
            Self::Services | Self::Guarded | Self::ServicesShort => {
                (frontend.to_vec(), Some(Value::Verdict))
            }
            Self::NodePorts | Self::NodePortsShort => (node_port.to_vec(), Some(Value::Verdict)),
            Self::SourceRanges => ([frontend.as_slice(), &[address]].concat(), None),
            Self::Endpoints | Self::EndpointsLocal => (indexed(&frontend), Some(backend(address))),
            Self::NodePortEndpoints | Self::NodePortEndpointsLocal => {
                (indexed(&node_port), Some(backend(address)))
            }
            Self::Hairpin => (vec![address, address], None),
            Self::Alive => (vec![Field::Family], None),
            Self::Addresses
            | Self::ClusterIps
            | Self::OwnAddresses
            | Self::NodeAddresses
            | Self::Pods
            | Self::KeepSource => (vec![address], None),
        };
        Set {
            name: table.set(self.name()),
            key: KeyType(key),
            value,
            interval: matches!(
                self,
                Self::SourceRanges | Self::NodeAddresses | Self::Pods | Self::KeepSource
            ),
            counter: self == Self::Addresses,
            timeout: self == Self::Alive,
        }
    }
}

fn backend(address: Field) -> Value {
    Value::Fields(KeyType(vec![address, Field::Port]))
}

fn address_field(family: Family) -> Field {
    match family {
        Family::Ipv4 => Field::Ipv4Address,
        Family::Ipv6 => Field::Ipv6Address,
    }
}

/// The table of a family.
pub fn table(family: IpFamily) -> TableName {
    TableName::new(
        match family {
            IpFamily::V4 => Family::Ipv4,
            IpFamily::V6 => Family::Ipv6,
        },
        TABLE,
    )
}

/// Name of the chain that leads the node's own clients of a policy-Local frontend to the Cluster set.
pub(super) const SHORT: &str = "short";
/// The same for node ports.
pub(super) const NODE_PORT_SHORT: &str = "node-port-short";

/// What every table of ours holds, pick chains and elements aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Structure {
    pub(super) table: Table,
    pub(super) sets: Vec<Set>,
    pub(super) chains: Vec<(Chain, Vec<Rule>)>,
}

impl Structure {
    /// The fixed objects of a family. `steps_aside`: the rules are followed only while the sign of life is there.
    pub(super) fn new(family: IpFamily, table_flags: u32, mark: u32, steps_aside: bool) -> Self {
        let table = table(family);
        let chain = |name: &'static str, base, rules: Vec<Vec<_>>| {
            let name = table.chain(name);
            let rules = rules
                .into_iter()
                .map(|expressions| Rule {
                    chain: name.clone(),
                    expressions,
                })
                .collect();
            (Chain { name, base }, rules)
        };
        let nat = |hook, priority| {
            Some(BaseChain {
                kind: ChainKind::Nat,
                hook,
                priority,
            })
        };
        let filter = |hook| {
            Some(BaseChain {
                kind: ChainKind::Filter,
                hook,
                priority: REFUSE_PRIORITY,
            })
        };
        let dispatch = || rules::dispatch(table.family, steps_aside);
        let chains = vec![
            chain(REJECT, None, rules::reject(table.family)),
            chain(GUARD, None, rules::guard(table.family)),
            chain(SHORT, None, rules::short(table.family, false, mark)),
            chain(
                NODE_PORT_SHORT,
                None,
                rules::short(table.family, true, mark),
            ),
            chain(
                "prerouting",
                nat(Hook::Prerouting, BEFORE_OTHERS),
                dispatch(),
            ),
            chain("output", nat(Hook::Output, BEFORE_OTHERS), dispatch()),
            chain(
                "postrouting",
                nat(Hook::Postrouting, MASQUERADE_PRIORITY),
                rules::masquerade(table.family, mark),
            ),
            chain(
                "refuse-forwarded",
                filter(Hook::Forward),
                rules::refuse_forwarded(table.family, steps_aside),
            ),
            chain(
                "refuse-output",
                filter(Hook::Output),
                rules::refuse_output(table.family, steps_aside),
            ),
        ];
        Self {
            sets: SetId::ALL
                .into_iter()
                .filter(|id| steps_aside || *id != SetId::Alive)
                .map(|id| id.definition(&table))
                .collect(),
            table: Table {
                name: table,
                flags: table_flags,
            },
            chains,
        }
    }

    /// The operations that make all of it: sets and chains before the rules that use them.
    pub(super) fn operations(&self) -> Vec<Operation> {
        let mut operations = vec![Operation::AddTable(self.table.clone())];
        operations.extend(self.sets.iter().cloned().map(Operation::AddSet));
        let chains = self.chains.iter().map(|(chain, _)| chain.clone());
        operations.extend(chains.map(Operation::AddChain));
        let rules = self.chains.iter().flat_map(|(_, rules)| rules);
        operations.extend(rules.cloned().map(Operation::AddRule));
        operations
    }
}
