//! External IPs that are somebody's: the data path does not take them, and the Service says so.

use std::net::IpAddr;

use crate::index::Index;
use crate::plan::{Plan, Write};
use crate::service::ServiceView;
use crate::status::{Condition, ConditionKind, Desired, Notice, Reason};

/// External IPs that a message names; the others are counted.
const NAMED: usize = 3;

/// The condition ExternalIPs that `view` should have, and the Event that tells of it if that is news.
pub(crate) fn external_ips(
    view: &ServiceView,
    index: &Index,
) -> (Option<Condition>, Option<Notice>) {
    let external = view.external_ips.iter();
    let refused: Vec<String> = external
        .filter_map(|address| Some(format!("{address} is {}", whose(*address, view, index)?)))
        .collect();
    if refused.is_empty() {
        return (None, None);
    }
    let named: Vec<&str> = refused.iter().take(NAMED).map(String::as_str).collect();
    let more = match refused.len() - named.len() {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    let message = format!(
        "{}{more}: Herald takes no traffic for it. Remove it from spec.externalIPs",
        named.join(", ")
    );
    let (kind, reason) = (ConditionKind::ExternalIps, Reason::ExternalIpRefused);
    let condition = Condition::new(kind, false, reason, message.clone());
    let news = view.condition(kind) != Some(&condition);
    let notice = news.then_some(Notice {
        warning: true,
        reason,
        message,
    });
    (Some(condition), notice)
}

/// A Service that no pool serves: only its external IPs may be worth a word.
pub(crate) fn plan_external(view: &ServiceView, index: &Index, nothing: Plan) -> Plan {
    let (condition, news) = external_ips(view, index);
    if view.condition(ConditionKind::ExternalIps) == condition.as_ref() {
        return nothing;
    }
    let desired = Desired::conditions(condition);
    Plan {
        write: Some(Write::Apply(desired)),
        notices: news.into_iter().collect(),
        ..nothing
    }
}

/// Whose an external IP of `view` is; `None` when the data path takes it.
fn whose(address: IpAddr, view: &ServiceView, index: &Index) -> Option<String> {
    if let Some(what) = index.allocator().reservation(address) {
        return Some(what.to_string());
    }
    if view.ingress.contains(&address) {
        return None;
    }
    let mut holders = index.allocator().holders(address).iter();
    let elsewhere = holders.any(|holder| holder.namespace != view.key.namespace);
    // Whose is not for its author to know.
    elsewhere.then(|| "a load-balancer address of another namespace".into())
}
