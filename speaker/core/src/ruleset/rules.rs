//! The rules of every chain, as the kernel's expressions. Only forms that `nft` can list: no key holds what a lookup
//! loaded, and every rule writes the registers it reads.

mod refuse;

use std::sync::Arc;

use herald_nft::{
    CtKey, Expression, Family, FibAddress, LookupResult, MetaKey, NatKind, PayloadBase, Register,
    Verdict,
};

use super::layout::{NODE_PORT_SHORT, SHORT, SetId};
use super::pick::{Pick, PickKind, REJECT};

pub(super) use refuse::{refuse_forwarded, refuse_output};

type Steps = Vec<Expression>;

/// `RTN_LOCAL`.
const ROUTE_LOCAL: u32 = 2;
/// `IPS_DST_NAT`.
const STATUS_DNAT: u32 = 0x20;

/// Where an address is in the IP header.
#[derive(Clone, Copy)]
enum End {
    Source,
    Destination,
}

/// Four-byte words of an address.
fn words(family: Family) -> u32 {
    match family {
        Family::Ipv4 => 1,
        Family::Ipv6 => 4,
    }
}

/// The register `word` words behind the first. Our longest key, an IPv6 source range, ends at word 10 of 16.
fn register(word: u32) -> Register {
    Register::at(word).unwrap_or(Register::FIRST)
}

fn load_address(family: Family, end: End, word: u32) -> Expression {
    let (offset, length) = match (family, end) {
        (Family::Ipv4, End::Source) => (12, 4),
        (Family::Ipv4, End::Destination) => (16, 4),
        (Family::Ipv6, End::Source) => (8, 16),
        (Family::Ipv6, End::Destination) => (24, 16),
    };
    Expression::Payload {
        base: PayloadBase::Network,
        offset,
        length,
        to: register(word),
    }
}

/// Loads the key of a frontend; the result's second part is the word behind it.
fn load_frontend(family: Family, node_port: bool) -> (Steps, u32) {
    let mut steps = Vec::new();
    let mut word = 0;
    if !node_port {
        steps.push(load_address(family, End::Destination, 0));
        word = words(family);
    }
    steps.push(Expression::Meta {
        key: MetaKey::L4Protocol,
        to: register(word),
    });
    steps.push(Expression::Payload {
        base: PayloadBase::Transport,
        offset: 2,
        length: 2,
        to: register(word + 1),
    });
    (steps, word + 2)
}

fn lookup(set: SetId, result: LookupResult) -> Expression {
    Expression::Lookup {
        set: Arc::from(set.name()),
        key: Register::FIRST,
        result,
    }
}

/// `ip daddr . meta l4proto . th dport vmap @set`
fn dispatch_on(family: Family, node_port: bool, set: SetId) -> Steps {
    let (mut steps, _) = load_frontend(family, node_port);
    steps.push(lookup(set, LookupResult::Verdict));
    steps
}

/// `meta mark set meta mark & mask ^ xor`
fn change_mark(mask: u32, xor: u32) -> Steps {
    vec![
        Expression::Meta {
            key: MetaKey::Mark,
            to: Register::FIRST,
        },
        Expression::Bitwise {
            from: Register::FIRST,
            to: Register::FIRST,
            mask: mask.to_ne_bytes().to_vec(),
            xor: xor.to_ne_bytes().to_vec(),
        },
        Expression::SetMeta {
            key: MetaKey::Mark,
            from: Register::FIRST,
        },
    ]
}

fn set_mark(mark: u32) -> Steps {
    change_mark(!mark, mark)
}

/// `fib saddr|daddr type local`
fn is_local(address: FibAddress) -> Steps {
    local(address, true)
}

/// The same, or `!= local`.
fn local(address: FibAddress, equal: bool) -> Steps {
    vec![
        Expression::FibType {
            address,
            to: Register::FIRST,
        },
        Expression::Compare {
            from: Register::FIRST,
            equal,
            value: ROUTE_LOCAL.to_ne_bytes().to_vec(),
        },
    ]
}

/// The load followed by `& mask`, then compared.
fn test_bits(load: Expression, mask: u32, equal: bool, value: u32) -> Steps {
    vec![
        load,
        Expression::Bitwise {
            from: Register::FIRST,
            to: Register::FIRST,
            mask: mask.to_ne_bytes().to_vec(),
            xor: vec![0; 4],
        },
        Expression::Compare {
            from: Register::FIRST,
            equal,
            value: value.to_ne_bytes().to_vec(),
        },
    ]
}

/// `meta nfproto != @alive return`
fn without_sign_of_life() -> Steps {
    vec![
        Expression::Meta {
            key: MetaKey::Family,
            to: Register::FIRST,
        },
        lookup(SetId::Alive, LookupResult::TestAbsent),
        Expression::Verdict(Verdict::Return),
    ]
}

