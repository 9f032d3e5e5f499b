//! The controller's program against a real API server: every request it makes, with the permissions of the manifests, and what
//! must survive when it is killed.

#[path = "api_controller/reserved.rs"]
mod reserved;

mod api_server;
mod controller;

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use herald_tests::wait_for;
use serde_json::json;

use api_server::{ApiServer, DEADLINE};
use controller::bench::Bench;
use controller::objects::{Objects, dual_stack, pool, service};
use controller::process::Controller;
use controller::remedies;

/// A replica without a provider.
fn start(bench: &Bench, name: &str) -> Result<Controller> {
    bench.controller(name, |_| {})
}

#[test]
fn controller_on_a_real_api_server() -> Result<()> {
    let bench = Bench::new(ApiServer::start()?, "deploy/base")?;
    let result = scenarios(&bench);
    if result.is_err() {
        bench.show_logs()?;
    }
    result
}

fn scenarios(bench: &Bench) -> Result<()> {
    let objects = bench.objects();
    let controller = start(bench, "first")?;
    controller.wait_to_lead()?;
    remedies::all(&objects)?;
    allocates(&objects)?;
    bad_input_is_told_and_stops_nothing(&objects)?;
    pool_status_and_protection(&objects)?;
    a_pool_deleted_right_after_its_first_use_stays(&objects)?;
    keeps_addresses_of_a_shrunk_pool(&objects)?;
    impossible_requests_keep_the_address(&objects)?;
    frees_addresses(&objects)?;
    reserved::somebodys_addresses(&objects)?;
    announced_follows_the_speakers(&objects)?;
    admin_pages(&controller)?;
    a_silent_speaker_is_marked(&objects)?;
    let controller = restarts_without_a_write(bench, &objects, controller)?;
    controller.stop()?;
    killed_in_the_middle_of_200(bench, &objects)?;
    another_replica_takes_over(bench, &objects)
}

fn allocates(objects: &Objects<'_>) -> Result<()> {
    objects.apply(&pool("lan", &["192.0.2.0/26", "2001:db8::/120"]))?;
    objects.apply(&service("web"))?;
    objects.wait_for_addresses("web", &["192.0.2.0"])?;
    let web = objects.service("web")?;
    ensure!(
        web["metadata"]["annotations"]["heraldlb.io/allocated-from"] == "lan",
        "{web}"
    );
    let condition =
        objects.wait_for_condition("web", "heraldlb.io/Allocated", "True", "Allocated")?;
    ensure!(
        condition["message"] == "192.0.2.0 from AddressPool lan",
        "{condition}"
    );
    // Addresses, conditions and annotation came in one write.
    let managers: Vec<&str> = web["metadata"]["managedFields"]
        .as_array()
        .context("managedFields")?
        .iter()
        .filter_map(|entry| entry["manager"].as_str())
        .filter(|manager| *manager == "herald-controller")
        .collect();
    ensure!(managers.len() == 1, "{managers:?}");
    objects.apply(&dual_stack("dual", "RequireDualStack"))?;
    objects.wait_for_addresses("dual", &["192.0.2.1", "2001:db8::"])?;
    // Asked for by annotation (ours, and a known one of MetalLB) and by field.
    let mut named = service("named");
    named["metadata"]["annotations"] = json!({ "heraldlb.io/addresses": "192.0.2.40" });
    objects.apply(&named)?;
    let mut known = service("known");
    known["metadata"]["annotations"] = json!({ "metallb.io/loadBalancerIPs": "192.0.2.41" });
    objects.apply(&known)?;
    let mut field = service("field");
    field["spec"]["loadBalancerIP"] = json!("192.0.2.42");
    field["spec"]["loadBalancerClass"] = json!("heraldlb.io/pool");
    objects.apply(&field)?;
    for (name, address) in [
        ("named", "192.0.2.40"),
        ("known", "192.0.2.41"),
        ("field", "192.0.2.42"),
    ] {
        objects.wait_for_addresses(name, &[address])?;
    }
    objects.wait_for_event("web", "Allocated").map(drop)
}

