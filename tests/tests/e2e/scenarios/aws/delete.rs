//! The end of a load balancer, and of the last one.

use anyhow::{Result, ensure};
use herald_tests::{Cluster, wait_for};

use super::{HTTP, PATIENCE, Site, pods, run, service};
use crate::e2e::apply;

/// Nothing of a Service is left in AWS; with the last one go the rules in the nodes' group and the group that they name.
pub(crate) fn delete(cluster: &Cluster, namespace: &str) -> Result<()> {
    run(cluster, namespace, |site| {
        let second = format!("{namespace}-2");
        cluster.kubectl(&["create", "namespace", &second])?;
        site.serve(pods(namespace, 1), service(namespace))?;
        apply(cluster, &[service(&second)])?;
        let nlb = site.published()?;
        site.healthy(&nlb, HTTP, 3)?;
        let other = Site {
            cluster,
            aws: cluster.aws()?,
            namespace: &second,
            remote: site.remote,
        };
        other.published()?;
        let rules = site.rules(site.aws.node_group())?;
        ensure!(!rules.is_empty(), "the nodes' group lets nobody in");

        site.delete()?;
        let kept = site.rules(site.aws.node_group())?;
        ensure!(kept == rules, "the other one needs {rules:?}: {kept:?}");
        other.delete()?;
        let names =
            wait_for("end of the cluster's rules and groups", PATIENCE, || {
                let left = site.rules(site.aws.node_group())?;
                ensure!(left.is_empty(), "the nodes' group still lets in {left:?}");
                let groups = site.aws.call("ec2", "describe_security_groups", &serde_json::json!({
                "Filters": [{ "Name": "tag:heraldlb.io/cluster", "Values": [cluster.name()] }],
            }))?;
                let groups = &groups["SecurityGroups"];
                ensure!(*groups == serde_json::json!([]), "left: {groups}");
                Ok(Some(site.aws.load_balancers()?))
            })?;
        ensure!(names.is_empty(), "left: {names:?}");
        ensure!(
            site.aws.target_groups()?.is_empty(),
            "target groups are left"
        );
        cluster.kubectl(&["delete", "namespace", &second, "--wait=false"])?;
        Ok(())
    })
}