/// New connections, from outside (prerouting) and from the node itself (output). Rules that nobody keeps true must not be
/// followed where another proxy comes behind us, so the first one may end the chain. It is asked nowhere else: a packet
/// that got past it is translated and masqueraded by one hand.
pub(super) fn dispatch(family: Family, steps_aside: bool) -> Vec<Steps> {
    let count = vec![
        load_address(family, End::Destination, 0),
        lookup(SetId::Addresses, LookupResult::Test),
    ];
    let node_ports = [
        vec![
            load_address(family, End::Destination, 0),
            lookup(SetId::NodeAddresses, LookupResult::Test),
        ],
        is_local(FibAddress::Destination),
        dispatch_on(family, true, SetId::NodePorts),
    ]
    .concat();
    let unknown_port = vec![
        load_address(family, End::Destination, 0),
        lookup(SetId::ClusterIps, LookupResult::Test),
        Expression::Verdict(Verdict::Goto(Arc::from(REJECT))),
    ];
    let rules = [
        count,
        dispatch_on(family, false, SetId::Services),
        node_ports,
        unknown_port,
    ];
    let first = steps_aside.then(without_sign_of_life);
    first.into_iter().chain(rules).collect()
}

/// Port unreachable.
pub(super) fn reject(family: Family) -> Vec<Steps> {
    let code = match family {
        Family::Ipv4 => 3,
        Family::Ipv6 => 4,
    };
    vec![vec![Expression::Reject { code }]]
}

/// Source ranges: others are dropped, the rest goes on to the frontend's own verdict.
pub(super) fn guard(family: Family) -> Vec<Steps> {
    let (mut outside, word) = load_frontend(family, false);
    outside.extend([
        load_address(family, End::Source, word),
        lookup(SetId::SourceRanges, LookupResult::TestAbsent),
        Expression::Verdict(Verdict::Drop),
    ]);
    vec![
        outside,
        dispatch_on(family, false, SetId::Guarded),
        vec![Expression::Verdict(Verdict::Drop)],
    ]
}

/// Policy Local serves the node's own clients from the whole cluster: pods with their own address, the node masqueraded.
pub(super) fn short(family: Family, node_port: bool, mark: u32) -> Vec<Steps> {
    let set = if node_port {
        SetId::NodePortsShort
    } else {
        SetId::ServicesShort
    };
    let from_pod = vec![
        load_address(family, End::Source, 0),
        lookup(SetId::Pods, LookupResult::Test),
    ];
    vec![
        [from_pod, dispatch_on(family, node_port, set)].concat(),
        [is_local(FibAddress::Source), set_mark(mark)].concat(),
        [
            is_local(FibAddress::Source),
            dispatch_on(family, node_port, set),
        ]
        .concat(),
    ]
}

/// Translated connections whose replies must come back through here.
pub(super) fn masquerade(family: Family, mark: u32) -> Vec<Steps> {
    let translated = || {
        let load = Expression::Ct {
            key: CtKey::Status,
            to: Register::FIRST,
        };
        test_bits(load, STATUS_DNAT, false, 0)
    };
    let to_itself = vec![
        load_address(family, End::Source, 0),
        load_address(family, End::Destination, words(family)),
        lookup(SetId::Hairpin, LookupResult::Test),
        Expression::Masquerade,
    ];
    let load_mark = Expression::Meta {
        key: MetaKey::Mark,
        to: Register::FIRST,
    };
    vec![
        [translated(), to_itself].concat(),
        [
            translated(),
            test_bits(load_mark, mark, true, mark),
            change_mark(!mark, 0),
            vec![Expression::Masquerade],
        ]
        .concat(),
    ]
}

/// `dnat to <frontend> . numgen random mod modulus map @set`
fn translate(family: Family, node_port: bool, set: SetId, modulus: u32) -> Steps {
    let (mut steps, word) = load_frontend(family, node_port);
    steps.extend([
        Expression::Random {
            modulus,
            to: register(word),
        },
        lookup(set, LookupResult::Load(Register::FIRST)),
        Expression::Nat {
            kind: NatKind::Destination,
            family,
            address: Register::FIRST,
            port: register(words(family)),
        },
    ]);
    steps
}

/// The rules of a pick chain.
///
/// Two lookups of one packet are not on one generation: it may have read the old verdict and miss a row that is gone. Row 0
/// is there as long as any is, so it is tried next; then the packet is dropped, never passed on untranslated.
pub(super) fn pick(family: Family, pick: Pick, mark: u32) -> Vec<Steps> {
    let local = pick.kind == PickKind::Local;
    let set = match (pick.node_port, local) {
        (false, false) => SetId::Endpoints,
        (false, true) => SetId::EndpointsLocal,
        (true, false) => SetId::NodePortEndpoints,
        (true, true) => SetId::NodePortEndpointsLocal,
    };
    let mut rules = Vec::new();
    match pick.kind {
        PickKind::Internal => {
            let mut unless_kept = vec![
                load_address(family, End::Source, 0),
                lookup(SetId::KeepSource, LookupResult::TestAbsent),
            ];
            unless_kept.extend(set_mark(mark));
            rules.push(unless_kept);
        }
        PickKind::External => rules.push(set_mark(mark)),
        PickKind::Plain => {}
        PickKind::Local => {
            let chain = if pick.node_port {
                NODE_PORT_SHORT
            } else {
                SHORT
            };
            rules.push(vec![Expression::Verdict(Verdict::Jump(Arc::from(chain)))]);
        }
    }
    if pick.count > 0 {
        rules.push(translate(family, pick.node_port, set, pick.count));
    }
    if pick.count > 1 {
        rules.push(translate(family, pick.node_port, set, 1));
    }
    rules.push(vec![Expression::Verdict(Verdict::Drop)]);
    rules
}