fn bad_input_is_told_and_stops_nothing(objects: &Objects<'_>) -> Result<()> {
    objects.apply(&pool("reversed", &["192.0.2.99-192.0.2.90"]))?;
    objects.apply(&pool("z-overlap", &["192.0.2.60-192.0.2.80"]))?;
    objects.wait_for_ready("reversed", "False", "Invalid")?;
    objects.wait_for_ready("z-overlap", "False", "Overlap")?;
    objects.wait_for_ready("lan", "True", "Valid")?;
    let mut tiny = pool("tiny", &["198.51.100.1"]);
    tiny["spec"]["autoAssign"] = json!(false);
    objects.apply(&tiny)?;
    for (name, key, value) in [
        ("unknown", "heraldlb.io/address-pool", "nope"),
        ("taken", "heraldlb.io/addresses", "192.0.2.0"),
        ("only", "heraldlb.io/address-pool", "tiny"),
    ] {
        let mut asking = service(name);
        asking["metadata"]["annotations"] = json!({ key: value });
        objects.apply(&asking)?;
    }
    objects.wait_for_addresses("only", &["198.51.100.1"])?;
    let mut late = service("late");
    late["metadata"]["annotations"] = json!({ "heraldlb.io/address-pool": "tiny" });
    objects.apply(&late)?;
    let mut elsewhere = service("elsewhere");
    elsewhere["metadata"]["annotations"] = json!({ "heraldlb.io/addresses": "203.0.113.5" });
    objects.apply(&elsewhere)?;
    let mut rubbish = service("rubbish");
    rubbish["metadata"]["annotations"] = json!({ "heraldlb.io/addresses": "web.example.com" });
    objects.apply(&rubbish)?;
    for (name, reason, part) in [
        ("unknown", "PoolNotFound", "AddressPool nope does not exist"),
        ("taken", "AddressTaken", "belongs to Service default/web"),
        (
            "late",
            "PoolExhausted",
            "no IPv4 address is left in AddressPool tiny",
        ),
        (
            "elsewhere",
            "AddressNotInPool",
            "203.0.113.5 is in no AddressPool",
        ),
        ("rubbish", "InvalidRequest", "\"web.example.com\""),
    ] {
        let condition =
            objects.wait_for_condition(name, "heraldlb.io/Allocated", "False", reason)?;
        let message = condition["message"].as_str().unwrap_or_default();
        ensure!(message.contains(part), "{name}: {message}");
        objects.wait_for_event(name, reason)?;
    }
    // The others go on, and one that waited gets what becomes free.
    objects.apply(&service("after"))?;
    objects.wait_for_addresses("after", &["192.0.2.2"])?;
    objects.delete("service/only")?;
    objects.wait_for_addresses("late", &["198.51.100.1"])?;
    for name in ["unknown", "taken", "elsewhere", "rubbish", "late"] {
        objects.delete(&format!("service/{name}"))?;
    }
    for name in ["reversed", "z-overlap", "tiny"] {
        objects.delete(&format!("addresspool/{name}"))?;
    }
    Ok(())
}

fn pool_status_and_protection(objects: &Objects<'_>) -> Result<()> {
    // web, dual, after, named, known, field.
    objects.wait_for_pool("lan", "counters and finalizer", |pool| {
        let status = &pool["status"];
        status["assignedIPv4"] == 6
            && status["availableIPv4"] == 58
            && status["assignedIPv6"] == 1
            && status["availableIPv6"] == 255
            && pool["metadata"]["finalizers"] == json!(["heraldlb.io/pool-in-use"])
    })?;
    // Deleted while in use, it stays, gives nothing new, and what is in use keeps working.
    let mut kept = pool("kept", &["198.51.100.7"]);
    kept["spec"]["autoAssign"] = json!(false);
    objects.apply(&kept)?;
    let mut user = service("user");
    user["metadata"]["annotations"] = json!({ "heraldlb.io/address-pool": "kept" });
    objects.apply(&user)?;
    objects.wait_for_addresses("user", &["198.51.100.7"])?;
    objects.wait_for_pool("kept", "finalizer", |pool| {
        !pool["metadata"]["finalizers"].is_null()
    })?;
    objects.delete("addresspool/kept")?;
    objects.wait_for_pool("kept", "deletion", |pool| {
        !pool["metadata"]["deletionTimestamp"].is_null()
    })?;
    ensure!(objects.addresses("user")? == ["198.51.100.7"]);
    objects.delete("service/user")?;
    wait_for("the pool to go with its last user", DEADLINE, || {
        Ok((!objects.exists("addresspool/kept")?).then_some(()))
    })
}

