//! Which listeners, target groups and health checks ports get, on AWS in memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod memory;

use std::collections::BTreeSet;

use herald_core::{IpFamily, Protocol};
use herald_provider::Outcome;
use herald_provider::testing::conformance::{Harness, Session, block_on};
use herald_provider_aws::call::Change;
use herald_provider_aws::model::{Probe, Wire};
use memory::harness::{annotate, port, request};
use memory::story::{cluster, code, only, pass, settle, web};

#[test]
fn tcp_udp_and_tls_get_the_right_listeners_groups_and_health_checks() {
    let cluster = cluster();
    let ports = vec![
        port(80, Protocol::Tcp),
        port(443, Protocol::Tcp),
        port(53, Protocol::Udp),
    ];
    let mut request = request("web", ports);
    annotate(
        &mut request,
        "aws-load-balancer-ssl-cert",
        "arn:cert/1,arn:cert/2",
    );
    annotate(&mut request, "aws-load-balancer-ssl-ports", "443");
    settle(&cluster, &mut request);
    only(&cluster, |nlb, groups| {
        let of = |port: u16| {
            let spec = &nlb.listeners[&port].spec;
            let group = &groups[&spec.target_group.name].spec;
            (
                spec.protocol,
                group.protocol,
                group.health_check.protocol,
                group.health_check.port,
            )
        };
        assert_eq!(of(80), (Wire::Tcp, Wire::Tcp, Probe::Tcp, None));
        assert_eq!(of(443), (Wire::Tls, Wire::Tcp, Probe::Tcp, None));
        assert_eq!(of(53), (Wire::Udp, Wire::Udp, Probe::Http, Some(10256)));
        let tls = &nlb.listeners[&443];
        assert_eq!(tls.spec.certificate.as_deref(), Some("arn:cert/1"));
        assert_eq!(tls.certificates, BTreeSet::from(["arn:cert/2".to_owned()]));
    });
    annotate(&mut request, "aws-load-balancer-ssl-cert", "arn:cert/3");
    let log = settle(&cluster, &mut request);
    assert!(
        matches!(
            log[..],
            [
                Change::ModifyListener { .. },
                Change::RemoveCertificates { .. }
            ]
        ),
        "{log:#?}"
    );
}

#[test]
fn tcp_and_udp_on_one_number_are_merged_or_refused_never_dropped() {
    let cluster = cluster();
    let mut request = request(
        "dns",
        vec![port(53, Protocol::Tcp), port(53, Protocol::Udp)],
    );
    let session = block_on(Session::start(&cluster));
    block_on(session.ensure(&request));
    block_on(cluster.advance(memory::PROVISIONING));
    let done = block_on(session.ensure(&request));
    let service = &done.report.services[0];
    assert!(
        matches!(service.outcome, Outcome::Partial { .. }),
        "{service:#?}"
    );
    assert_eq!(service.ports[0].outcome, Outcome::Ready);
    assert_eq!(code(&service.ports[1].outcome), "PortConflict");

    annotate(
        &mut request,
        "aws-load-balancer-enable-tcp-udp-listener",
        "true",
    );
    settle(&cluster, &mut request);
    only(&cluster, |nlb, groups| {
        assert_eq!(nlb.listeners[&53].spec.protocol, Wire::TcpUdp);
        assert_eq!(groups.len(), 1, "the group of the TCP listener is gone");
    });
    let mut other = memory::harness::request(
        "odd",
        vec![port(53, Protocol::Tcp), port(53, Protocol::Udp)],
    );
    annotate(
        &mut other,
        "aws-load-balancer-enable-tcp-udp-listener",
        "true",
    );
    other.services[0].ports[1].node_port = Some(31000);
    let (outcome, _) = pass(&cluster, &other);
    assert_ne!(
        outcome,
        Outcome::Ready,
        "different node ports cannot be one listener"
    );
}

