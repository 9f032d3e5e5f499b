//! The generated CRDs on a real API server: accepted (cost of the rules included), and bad objects refused with a message
//! that helps.

mod api_server;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use api_server::{ApiServer, DEADLINE, Kubectl, checkout, object};

const KINDS: [(&str, &str); 3] = [
    ("AddressPool", "addresspools"),
    ("L2Advertisement", "l2advertisements"),
    ("Speaker", "speakers"),
];

#[test]
fn crds_are_accepted_and_their_rules_work() -> Result<()> {
    let server = ApiServer::start()?;
    let kubectl = server.admin();
    establish(&kubectl)?;
    address_pools(&kubectl)?;
    l2_advertisements(&kubectl)?;
    speakers(&kubectl)?;
    Ok(())
}

/// As a user may install them by hand: by client-side apply, whose annotation must not grow too long.
fn establish(kubectl: &Kubectl<'_>) -> Result<()> {
    kubectl.run(&["apply", "-k", &checkout("deploy/crds")])?;
    let timeout = format!("--timeout={}s", DEADLINE.as_secs());
    for (kind, plural) in KINDS {
        let name = format!("crd/{plural}.heraldlb.io");
        kubectl.run(&["wait", "--for=condition=Established", &timeout, &name])?;
        let crd: Value = serde_json::from_str(&kubectl.run(&["get", &name, "-o", "json"])?)?;
        let conditions = crd["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        for condition in &conditions {
            let good = match condition["type"].as_str() {
                Some("Established" | "NamesAccepted") => "True",
                _ => "False",
            };
            ensure!(condition["status"] == good, "{kind}: {condition}");
        }
        ensure!(
            crd["spec"]["scope"] == "Cluster",
            "{kind} is not cluster-scoped"
        );
    }
    Ok(())
}

fn address_pools(kubectl: &Kubectl<'_>) -> Result<()> {
    let pool = |spec: &Value| object("AddressPool", "lan", "spec", spec);
    let of = |text: &str| pool(&json!({ "addresses": [text] }));
    for good in [
        "192.0.2.0/24",
        "192.0.2.7/24",
        "192.0.2.1",
        "192.0.2.1-192.0.2.9",
        "192.0.2.1 - 192.0.2.9",
        "0.0.0.0/0",
        "2001:db8::/64",
        "2001:db8::1",
        "2001:db8::1-2001:db8::ff",
        "2001:0db8:0000:0000:0000:0000:0000:0001-2001:0db8:0000:0000:0000:0000:0000:ffff",
        // The order of two addresses is beyond the rules: the controller's condition says it.
        "192.0.2.9-192.0.2.1",
    ] {
        accepted(kubectl, good, &of(good))?;
    }
    let form = "must be a CIDR (192.0.2.0/24), an address, or first-last";
    for (bad, message) in [
        ("web", form),
        ("192.0.2.0/33", form),
        ("192.0.2.256", form),
        ("192.0.2.1-", form),
        ("-192.0.2.1", form),
        ("192.0.2.1-192.0.2.2-192.0.2.3", form),
        ("192.0.2.0/24-192.0.3.0/24", form),
        ("2001:db8::/129", form),
        ("fe80::1%eth0", form),
        ("::ffff:192.0.2.1", form),
        (
            "192.0.2.1-2001:db8::1",
            "both ends of a range must be of one family",
        ),
        ("", "at least 1 chars"),
    ] {
        refused(kubectl, bad, &of(bad), &["spec.addresses[0]", message])?;
        let excluded = pool(&json!({ "addresses": ["192.0.2.0/24"], "exclude": [bad] }));
        refused(kubectl, bad, &excluded, &["spec.exclude[0]", message])?;
    }

    let many = |count: u8| {
        (0..count)
            .map(|n| format!("192.0.2.{n}"))
            .collect::<Vec<_>>()
    };
    accepted(
        kubectl,
        "64 ranges",
        &pool(&json!({ "addresses": many(64) })),
    )?;
    let allocation = |allocation: &Value| {
        pool(&json!({ "addresses": ["192.0.2.0/24"], "serviceAllocation": allocation }))
    };
    for (what, bad, messages) in [
        (
            "no spec",
            object("AddressPool", "lan", "metadata", &json!({ "name": "lan" })),
            &["spec: Required value"] as &[&str],
        ),
        (
            "no addresses",
            pool(&json!({})),
            &["spec.addresses: Required value"],
        ),
        (
            "empty addresses",
            pool(&json!({ "addresses": [] })),
            &["at least 1 items"],
        ),
        (
            "65 ranges",
            pool(&json!({ "addresses": many(65) })),
            &["at most 64 items"],
        ),
        (
            "a range over 79 characters",
            of(&"1".repeat(80)),
            &["may not be more than 79"],
        ),
        (
            "the same range twice",
            pool(&json!({ "addresses": ["192.0.2.1", "192.0.2.1"] })),
            &["spec.addresses[1]: Duplicate value"],
        ),
        (
            "a field that does not exist",
            pool(&json!({ "addresses": ["192.0.2.1"], "quota": {} })),
            &["unknown field \"spec.quota\""],
        ),
        (
            "a negative priority",
            allocation(&json!({ "priority": -1 })),
            &["priority", "0"],
        ),
        (
            "a name that is no namespace",
            allocation(&json!({ "namespaces": ["My_Team"] })),
            &["namespaces[0]", "must be the name of a namespace"],
        ),
        (
            "a bad Service selector",
            allocation(&json!({ "serviceSelectors": [bad_selector("In", &[])] })),
            &[
                "serviceSelectors[0].matchExpressions[0]",
                "In and NotIn need at least one value",
            ],
        ),
        (
            "a bad namespace selector",
            allocation(&json!({ "namespaceSelectors": [bad_selector("Exists", &["a"])] })),
            &[
                "namespaceSelectors[0].matchExpressions[0]",
                "take no values",
            ],
        ),
    ] {
        refused(kubectl, what, &bad, messages)?;
    }

    let full = allocation(&json!({
        "priority": 10,
        "namespaces": ["team-a"],
        "namespaceSelectors": [good_selector()],
        "serviceSelectors": [good_selector()],
    }));
    accepted(kubectl, "every field", &full)?;
    let stored = accepted(kubectl, "defaults", &of("192.0.2.0/24"))?;
    let defaults = json!({
        "addresses": ["192.0.2.0/24"],
        "autoAssign": true,
        "avoidBuggyIPs": false,
        "disabled": false,
    });
    ensure!(stored["spec"] == defaults, "defaults: {}", stored["spec"]);
    let stored = accepted(kubectl, "defaults", &allocation(&json!({})))?;
    ensure!(
        stored["spec"]["serviceAllocation"] == json!({ "priority": 0 }),
        "{stored}"
    );
    Ok(())
}