/// The finalizer is there before the address is: whoever sees the address and deletes the pool at once finds it held.
fn a_pool_deleted_right_after_its_first_use_stays(objects: &Objects<'_>) -> Result<()> {
    for turn in 0..8 {
        let name = format!("brief-{turn}");
        let mut brief = pool(&name, &[&format!("198.51.100.{}", 20 + turn)]);
        brief["spec"]["autoAssign"] = json!(false);
        let mut user = service(&name);
        user["metadata"]["annotations"] = json!({ "heraldlb.io/address-pool": name });
        objects.apply(&user)?;
        objects.apply(&brief)?;
        objects.wait_for_addresses(&name, &[&format!("198.51.100.{}", 20 + turn)])?;
        objects.delete(&format!("addresspool/{name}"))?;
        objects.wait_for_pool(&name, "deletion that waits", |pool| {
            !pool["metadata"]["deletionTimestamp"].is_null()
                && pool["metadata"]["finalizers"] == json!(["heraldlb.io/pool-in-use"])
        })?;
        objects.delete(&format!("service/{name}"))?;
        wait_for("the pool to go with its user", DEADLINE, || {
            Ok((!objects.exists(&format!("addresspool/{name}"))?).then_some(()))
        })?;
    }
    Ok(())
}

fn keeps_addresses_of_a_shrunk_pool(objects: &Objects<'_>) -> Result<()> {
    objects.apply(&pool("lan", &["192.0.2.1-192.0.2.63", "2001:db8::/120"]))?;
    let condition =
        objects.wait_for_condition("web", "heraldlb.io/AddressInPool", "False", "PoolChanged")?;
    ensure!(objects.addresses("web")? == ["192.0.2.0"], "{condition}");
    objects.wait_for_event("web", "PoolChanged")?;
    objects.apply(&pool("lan", &["192.0.2.0/26", "2001:db8::/120"]))?;
    wait_for("the condition to go", DEADLINE, || {
        Ok(objects
            .condition("web", "heraldlb.io/AddressInPool")?
            .is_null()
            .then_some(()))
    })?;
    ensure!(objects.addresses("web")? == ["192.0.2.0"]);
    Ok(())
}

fn impossible_requests_keep_the_address(objects: &Objects<'_>) -> Result<()> {
    objects.annotate("web", "heraldlb.io/addresses=192.0.2.40")?;
    let condition =
        objects.wait_for_condition("web", "heraldlb.io/Allocated", "True", "RequestNotMet")?;
    let message = condition["message"].as_str().unwrap_or_default();
    ensure!(
        message.starts_with("keeps 192.0.2.0: 192.0.2.40 belongs to"),
        "{message}"
    );
    ensure!(objects.addresses("web")? == ["192.0.2.0"]);
    objects.wait_for_event("web", "RequestNotMet")?;
    // Met once it can be.
    objects.delete("service/named")?;
    objects.wait_for_addresses("web", &["192.0.2.40"])?;
    objects.wait_for_condition("web", "heraldlb.io/Allocated", "True", "Allocated")?;
    objects.annotate("web", "heraldlb.io/addresses-")?;
    Ok(())
}