#[test]
fn policy_local_uses_the_services_health_port() {
    let cluster = cluster();
    let mut request = web();
    request.services[0].local_traffic = true;
    request.services[0].health_check_node_port = Some(32111);
    settle(&cluster, &mut request);
    only(&cluster, |_, groups| {
        let check = &groups.values().next().unwrap().spec.health_check;
        assert_eq!((check.protocol, check.port), (Probe::Http, Some(32111)));
        assert_eq!(check.path.as_deref(), Some("/healthz"));
        assert_eq!(
            (
                check.interval,
                check.timeout,
                check.healthy,
                check.unhealthy
            ),
            (10, 6, 2, 2)
        );
    });
    annotate(&mut request, "aws-load-balancer-proxy-protocol", "*");
    let (outcome, log) = pass(&cluster, &request);
    assert_eq!(code(&outcome), "ProxyProtocolHealthCheck");
    assert_eq!(log, [], "what works stays");
    annotate(
        &mut request,
        "aws-load-balancer-healthcheck-port",
        "traffic-port",
    );
    annotate(
        &mut request,
        "aws-load-balancer-healthcheck-protocol",
        "tcp",
    );
    settle(&cluster, &mut request);
    only(&cluster, |nlb, groups| {
        let group = &groups[&nlb.listeners[&80].spec.target_group.name];
        assert_eq!(group.attributes["proxy_protocol_v2.enabled"], "true");
    });
}

#[test]
fn ports_beyond_the_limit_are_refused_one_by_one() {
    let cluster = cluster();
    let ports: Vec<_> = (1..=52).map(|n| port(9000 + n, Protocol::Tcp)).collect();
    let request = request("many", ports);
    let session = block_on(Session::start(&cluster));
    block_on(session.ensure(&request));
    block_on(cluster.advance(memory::PROVISIONING));
    let done = block_on(session.ensure(&request));
    let ports = &done.report.services[0].ports;
    let ready = ports.iter().filter(|p| p.outcome == Outcome::Ready).count();
    assert_eq!(ready, 50);
    assert!(
        ports
            .iter()
            .filter(|p| code(&p.outcome) == "TooManyListeners")
            .count()
            == 2
    );
}

#[test]
fn ipv6_needs_dualstack_and_sctp_is_refused() {
    let cluster = cluster();
    let mut request = request(
        "six",
        vec![port(80, Protocol::Tcp), port(5000, Protocol::Sctp)],
    );
    request.services[0].families = vec![IpFamily::V6];
    let session = block_on(Session::start(&cluster));
    let done = block_on(session.ensure(&request));
    let ports = &done.report.services[0].ports;
    assert_eq!(code(&ports[0].outcome), "NeedsDualstack");
    assert_eq!(code(&ports[1].outcome), "UnsupportedProtocol");
    annotate(
        &mut request,
        "aws-load-balancer-ip-address-type",
        "dualstack",
    );
    request.services[0].ports.truncate(1);
    settle(&cluster, &mut request);
    only(&cluster, |nlb, groups| {
        assert_eq!(nlb.listeners.len(), 1);
        assert!(groups.values().all(|g| g.spec.family == IpFamily::V6));
    });
    let world = cluster.aws.world();
    let front = world
        .security_groups
        .values()
        .find(|g| g.name.starts_with("hld-default"));
    assert_eq!(front.unwrap().ingress.len(), 2, "both families are let in");
}

#[test]
fn tls_is_never_lost_by_merging_and_its_traces_go_with_it() {
    let cluster = cluster();
    let ports = vec![port(443, Protocol::Tcp), port(443, Protocol::Udp)];
    let mut request = request("web", ports);
    request.services[0].ports[1].target_port = request.services[0].ports[0].target_port.clone();
    annotate(
        &mut request,
        "aws-load-balancer-enable-tcp-udp-listener",
        "true",
    );
    annotate(
        &mut request,
        "aws-load-balancer-ssl-cert",
        "arn:cert/1,arn:cert/2",
    );
    annotate(
        &mut request,
        "aws-load-balancer-alpn-policy",
        "HTTP2Preferred",
    );
    let session = block_on(Session::start(&cluster));
    block_on(session.ensure(&request));
    block_on(cluster.advance(memory::PROVISIONING));
    let done = block_on(session.ensure(&request));
    let ports = &done.report.services[0].ports;
    assert_eq!(ports[0].outcome, Outcome::Ready);
    assert_eq!(code(&ports[1].outcome), "PortConflict");
    let spec = |cluster: &_| only(cluster, |nlb, _| nlb.listeners[&443].spec.clone());
    assert_eq!(spec(&cluster).protocol, Wire::Tls);
    assert_eq!(spec(&cluster).alpn.as_deref(), Some("HTTP2Preferred"));
    // AWS keeps a policy that is not named.
    request.services[0].ports.truncate(1);
    request.services[0]
        .annotations
        .retain(|key, _| !key.ends_with("alpn-policy"));
    settle(&cluster, &mut request);
    assert_eq!(spec(&cluster).alpn.as_deref(), Some("None"));
    request.services[0].annotations.clear();
    let log = settle(&cluster, &mut request);
    assert!(
        matches!(log[..], [Change::ModifyListener { .. }]),
        "{log:#?}"
    );
    assert_eq!(spec(&cluster).protocol, Wire::Tcp);
}

