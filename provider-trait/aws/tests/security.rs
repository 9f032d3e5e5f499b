//! Who is let in: front groups, groups of nodes and pods, given groups, on AWS in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod memory;

use std::collections::BTreeSet;

use herald_core::Protocol;
use herald_provider::Outcome;
use herald_provider::testing::conformance::{Session, block_on};
use herald_provider_aws::call::Change;
use herald_provider_aws::model::{Rule, RuleProtocol, SecurityGroup, Source};
use memory::harness::{Cluster, annotate, config, port, request};
use memory::resources;
use memory::story::{cluster, only, pass, settle, web};

#[test]
fn source_ranges_are_opened_before_the_old_ones_are_closed() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    request.services[0].source_ranges = vec!["192.0.2.0/24".parse().unwrap()];
    let log = settle(&cluster, &mut request);
    assert!(
        matches!(
            log[..],
            [
                Change::AuthorizeIngress { .. },
                Change::RevokeIngress { .. }
            ]
        ),
        "{log:#?}"
    );
    only(&cluster, |_, _| ());
}

#[test]
fn narrower_source_ranges_close_whatever_else_fails() {
    let cluster = cluster();
    let ports = vec![port(80, Protocol::Tcp), port(5000, Protocol::Sctp)];
    let mut request = request("web", ports);
    let session = block_on(Session::start(&cluster));
    block_on(session.ensure(&request));
    let ranges = |cluster: &Cluster| -> Vec<String> {
        let world = cluster.aws.world();
        let fronts = world.security_groups.values();
        let front = fronts.filter(|g| g.name.starts_with("hld-default"));
        front
            .flat_map(|g| g.ingress.iter().map(ToString::to_string))
            .collect()
    };
    assert_eq!(ranges(&cluster), ["tcp 80 from 0.0.0.0/0"]);
    request.services[0].source_ranges = vec!["192.0.2.0/24".parse().unwrap()];
    // One port is refused by Herald, and one by AWS.
    let certificate = "aws-load-balancer-listener-attributes.TCP-80";
    annotate(&mut request, certificate, "no.such.attribute=1");
    block_on(session.ensure(&request));
    assert_eq!(ranges(&cluster), ["tcp 80 from 192.0.2.0/24"]);
    // A port that becomes impossible keeps its listener, for today's clients only.
    request.services[0].ports[0].key.protocol = Protocol::Sctp;
    request.services[0].source_ranges = vec!["198.51.100.0/24".parse().unwrap()];
    block_on(session.ensure(&request));
    assert_eq!(ranges(&cluster), ["tcp 80 from 198.51.100.0/24"]);
}

#[test]
fn what_others_let_in_by_other_means_stays() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    let foreign = |protocol, source| Rule {
        protocol,
        first: 0,
        last: 0,
        source,
        description: "theirs".into(),
    };
    for group in cluster.aws.world().security_groups.values_mut() {
        if group.name.starts_with("hld-default") {
            let ping = Source::Net("192.0.2.0/24".parse().unwrap());
            let others = [
                foreign(RuleProtocol::Other, ping),
                foreign(RuleProtocol::Tcp, Source::Other),
            ];
            group.ingress.extend(others);
        }
    }
    assert_eq!(pass(&cluster, &request), (Outcome::Ready, vec![]));
}