fn frees_addresses(objects: &Objects<'_>) -> Result<()> {
    // 192.0.2.0 was given up above.
    objects.apply(&service("reuser"))?;
    objects.wait_for_addresses("reuser", &["192.0.2.0"])?;
    // A change of type takes everything of ours off.
    objects.patch("reuser", r#"{"spec":{"type":"ClusterIP"}}"#)?;
    wait_for("everything of ours to go", DEADLINE, || {
        let service = objects.service("reuser")?;
        let clean = service["metadata"]["annotations"]["heraldlb.io/allocated-from"].is_null()
            && service["status"]["loadBalancer"]["ingress"]
                .as_array()
                .is_none_or(Vec::is_empty)
            && service["status"]["conditions"]
                .as_array()
                .is_none_or(Vec::is_empty);
        if !clean {
            bail!(
                "it has {} {}",
                service["metadata"]["annotations"],
                service["status"]
            );
        }
        Ok(Some(()))
    })?;
    objects.wait_for_event("reuser", "Released")?;
    objects.apply(&service("next"))?;
    objects.wait_for_addresses("next", &["192.0.2.0"])?;
    // Deleted and created anew under its name: another Service, and nothing is left behind in the status.
    objects.delete("service/next")?;
    objects.apply(&service("next"))?;
    objects.wait_for_addresses("next", &["192.0.2.0"])?;
    // Foreign status is left alone.
    let mut foreign = service("foreign");
    foreign["spec"]["loadBalancerClass"] = json!("example.com/other");
    objects.apply(&foreign)?;
    objects.patch_status(
        "service/foreign",
        r#"{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.3"}]}}}"#,
    )?;
    objects.apply(&service("beside"))?;
    objects.wait_for_addresses("beside", &["192.0.2.4"])?;
    ensure!(objects.addresses("foreign")? == ["192.0.2.3"]);
    ensure!(
        objects
            .condition("foreign", "heraldlb.io/Allocated")?
            .is_null()
    );
    Ok(())
}

fn announced_follows_the_speakers(objects: &Objects<'_>) -> Result<()> {
    let announced = "heraldlb.io/Announced";
    objects.wait_for_condition("web", announced, "False", "NoAdvertisement")?;
    objects.apply(&api_server::object(
        "L2Advertisement",
        "lan",
        "spec",
        &json!({ "addressPools": ["lan"] }),
    ))?;
    objects.wait_for_condition("web", announced, "False", "NoEligibleNode")?;
    let interface =
        json!({ "name": "eth0", "up": true, "addresses": ["192.0.2.200/24", "2001:db8::c8/64"] });
    let status = |status: serde_json::Value| json!({ "status": status }).to_string();
    for node in ["n1", "n2"] {
        let speaker = json!({ "apiVersion": "heraldlb.io/v1alpha1", "kind": "Speaker", "metadata": { "name": node } });
        objects.apply(&speaker)?;
        objects.patch_status(
            &format!("speaker/{node}"),
            &status(
                json!({ "renewTime": "2026-01-01T00:00:00.000000Z", "interfaces": [interface] }),
            ),
        )?;
    }
    objects.wait_for_condition("web", announced, "False", "Pending")?;
    let owned = json!({ "owned": [
        { "address": "192.0.2.40", "interfaces": ["eth0"] }, { "address": "192.0.2.1" }, { "address": "2001:db8::" },
    ] });
    objects.patch_status("speaker/n1", &status(owned))?;
    let condition = objects.wait_for_condition("web", announced, "True", "Announced")?;
    ensure!(
        condition["message"] == "announced by node n1",
        "{condition}"
    );
    objects.wait_for_event("web", "Announced")?;
    let condition = objects.wait_for_condition("dual", announced, "True", "Announced")?;
    ensure!(
        condition["message"] == "announced by node n1",
        "{condition}"
    );
    // Another host answers for it.
    let conflict = json!({ "conflicts": [{ "address": "192.0.2.40", "mac": "02:00:00:00:00:99" }], "owned": [] });
    objects.patch_status("speaker/n1", &status(conflict))?;
    let condition = objects.wait_for_condition("web", announced, "False", "AddressConflict")?;
    ensure!(
        condition["message"]
            .as_str()
            .unwrap_or_default()
            .contains("02:00:00:00:00:99"),
        "{condition}"
    );
    // The address moves to another node.
    objects.patch_status("speaker/n1", &status(json!({ "conflicts": [] })))?;
    objects.patch_status(
        "speaker/n2",
        &status(json!({ "owned": [{ "address": "192.0.2.40" }] })),
    )?;
    wait_for("web to be announced by n2", DEADLINE, || {
        let condition = objects.condition("web", announced)?;
        Ok((condition["message"] == "announced by node n2").then_some(()))
    })?;
    // Allocated and address were never touched by this.
    ensure!(objects.addresses("web")? == ["192.0.2.40"]);
    objects.wait_for_condition("web", "heraldlb.io/Allocated", "True", "Allocated")?;
    Ok(())
}

/// Its last word would stand for ever: it is dead, or its node is no longer in the DaemonSet.
fn a_silent_speaker_is_marked(objects: &Objects<'_>) -> Result<()> {
    let ready = |node: &str| -> Result<String> {
        let column = r#"-o=jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
        objects.show(&["speaker", node, column])
    };
    let own = json!({ "status": { "conditions": [{
        "type": "Ready", "status": "True", "reason": "Running", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }] } });
    for node in ["n1", "n2"] {
        objects.patch_status(&format!("speaker/{node}"), &own.to_string())?;
        wait_for(&format!("the mark on {node}"), DEADLINE, || {
            Ok((ready(node)? == "Unknown").then_some(()))
        })?;
        let speaker = objects.get(&["speaker", node])?;
        let mark = &speaker["status"]["conditions"][0];
        ensure!(mark["reason"] == "Silent", "{mark}");
    }
    // Nobody announces by them any more, and a new controller does not believe them again.
    wait_for(
        "the Services to say that nobody announces them",
        DEADLINE,
        || {
            let services = objects.services()?;
            let announced = services.iter().find(|(_, service)| {
                let conditions = service["status"]["conditions"].as_array();
                let mut conditions = conditions.into_iter().flatten();
                conditions.any(|c| {
                    c["type"] == "heraldlb.io/Announced"
                        && (c["status"] == "True" || c["reason"] == "Pending")
                })
            });
            if let Some((name, service)) = announced {
                bail!("{name} says {}", service["status"]["conditions"]);
            }
            Ok(Some(()))
        },
    )
}

fn admin_pages(controller: &Controller) -> Result<()> {
    ensure!(controller.page("/healthz")? == "ok\n");
    let plan = controller.page("/debug/plan?service=default/web")?;
    ensure!(
        plan.contains("this replica leads") && plan.contains("held: [192.0.2.40]"),
        "{plan}"
    );
    let assigned = "heraldlb_controller_pool_addresses_assigned{pool=\"lan\",family=\"IPv6\"}";
    wait_for("the pool's counters in the metrics", DEADLINE, || {
        Ok((controller.metric(assigned)? > 0.5).then_some(()))
    })
}

/// I2: nothing changes over a restart, not even a resource version.
fn restarts_without_a_write(
    bench: &Bench,
    objects: &Objects<'_>,
    controller: Controller,
) -> Result<Controller> {
    let before = objects.versions()?;
    controller.stop()?;
    let holder = objects.lease_holder()?;
    ensure!(holder.is_empty(), "the lease was not given back: {holder}");
    let controller = start(bench, "second")?;
    controller.wait_to_lead()?;
    let plans = |controller: &Controller| controller.metric("heraldlb_controller_plans_total");
    wait_for("all Services to be planned", DEADLINE, || {
        Ok((plans(&controller)? >= 6.0).then_some(()))
    })?;
    objects.apply(&service("sentinel"))?;
    objects.wait_for_condition("sentinel", "heraldlb.io/Allocated", "True", "Allocated")?;
    let mut after = objects.versions()?;
    after.remove("sentinel");
    ensure!(before == after, "restart wrote: {before:?} {after:?}");
    Ok(controller)
}

/// I4: `kill -9` at some points of allocating 200 Services: no duplicate, no changed address.
fn killed_in_the_middle_of_200(bench: &Bench, objects: &Objects<'_>) -> Result<()> {
    const COUNT: usize = 200;
    objects.apply(&pool("big", &["10.1.0.0/16"]))?;
    let names: Vec<String> = (0..COUNT).map(|n| format!("many-{n}")).collect();
    let many = names.iter().map(|name| {
        let mut many = service(name);
        many["metadata"]["annotations"] = json!({ "heraldlb.io/address-pool": "big" });
        many
    });
    objects.apply_all(&many.collect::<Vec<_>>())?;
    let mut known: BTreeMap<String, String> = BTreeMap::new();
    let mut partial = 0;
    for kill_after in [5.0, 40.0, 60.0] {
        let controller = start(bench, "many")?;
        let written = "heraldlb_controller_writes_total{object=\"service\",outcome=\"ok\"}";
        wait_for("some Services to be allocated", DEADLINE, || {
            // Looked at as often as the machine can: the kill must come in the middle.
            for _ in 0..1000 {
                if controller.metric(written)? >= kill_after {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })?;
        controller.kill()?;
        let now = objects.all_addresses()?;
        same_and_unique(&known, &now)?;
        let done = names.iter().filter(|name| now.contains_key(*name)).count();
        println!("killed with {done} of {COUNT} Services allocated");
        partial += usize::from(done < COUNT);
        known = now;
    }
    ensure!(partial >= 2, "the kills came too late to show anything");
    let controller = start(bench, "many")?;
    let all = wait_for("all Services to have an address", DEADLINE, || {
        let now = objects.all_addresses()?;
        let missing = names.iter().filter(|name| !now.contains_key(*name)).count();
        if missing > 0 {
            bail!("{missing} have none");
        }
        Ok(Some(now))
    })?;
    same_and_unique(&known, &all)?;
    controller.stop()
}

fn same_and_unique(
    before: &BTreeMap<String, String>,
    now: &BTreeMap<String, String>,
) -> Result<()> {
    for (name, address) in before {
        ensure!(
            now.get(name) == Some(address),
            "{name} had {address}, has {:?}",
            now.get(name)
        );
    }
    let mut seen = BTreeMap::new();
    for (name, addresses) in now {
        for address in addresses.split(' ') {
            if let Some(other) = seen.insert(address, name) {
                bail!("{name} and {other} both have {address}");
            }
        }
    }
    Ok(())
}

/// One leads; when it is killed the other takes over, and no address changes.
fn another_replica_takes_over(bench: &Bench, objects: &Objects<'_>) -> Result<()> {
    let leader = start(bench, "leader")?;
    leader.wait_to_lead()?;
    let stand_by = start(bench, "stand-by")?;
    let before = objects.all_addresses()?;
    objects.apply(&service("before-the-kill"))?;
    objects.wait_for_condition(
        "before-the-kill",
        "heraldlb.io/Allocated",
        "True",
        "Allocated",
    )?;
    ensure!(
        stand_by.metric("heraldlb_controller_leader")? < 0.5,
        "two replicas lead"
    );
    ensure!(
        stand_by.metric("heraldlb_controller_writes_total{object=\"service\",outcome=\"ok\"}")?
            < 0.5
    );
    leader.kill()?;
    objects.apply(&service("after-the-kill"))?;
    objects.wait_for_condition(
        "after-the-kill",
        "heraldlb.io/Allocated",
        "True",
        "Allocated",
    )?;
    stand_by.wait_to_lead()?;
    ensure!(objects.lease_holder()? == "stand-by");
    same_and_unique(&before, &objects.all_addresses()?)?;
    stand_by.stop()
}