fn l2_advertisements(kubectl: &Kubectl<'_>) -> Result<()> {
    let advertisement = |spec: &Value| object("L2Advertisement", "lan", "spec", spec);
    for good in [
        json!({}),
        json!({ "addressPools": ["lan", "lab.example"], "interfaces": ["eth0", "bond0.100", "br-lan"] }),
        json!({
            "addressPoolSelectors": [good_selector()],
            "nodeSelectors": [good_selector(), {}],
            "serviceSelectors": [good_selector()],
        }),
    ] {
        accepted(kubectl, &good.to_string(), &advertisement(&good))?;
    }
    let interface = "must be the name of a network interface";
    for (bad, messages) in [
        (
            json!({ "interfaces": ["eth 0"] }),
            &["spec.interfaces[0]", interface] as &[&str],
        ),
        (
            json!({ "interfaces": ["eth0", "a/b"] }),
            &["spec.interfaces[1]", interface],
        ),
        (json!({ "interfaces": ["eth0:1"] }), &[interface]),
        (json!({ "interfaces": [".."] }), &[interface]),
        (
            json!({ "interfaces": ["a-very-long-name"] }),
            &["spec.interfaces[0]", "15"],
        ),
        (
            json!({ "interfaces": [""] }),
            &["spec.interfaces[0]", "at least 1 chars"],
        ),
        (
            json!({ "addressPools": ["LAN"] }),
            &["must be the name of an AddressPool"],
        ),
        (
            json!({ "addressPools": ["a", "a"] }),
            &["spec.addressPools[1]: Duplicate value"],
        ),
        (
            json!({ "nodeSelectors": [bad_selector("NotIn", &[])] }),
            &["at least one value"],
        ),
        (
            json!({ "nodeSelectors": [bad_selector("DoesNotExist", &["a"])] }),
            &["take no values"],
        ),
        (
            json!({ "nodeSelectors": [bad_selector("Is", &["a"])] }),
            &["supported values: \"In\""],
        ),
        (
            json!({ "nodeSelectors": [{ "matchExpressions": [{ "key": "a b", "operator": "Exists" }] }] }),
            &[
                "nodeSelectors[0].matchExpressions[0].key",
                "must be a label key",
            ],
        ),
        (
            json!({ "nodeSelectors": [{ "matchLabels": { "zone": "a".repeat(64) } }] }),
            &["nodeSelectors[0].matchLabels", "63"],
        ),
        (
            json!({ "nodeSelectors": vec![json!({}); 33] }),
            &["at most 32 items"],
        ),
        (
            json!({ "ipAddressPools": ["lan"] }),
            &["unknown field \"spec.ipAddressPools\""],
        ),
    ] {
        refused(kubectl, &bad.to_string(), &advertisement(&bad), messages)?;
    }
    Ok(())
}

