//! The rules that refuse what has an address of ours for its destination and was translated by nobody.

use std::sync::Arc;

use herald_nft::{
    Expression, Family, FibAddress, LookupResult, MetaKey, PayloadBase, Register, Verdict,
};

use super::super::layout::SetId;
use super::super::pick::REJECT;
use super::{End, Steps, load_address, local, lookup, without_sign_of_life};

/// `IPPROTO_ICMPV6`.
const ICMPV6: u8 = 58;
/// `ND_NEIGHBOR_SOLICIT`.
const NEIGHBOUR_SOLICITATION: u8 = 135;

/// Where a packet for this address goes nowhere else: nobody translated it, so it would be sent out again, and come back
/// from the router.
fn refuse_own(family: Family, unless_local: bool, steps_aside: bool) -> Vec<Steps> {
    // The usual packet ends here, after one lookup.
    let others = vec![
        load_address(family, End::Destination, 0),
        lookup(SetId::OwnAddresses, LookupResult::TestAbsent),
        Expression::Verdict(Verdict::Return),
    ];
    let mut refuse = Vec::new();
    if unless_local {
        refuse.extend(local(FibAddress::Destination, false));
    }
    refuse.push(Expression::Verdict(Verdict::Goto(Arc::from(REJECT))));
    let mut rules = vec![others];
    rules.extend(steps_aside.then(without_sign_of_life));
    rules.push(refuse);
    rules
}

/// Packets on their way through this node to an address of ours: of a port that no Service has, of another protocol, of a
/// connection that nobody knows.
pub(in super::super) fn refuse_forwarded(family: Family, steps_aside: bool) -> Vec<Steps> {
    let mut rules = refuse_own(family, false, steps_aside);
    if family == Family::Ipv6 {
        // A neighbour that asks whether we are still there: the announcer answers.
        let mut solicitation = compare(
            Expression::Meta {
                key: MetaKey::L4Protocol,
                to: Register::FIRST,
            },
            &[ICMPV6],
        );
        solicitation.extend(compare(
            Expression::Payload {
                base: PayloadBase::Transport,
                offset: 0,
                length: 1,
                to: Register::FIRST,
            },
            &[NEIGHBOUR_SOLICITATION],
        ));
        solicitation.push(Expression::Verdict(Verdict::Drop));
        rules.insert(rules.len() - 1, solicitation);
    }
    rules
}

/// The same from this node itself, except where the address is one of its own: then it is the host's to answer.
pub(in super::super) fn refuse_output(family: Family, steps_aside: bool) -> Vec<Steps> {
    refuse_own(family, true, steps_aside)
}

/// The load, then compared.
fn compare(load: Expression, value: &[u8]) -> Steps {
    vec![
        load,
        Expression::Compare {
            from: Register::FIRST,
            equal: true,
            value: value.to_vec(),
        },
    ]
}
