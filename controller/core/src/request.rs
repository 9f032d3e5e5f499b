//! What a Service asks for, from text to addresses.

use std::net::IpAddr;

use herald_core::IpFamily;

use crate::family::PerFamily;
use crate::service::{RequestText, ServiceView};
use crate::status::{Problem, Reason};

/// A Service's request, read and checked against the families it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// The pool it names.
    pub(crate) pool: Option<String>,
    /// The addresses it names.
    pub(crate) addresses: PerFamily<Option<IpAddr>>,
}

/// Reads the request of `view`.
///
/// # Errors
/// A [`Problem`] its author can act on: something is no address, contradicts itself or is of a family the Service lacks.
pub(crate) fn parse(view: &ServiceView) -> Result<Request, Problem> {
    let named = addresses(&view.request)?;
    let mut request = Request {
        pool: pool(&view.request),
        ..Request::default()
    };
    for address in named {
        let family = IpFamily::of(address);
        if !view.families.order.contains(&family) {
            let has: Vec<String> = view
                .families
                .order
                .iter()
                .map(ToString::to_string)
                .collect();
            return Err(Problem::new(
                Reason::InvalidRequest,
                format!(
                    "{address} is requested, but the Service has only {}: ask for another address, or for both families \
                     (spec.ipFamilyPolicy)",
                    has.join(" and ")
                ),
            ));
        }
        if let Some(other) = request.addresses.get_mut(family).replace(address)
            && other != address
        {
            return Err(Problem::new(
                Reason::InvalidRequest,
                format!(
                    "{other} and {address} are both requested: name one address for each family"
                ),
            ));
        }
    }
    Ok(request)
}

fn pool(text: &RequestText) -> Option<String> {
    text.pool
        .as_deref()
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
}

fn addresses(text: &RequestText) -> Result<Vec<IpAddr>, Problem> {
    let annotated = list(
        text.addresses.as_deref().unwrap_or_default(),
        "the addresses annotation",
    )?;
    let field = list(
        text.load_balancer_ip.as_deref().unwrap_or_default(),
        "spec.loadBalancerIP",
    )?;
    if annotated.is_empty() {
        return Ok(field);
    }
    if let Some(missing) = field.iter().find(|address| !annotated.contains(address)) {
        return Err(Problem::new(
            Reason::InvalidRequest,
            format!(
                "spec.loadBalancerIP asks for {missing} and the addresses annotation for others: use the annotation alone"
            ),
        ));
    }
    Ok(annotated)
}

fn list(text: &str, field: &str) -> Result<Vec<IpAddr>, Problem> {
    let entries = text
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty());
    let parsed = entries.map(|entry| {
        entry.parse().map_err(|_| {
            Problem::new(
                Reason::InvalidRequest,
                format!("\"{}\" in {field} is not an IP address", shorten(entry)),
            )
        })
    });
    parsed.collect()
}

/// Users' text in messages stays short: a condition's message has a limit.
fn shorten(text: &str) -> String {
    if text.chars().count() <= 64 {
        text.to_owned()
    } else {
        text.chars().take(61).chain("...".chars()).collect()
    }
}
