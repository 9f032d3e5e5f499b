//! Every remedy that a Service's condition names, tried as it is written: it must be possible, and it must help.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::controller::objects::{Objects, pool, service};

const ALLOCATED: &str = "heraldlb.io/Allocated";
const PATCH: &str = "kubectl -n ";

/// On a cluster where no pool assigns automatically.
pub(crate) fn all(objects: &Objects<'_>) -> Result<()> {
    foreign_status(objects)?;
    pools(objects)?;
    addresses(objects)?;
    families(objects)?;
    unreadable(objects)?;
    a_class_cannot_be_added(objects)
}

/// Makes a Service with these annotations, and waits for the reason why it has no address. Gives the message.
fn refused(objects: &Objects<'_>, name: &str, asks: &Value, reason: &str) -> Result<String> {
    let mut object = service(name);
    object["metadata"]["annotations"] = asks.clone();
    objects.apply(&object)?;
    let condition = objects.wait_for_condition(name, ALLOCATED, "False", reason)?;
    Ok(condition["message"].as_str().unwrap_or_default().to_owned())
}

/// The condition is true: the Service has what it asked for. Both go.
fn helped(objects: &Objects<'_>, name: &str, address: &str) -> Result<()> {
    objects.wait_for_condition(name, ALLOCATED, "True", "Allocated")?;
    objects.wait_for_addresses(name, &[address])?;
    objects.delete(&format!("service/{name}"))
}

fn manual(name: &str, addresses: &[&str]) -> Value {
    let mut pool = pool(name, addresses);
    pool["spec"]["autoAssign"] = json!(false);
    pool
}

fn foreign_status(objects: &Objects<'_>) -> Result<()> {
    let foreign = r#"{"status":{"loadBalancer":{"ingress":[{"ip":"203.0.113.9"}]}}}"#;
    for name in ["cleared", "adopted"] {
        let asks = json!({ "heraldlb.io/address-pool": "nowhere" });
        refused(objects, name, &asks, "PoolNotFound")?;
        objects.patch_status(&format!("service/{name}"), foreign)?;
        objects.wait_for_condition(name, ALLOCATED, "False", "ForeignStatus")?;
        objects.annotate(name, "heraldlb.io/address-pool-")?;
    }
    // The very command.
    let condition = objects.condition("cleared", ALLOCATED)?;
    let message = condition["message"].as_str().unwrap_or_default();
    let (_, command) = message.split_once(PATCH).context("a command")?;
    let command = format!("-n {command}").replace('\'', "");
    objects.kubectl(&command.split_whitespace().collect::<Vec<_>>())?;
    objects.wait_for_condition("cleared", ALLOCATED, "False", "NoPool")?;
    ensure!(objects.addresses("cleared")?.is_empty(), "it is back");
    let mark =
        &objects.service("cleared")?["metadata"]["annotations"]["heraldlb.io/allocated-from"];
    ensure!(mark.is_null(), "marked {mark}");
    objects.delete("service/cleared")?;
    objects.apply(&manual("found", &["203.0.113.9"]))?;
    helped(objects, "adopted", "203.0.113.9")?;
    objects.delete("addresspool/found")
}

fn pools(objects: &Objects<'_>) -> Result<()> {
    refused(objects, "none", &json!({}), "NoPool")?;
    objects.apply(&pool("open", &["203.0.113.20"]))?;
    helped(objects, "none", "203.0.113.20")?;
    objects.delete("addresspool/open")?;
    let asks = json!({ "heraldlb.io/address-pool": "missing" });
    for name in ["created", "corrected"] {
        let message = refused(objects, name, &asks, "PoolNotFound")?;
        ensure!(
            message.contains("correct the name or create it"),
            "{message}"
        );
    }
    objects.apply(&manual("right", &["203.0.113.21"]))?;
    objects.annotate("corrected", "heraldlb.io/address-pool=right")?;
    helped(objects, "corrected", "203.0.113.21")?;
    let mut missing = manual("missing", &["203.0.113.22"]);
    objects.apply(&missing)?;
    helped(objects, "created", "203.0.113.22")?;
    // What is not for it, and is made to be.
    for (field, closed, opened, says) in [
        ("disabled", json!(true), json!(false), "is disabled"),
        (
            "serviceAllocation",
            json!({ "namespaces": ["other"] }),
            json!({ "namespaces": ["default"] }),
            "is not for namespace default",
        ),
        (
            "addresses",
            json!(["203.0.113.22-203.0.113.2"]),
            json!(["203.0.113.22"]),
            "is not valid",
        ),
    ] {
        missing["spec"][field] = closed;
        objects.apply(&missing)?;
        let name = format!("not-allowed-{}", field.to_lowercase());
        let message = refused(objects, &name, &asks, "PoolNotAllowed")?;
        ensure!(message.contains(says), "{field}: {message}");
        missing["spec"][field] = opened;
        objects.apply(&missing)?;
        helped(objects, &name, "203.0.113.22")?;
    }
    // Exhausted: a range more, or a Service less.
    let holder = json!({ "heraldlb.io/address-pool": "right" });
    let mut object = service("holder");
    object["metadata"]["annotations"] = holder.clone();
    objects.apply(&object)?;
    objects.wait_for_addresses("holder", &["203.0.113.21"])?;
    let message = refused(objects, "more", &holder, "PoolExhausted")?;
    ensure!(
        message.contains("add a range, or delete a Service"),
        "{message}"
    );
    objects.apply(&manual("right", &["203.0.113.21", "203.0.113.23"]))?;
    helped(objects, "more", "203.0.113.23")?;
    objects.apply(&manual("right", &["203.0.113.21"]))?;
    refused(objects, "less", &holder, "PoolExhausted")?;
    objects.delete("service/holder")?;
    helped(objects, "less", "203.0.113.21")
}