/// A status as large as a speaker may ever write fits, and its two writers do not undo each other.
fn speakers(kubectl: &Kubectl<'_>) -> Result<()> {
    let apply = |manager: &str, status: &Value| {
        let manager = format!("--field-manager={manager}");
        let args = [
            "apply",
            "--server-side",
            "--subresource=status",
            &manager,
            "-f",
            "-",
        ];
        kubectl.run_with(&args, &object("Speaker", "n1", "status", status))
    };
    kubectl.run_with(
        &["create", "-f", "-"],
        &object("Speaker", "n1", "status", &json!({})),
    )?;
    let owned = |count: u32| -> Vec<Value> {
        let address = |n: u32| {
            format!(
                "fd00:1111:2222:3333:4444:5555:{:04x}:{:04x}",
                n >> 16,
                n & 0xffff
            )
        };
        let entry =
            |n| json!({ "address": address(n), "interfaces": ["enp129s0f0np0", "enp129s0f1np1"] });
        (0..count).map(entry).collect()
    };
    let status =
        json!({ "podName": "herald-speaker-x", "ownedCount": 10_000, "owned": owned(10_000) });
    apply("herald-speaker", &status)?;
    apply(
        "herald-speaker-renew",
        &json!({ "renewTime": "2026-11-21T10:00:00.123456Z" }),
    )?;
    apply(
        "herald-speaker",
        &json!({ "podName": "herald-speaker-y", "ownedCount": 1, "owned": owned(1) }),
    )?;
    let stored: Value =
        serde_json::from_str(&kubectl.run(&["get", "speaker", "n1", "-o", "json"])?)?;
    ensure!(
        stored["status"]["renewTime"] == "2026-11-21T10:00:00.123456Z",
        "{}",
        stored["status"]
    );
    ensure!(
        stored["status"]["podName"] == "herald-speaker-y",
        "{}",
        stored["status"]
    );
    ensure!(
        stored["status"]["owned"].as_array().map(Vec::len) == Some(1),
        "{}",
        stored["status"]
    );

    let Err(error) = apply("herald-speaker", &json!({ "owned": owned(10_001) })) else {
        anyhow::bail!("10,001 owned addresses are accepted");
    };
    let error = format!("{error:#}");
    ensure!(
        error.contains("at most 10000 items"),
        "10,001 owned addresses: {error}"
    );
    Ok(())
}

fn good_selector() -> Value {
    json!({
        "matchLabels": { "app.kubernetes.io/name": "web", "empty": "" },
        "matchExpressions": [
            { "key": "topology.kubernetes.io/zone", "operator": "In", "values": ["a", "b"] },
            { "key": "tier", "operator": "NotIn", "values": ["test"] },
            { "key": "public", "operator": "Exists" },
            { "key": "hidden", "operator": "DoesNotExist" },
        ],
    })
}

fn bad_selector(operator: &str, values: &[&str]) -> Value {
    json!({ "matchExpressions": [{ "key": "zone", "operator": operator, "values": values }] })
}

/// The object as the server would store it.
fn accepted(kubectl: &Kubectl<'_>, what: &str, object: &Value) -> Result<Value> {
    let args = ["create", "--dry-run=server", "-o", "json", "-f", "-"];
    let stored = kubectl.run_with(&args, object);
    Ok(serde_json::from_str(&stored.map_err(|error| {
        error.context(format!("{what} should be accepted"))
    })?)?)
}

fn refused(kubectl: &Kubectl<'_>, what: &str, object: &Value, messages: &[&str]) -> Result<()> {
    match kubectl.run_with(&["create", "--dry-run=server", "-f", "-"], object) {
        Ok(_) => anyhow::bail!("{what} is accepted: {object}"),
        Err(error) => {
            let error = format!("{error:#}");
            for message in messages {
                ensure!(
                    error.contains(message),
                    "{what}: no \"{message}\" in: {error}"
                );
            }
            Ok(())
        }
    }
}