#[test]
fn many_source_ranges_are_exchanged_within_the_quota() {
    let cluster = cluster();
    let mut request = web();
    let ranges = |n: u8| {
        (0..50)
            .map(|host| format!("192.0.{n}.{host}/32").parse().unwrap())
            .collect()
    };
    request.services[0].source_ranges = ranges(1);
    settle(&cluster, &mut request);
    request.services[0].source_ranges = ranges(2);
    let log = settle(&cluster, &mut request);
    let counts: Vec<isize> = log
        .iter()
        .map(|change| match change {
            Change::AuthorizeIngress { rules, .. } => rules.len().cast_signed(),
            Change::RevokeIngress { rules, .. } => -rules.len().cast_signed(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(counts, [10, -50, 40]);
}

#[test]
fn groups_of_nodes_are_found_by_tag_and_closed_when_they_are_no_longer_named() {
    let mut cluster = cluster();
    let nodes = |name: &str, tags: &[&str]| SecurityGroup {
        id: format!("sg-{name}"),
        name: name.into(),
        tags: tags
            .iter()
            .map(|key| ((*key).into(), "yes".into()))
            .collect(),
        ingress: BTreeSet::new(),
    };
    for group in [nodes("both", &["prod", "node"]), nodes("one", &["prod"])] {
        let groups = &mut cluster.aws.world().security_groups;
        groups.insert(group.id.clone(), group);
    }
    let open = |cluster: &Cluster| -> Vec<String> {
        let world = cluster.aws.world();
        let open = world
            .security_groups
            .values()
            .filter(|g| !g.ingress.is_empty());
        open.map(|g| g.name.clone())
            .filter(|n| !n.starts_with("hld-"))
            .collect()
    };
    cluster.config.node_groups.clear();
    cluster.config.node_group_tags = nodes("", &["prod", "node"]).tags;
    let mut request = web();
    settle(&cluster, &mut request);
    assert_eq!(open(&cluster), ["both"]);
    // Somebody closes it by hand; the audit opens it again.
    let session = block_on(Session::start(&cluster));
    cluster
        .aws
        .world()
        .security_groups
        .get_mut("sg-both")
        .unwrap()
        .ingress
        .clear();
    block_on(session.ensure(&request));
    assert_eq!(open(&cluster), Vec::<String>::new(), "not looked at yet");
    session.doubt(&request.id);
    block_on(session.ensure(&request));
    assert_eq!(open(&cluster), ["both"]);
    // Another group from now on, and other ports.
    cluster.config.node_group_tags.clear();
    cluster.config.node_groups = ["sg-one".to_owned()].into();
    settle(&cluster, &mut request);
    assert_eq!(open(&cluster), ["one"]);
    cluster.config.node_ports = (30000, 30100);
    settle(&cluster, &mut request);
    assert_eq!(
        cluster.aws.world().security_groups["sg-one"].ingress.len(),
        3
    );
    // What is open is closed with the last load balancer, named or not.
    cluster.config.node_groups.clear();
    let session = block_on(Session::start(&cluster));
    block_on(session.remove(&request.id));
    assert_eq!(open(&cluster), Vec::<String>::new());
}

#[test]
fn clusters_that_share_a_group_of_nodes_leave_each_others_rules_alone() {
    let (cluster, mut theirs) = (cluster(), config());
    theirs.cluster_uid = "another".into();
    let other = Cluster {
        aws: cluster.aws.clone(),
        config: theirs,
    };
    let (mut one, mut two) = (web(), web());
    settle(&cluster, &mut one);
    settle(&other, &mut two);
    let rules = || {
        cluster.aws.world().security_groups["sg-nodes"]
            .ingress
            .len()
    };
    assert_eq!(rules(), 6);
    assert_eq!(pass(&cluster, &one), (Outcome::Ready, vec![]));
    let session = block_on(Session::start(&cluster));
    block_on(session.remove(&one.id));
    assert_eq!(rules(), 3);
    assert_eq!(pass(&other, &two), (Outcome::Ready, vec![]));
}

#[test]
fn nodes_are_opened_for_the_backend_group_only_and_closed_with_the_last_load_balancer() {
    let cluster = cluster();
    let ingress = |cluster: &Cluster| {
        cluster.aws.world().security_groups["sg-nodes"]
            .ingress
            .clone()
    };
    let (mut one, mut two) = (web(), request("api", vec![port(81, Protocol::Tcp)]));
    settle(&cluster, &mut one);
    settle(&cluster, &mut two);
    let rules = ingress(&cluster);
    assert_eq!(rules.len(), 3, "{rules:?}");
    assert!(
        rules
            .iter()
            .all(|rule| matches!(rule.source, Source::Group(_))),
        "{rules:?}"
    );
    let session = block_on(Session::start(&cluster));
    block_on(session.remove(&one.id));
    assert_eq!(ingress(&cluster), rules, "another load balancer needs them");
    block_on(session.remove(&two.id));
    assert!(ingress(&cluster).is_empty());
    let world = cluster.aws.world();
    assert_eq!(
        world.security_groups.keys().collect::<Vec<_>>(),
        ["sg-nodes"]
    );
}

#[test]
fn given_groups_are_used_as_they_are() {
    let cluster = cluster();
    let mut request = web();
    annotate(
        &mut request,
        "aws-load-balancer-security-groups",
        "sg-nodes",
    );
    let log = settle(&cluster, &mut request);
    assert!(
        !log.iter()
            .any(|c| matches!(c, Change::AuthorizeIngress { .. })),
        "{log:#?}"
    );
    only(&cluster, |nlb, _| {
        assert_eq!(
            nlb.spec.security_groups,
            BTreeSet::from(["sg-nodes".to_owned()])
        );
    });
}

#[test]
fn an_audit_repairs_what_somebody_changed_by_hand() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    let session = block_on(Session::start(&cluster));
    block_on(session.ensure(&request));
    let whole = resources(&cluster.aws.world());
    {
        let world = &mut *cluster.aws.world();
        for group in world.security_groups.values_mut() {
            group.ingress.clear();
        }
        for nlb in world.load_balancers.values_mut() {
            nlb.listeners.clear();
            nlb.spec.security_groups.pop_first();
        }
        for group in world.groups.values_mut() {
            group.targets.clear();
        }
    }
    session.doubt(&request.id);
    block_on(session.ensure(&request));
    assert_eq!(resources(&cluster.aws.world()), whole);
    // The target group goes, and with it what forwards there.
    {
        let world = &mut *cluster.aws.world();
        world.load_balancers.clear();
        world.groups.clear();
    }
    session.doubt(&request.id);
    block_on(session.settle(&mut request));
    assert_eq!(resources(&cluster.aws.world()), whole);
}