/// On the pool "right" with 203.0.113.21.
fn addresses(objects: &Objects<'_>) -> Result<()> {
    let held = json!({ "heraldlb.io/addresses": "203.0.113.21" });
    let mut holder = service("holder");
    holder["metadata"]["annotations"] = held.clone();
    objects.apply(&holder)?;
    objects.wait_for_addresses("holder", &["203.0.113.21"])?;
    let message = refused(objects, "taken", &held, "AddressTaken")?;
    ensure!(
        message.contains("ask for another, or delete that one"),
        "{message}"
    );
    objects.apply(&manual("right", &["203.0.113.21", "203.0.113.24"]))?;
    objects.annotate("taken", "heraldlb.io/addresses=203.0.113.24")?;
    helped(objects, "taken", "203.0.113.24")?;
    refused(objects, "heir", &held, "AddressTaken")?;
    objects.delete("service/holder")?;
    objects.wait_for_condition("heir", ALLOCATED, "True", "Allocated")?;
    // An address that its pool lost: another one, asked for, ends the condition.
    objects.apply(&manual("right", &["203.0.113.24"]))?;
    let kind = "heraldlb.io/AddressInPool";
    let lost = objects.wait_for_condition("heir", kind, "False", "PoolChanged")?;
    let message = lost["message"].as_str().unwrap_or_default();
    ensure!(message.contains("ask for another address"), "{message}");
    objects.annotate("heir", "heraldlb.io/addresses=203.0.113.24")?;
    helped(objects, "heir", "203.0.113.24")?;
    let elsewhere = json!({ "heraldlb.io/addresses": "203.0.113.25" });
    let message = refused(objects, "elsewhere", &elsewhere, "AddressNotInPool")?;
    ensure!(
        message.contains("add it to one, or ask for another"),
        "{message}"
    );
    objects.apply(&manual("right", &["203.0.113.24-203.0.113.25"]))?;
    helped(objects, "elsewhere", "203.0.113.25")
}

/// On the pool "right" with IPv4 addresses only.
fn families(objects: &Objects<'_>) -> Result<()> {
    let mut six = service("six");
    six["spec"]["ipFamilies"] = json!(["IPv6"]);
    six["metadata"]["annotations"] = json!({ "heraldlb.io/address-pool": "right" });
    objects.apply(&six)?;
    let condition = objects.wait_for_condition("six", ALLOCATED, "False", "FamilyNotAvailable")?;
    let message = condition["message"].as_str().unwrap_or_default();
    ensure!(
        message.contains("add a range, or ask for another pool"),
        "{message}"
    );
    objects.apply(&manual(
        "right",
        &["203.0.113.24-203.0.113.25", "2001:db8:9::1"],
    ))?;
    helped(objects, "six", "2001:db8:9::1")?;
    for name in ["address-changed", "both-families"] {
        let asks = json!({
            "heraldlb.io/address-pool": "right", "heraldlb.io/addresses": "2001:db8:9::1",
        });
        let message = refused(objects, name, &asks, "InvalidRequest")?;
        let advice = "ask for another address, or for both families (spec.ipFamilyPolicy)";
        ensure!(message.contains(advice), "{message}");
    }
    objects.annotate("address-changed", "heraldlb.io/addresses=203.0.113.24")?;
    helped(objects, "address-changed", "203.0.113.24")?;
    objects.patch(
        "both-families",
        r#"{"spec":{"ipFamilyPolicy":"RequireDualStack"}}"#,
    )?;
    objects.wait_for_condition("both-families", ALLOCATED, "True", "Allocated")?;
    objects.delete("service/both-families")
}

fn unreadable(objects: &Objects<'_>) -> Result<()> {
    let rubbish = json!({
        "heraldlb.io/address-pool": "right", "heraldlb.io/addresses": "web.example.com",
    });
    refused(objects, "unreadable", &rubbish, "InvalidRequest")?;
    objects.annotate("unreadable", "heraldlb.io/addresses=203.0.113.24")?;
    helped(objects, "unreadable", "203.0.113.24")?;
    let mut both = service("contradiction");
    both["metadata"]["annotations"] = json!({ "heraldlb.io/addresses": "203.0.113.24" });
    both["spec"]["loadBalancerIP"] = json!("203.0.113.25");
    objects.apply(&both)?;
    let condition =
        objects.wait_for_condition("contradiction", ALLOCATED, "False", "InvalidRequest")?;
    let message = condition["message"].as_str().unwrap_or_default();
    ensure!(message.contains("use the annotation alone"), "{message}");
    objects.patch("contradiction", r#"{"spec":{"loadBalancerIP":null}}"#)?;
    helped(objects, "contradiction", "203.0.113.24")?;
    for name in ["right", "missing"] {
        objects.delete(&format!("addresspool/{name}"))?;
    }
    Ok(())
}

/// Why no page advises it.
fn a_class_cannot_be_added(objects: &Objects<'_>) -> Result<()> {
    objects.apply(&service("classless"))?;
    let class = r#"{"spec":{"loadBalancerClass":"heraldlb.io/pool"}}"#;
    let refused = objects.patch("classless", class);
    ensure!(refused.is_err(), "the class of a Service can be set");
    objects.delete("service/classless")
}
