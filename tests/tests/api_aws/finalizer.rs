//! The finalizer comes first: without it nothing is made that could be left behind.

use anyhow::{Context, Result, ensure};
use herald_tests::wait_for;
use serde_json::{Value, json};

use crate::api_aws::calls;
use crate::api_aws::cloud::Cloud;
use crate::api_aws::objects::nlb;
use crate::api_server::DEADLINE;

const ROLE: &str = "clusterrole/herald-controller-aws";
const ACCOUNT: &str = "--as=system:serviceaccount:herald-system:herald-controller";

/// A controller that may not set its finalizer changes nothing in AWS, and goes on once it may.
pub(crate) fn is_needed(cloud: &Cloud) -> Result<()> {
    let (admin, objects) = (cloud.bench().admin(), cloud.objects());
    let may = || -> Result<bool> {
        let asked = [
            "auth", "can-i", "patch", "services", ACCOUNT, "-n", "default",
        ];
        // It also ends with 1 to say no.
        Ok(admin.run(&asked).is_ok_and(|answer| answer.trim() == "yes"))
    };
    let role = objects.get(&[ROLE])?;
    let mut without = role.clone();
    let rules = without["rules"].as_array_mut().context("rules")?;
    rules.retain(|rule| !(has(rule, "resources", "services") && has(rule, "verbs", "patch")));
    // What a role is replaced with must not insist on a version.
    let put = |mut role: Value| {
        role["metadata"] = json!({ "name": role["metadata"]["name"] });
        admin.run_with(&["replace", "-f", "-"], &role)
    };
    put(without)?;
    wait_for("the permission to be gone", DEADLINE, || {
        Ok((!may()?).then_some(()))
    })?;
    let mark = calls::mark(&cloud.moto)?;
    objects.apply(&nlb("guarded"))?;
    wait_for("a try to set the finalizer", DEADLINE, || {
        let writes = cloud.audit.writes("guarded")?;
        Ok(writes
            .iter()
            .any(|write| !write.status && write.code == 403)
            .then_some(()))
    })?;
    put(role)?;
    wait_for("the permission to be back", DEADLINE, || {
        Ok(may()?.then_some(()))
    })?;
    cloud.wait_until_provisioned("guarded", true)?;
    cloud.finalizer_came_first("guarded")?;
    // Not one change was tried while the finalizer was refused.
    let refused = cloud.audit.writes("guarded")?;
    let refused = refused.iter().rfind(|write| write.code == 403);
    let until = refused.context("a refused write")?.time;
    let calls = calls::since(&cloud.moto, mark)?;
    let early = calls
        .iter()
        .filter(|call| call.changing && call.time < until);
    ensure!(early.count() == 0, "{}", calls::lines(&calls));
    let uid = cloud.uid("guarded")?;
    objects.delete("service/guarded")?;
    cloud.wait_until_gone("guarded", &uid)
}

fn has(rule: &Value, list: &str, entry: &str) -> bool {
    let mut all = rule[list].as_array().into_iter().flatten();
    all.any(|one| one == entry)
}