#[test]
fn udp_to_pods_is_checked_where_they_answer_tcp() {
    let cluster = cluster();
    let mut request = request("dns", vec![port(53, Protocol::Udp)]);
    annotate(&mut request, "aws-load-balancer-nlb-target-type", "ip");
    let (outcome, _) = pass(&cluster, &request);
    assert_eq!(code(&outcome), "NoHealthCheck");
    let check = |cluster: &_| {
        only(cluster, |nlb, groups| {
            let group = &groups[&nlb.listeners[&53].spec.target_group.name];
            let check = &group.spec.health_check;
            (check.protocol, check.port)
        })
    };
    request.services[0].ports.push(port(80, Protocol::Tcp));
    settle(&cluster, &mut request);
    assert_eq!(check(&cluster), (Probe::Tcp, Some(8080)));
    let mut same = port(5353, Protocol::Tcp);
    same.target_port = request.services[0].ports[0].target_port.clone();
    request.services[0].ports.push(same);
    settle(&cluster, &mut request);
    assert_eq!(
        check(&cluster),
        (Probe::Tcp, None),
        "the port that traffic goes to"
    );
    request.services[0].ports.truncate(1);
    annotate(&mut request, "aws-load-balancer-healthcheck-port", "8081");
    settle(&cluster, &mut request);
    assert_eq!(check(&cluster), (Probe::Tcp, Some(8081)));
}

#[test]
fn another_traffic_policy_changes_the_health_check_and_no_target_group() {
    let cluster = cluster();
    let mut request = web();
    settle(&cluster, &mut request);
    request.services[0].local_traffic = true;
    request.services[0].health_check_node_port = Some(32111);
    let log = settle(&cluster, &mut request);
    assert!(
        matches!(log[..], [Change::ModifyTargetGroup { .. }]),
        "{log:#?}"
    );
}

#[test]
fn the_merged_port_of_a_proxied_service_may_name_udp_first() {
    let cluster = cluster();
    let ports = vec![port(53, Protocol::Udp), port(53, Protocol::Tcp)];
    let mut request = request("dns", ports);
    annotate(
        &mut request,
        "aws-load-balancer-enable-tcp-udp-listener",
        "true",
    );
    annotate(&mut request, "aws-load-balancer-proxy-protocol", "*");
    settle(&cluster, &mut request);
}

#[test]
fn what_would_listen_on_nothing_is_not_made() {
    let cluster = cluster();
    let mut request = request(
        "web",
        vec![port(80, Protocol::Tcp), port(81, Protocol::Tcp)],
    );
    request.services[0].local_traffic = true;
    request.services[0].health_check_node_port = Some(32000);
    annotate(&mut request, "aws-load-balancer-proxy-protocol", "*");
    let session = block_on(Session::start(&cluster));
    let done = block_on(session.ensure(&request));
    let service = &done.report.services[0];
    assert_eq!(code(&service.outcome), "ProxyProtocolHealthCheck");
    assert!(
        matches!(service.outcome, Outcome::Refused { .. }),
        "{service:#?}"
    );
    assert_eq!(done.applied, Vec::<String>::new());
    // One that is there goes on: its port may come back, and clients know its name.
    annotate(&mut request, "aws-load-balancer-proxy-protocol", "");
    settle(&cluster, &mut request);
    annotate(&mut request, "aws-load-balancer-proxy-protocol", "*");
    let (outcome, log) = pass(&cluster, &request);
    assert_eq!(code(&outcome), "ProxyProtocolHealthCheck");
    assert_eq!(log, []);
}
