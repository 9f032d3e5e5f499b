//! Who serves what; what the status says is in `tests/status.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use herald_core::{IpFamily, Protocol};
use herald_provider::{
    Ensured, ErrorKind, Ingress, Outcome, PortReport, PortRequest, ProviderError, Reason, Release,
    Report, ServiceReport, TargetCount, TargetPort, UnixTime,
};

use super::*;

mod status;

const HOST: &str = "web.elb.test";

fn identity(takes_classless: bool) -> Identity {
    Identity {
        name: "aws-nlb",
        class: "heraldlb.io/aws-nlb".into(),
        finalizer: "heraldlb.io/aws-nlb".into(),
        takes_classless,
    }
}

fn key(number: u16) -> PortKey {
    PortKey {
        port: number,
        protocol: Protocol::Tcp,
    }
}

fn service() -> ProvidedView {
    let port = |number| PortRequest {
        key: key(number),
        name: String::new(),
        target_port: TargetPort::Number(8080),
        node_port: None,
    };
    ProvidedView {
        version: 1,
        load_balancer: true,
        class: Some("heraldlb.io/aws-nlb".into()),
        deleting: false,
        finalizers: Vec::new(),
        selector: BTreeMap::new(),
        request: ServiceRequest {
            key: ServiceKey::new("default", "web"),
            uid: "u-1".into(),
            created: UnixTime(1),
            annotations: BTreeMap::new(),
            ports: vec![port(80), port(443)],
            families: vec![IpFamily::V4],
            local_traffic: false,
            health_check_node_port: None,
            source_ranges: Vec::new(),
            endpoints: Arc::new([]),
            endpoints_known: false,
            published: Vec::new(),
            paused: false,
        },
        status: ProvidedStatus::default(),
    }
}

/// The Service once its plan was written.
fn written(view: &ProvidedView, plan: &ProvidedPlan) -> ProvidedView {
    let Some(desired) = plan.write.clone() else {
        return view.clone();
    };
    let conditions = desired.conditions.into_iter();
    ProvidedView {
        status: ProvidedStatus {
            ingress: desired.ingress,
            conditions: conditions.map(|c| (c, "then".into())).collect(),
        },
        ..view.clone()
    }
}

fn pending(code: &str) -> Outcome {
    Outcome::Pending {
        reason: Reason::new(code, "not yet"),
        retry_after: Duration::from_secs(15),
    }
}

fn refused(code: &str) -> Outcome {
    Outcome::Refused {
        reason: Reason::new(code, "change it"),
    }
}

fn partial(code: &str) -> Outcome {
    Outcome::Partial {
        reason: Reason::new(code, "port 443/TCP: change it"),
        retry_after: None,
    }
}

fn report(outcome: Outcome, ports: [Outcome; 2], published: bool) -> ServiceReport {
    let counts = TargetCount {
        registered: 3,
        healthy: 3,
    };
    let ports = [80, 443].into_iter().zip(ports);
    ServiceReport {
        service: ServiceKey::new("default", "web"),
        outcome,
        ports: ports
            .map(|(number, outcome)| PortReport {
                port: key(number),
                outcome,
                targets: counts,
            })
            .collect(),
        ingress: published
            .then(|| Ingress::Hostname(HOST.into()))
            .into_iter()
            .collect(),
        endpoints: None,
        warnings: Vec::new(),
    }
}

fn ready() -> ServiceReport {
    report(Outcome::Ready, [Outcome::Ready, Outcome::Ready], true)
}

fn ensured(report: &ServiceReport, failed: bool) -> Ensured {
    let error = ProviderError::new(ErrorKind::Retryable, "Describe", "web", "no route");
    Ensured {
        report: Report {
            services: vec![report.clone()],
            look_again: None,
        },
        applied: Vec::new(),
        held: Vec::new(),
        errors: failed.then_some(error).into_iter().collect(),
    }
}

fn plan_of(view: &ProvidedView, report: &ServiceReport, failed: bool) -> ProvidedPlan {
    plan_provided(view, report, &ensured(report, failed))
}

fn provisioned() -> ProvidedView {
    let view = service();
    let plan = plan_of(&view, &ready(), false);
    written(&view, &plan)
}

fn shown(plan: &ProvidedPlan, kind: ProvidedKind) -> (bool, String) {
    let conditions = &plan.write.as_ref().unwrap().conditions;
    let found = conditions.iter().find(|c| c.kind == kind).unwrap();
    (found.status, found.reason.clone())
}

#[test]
fn who_serves_what() {
    let class = |class: &str| Some(Arc::from(class));
    let ours = || class("heraldlb.io/aws-nlb");
    let other = || class("heraldlb.io/pool");
    for (name, class, load_balancer, deleting, finalizer, classless, expected) in [
        ("new", ours(), true, false, false, false, Want::Ensure),
        ("known", ours(), true, false, true, false, Want::Ensure),
        ("classless", None, true, false, false, true, Want::Ensure),
        (
            "left to others",
            None,
            true,
            false,
            false,
            false,
            Want::Ignore,
        ),
        (
            "flag turned off",
            None,
            true,
            false,
            true,
            false,
            Want::Ensure,
        ),
        ("another's", other(), true, false, false, true, Want::Ignore),
        (
            "another's now",
            other(),
            true,
            false,
            true,
            true,
            Want::Release,
        ),
        ("deleted", ours(), true, true, true, false, Want::Release),
        (
            "deleted, classless",
            None,
            true,
            true,
            true,
            false,
            Want::Release,
        ),
        (
            "deleted, nothing made",
            ours(),
            true,
            true,
            false,
            false,
            Want::Ignore,
        ),
        (
            "type flipped",
            None,
            false,
            false,
            true,
            true,
            Want::Release,
        ),
        ("plain", None, false, false, false, true, Want::Ignore),
    ] {
        let mut view = service();
        (view.class, view.load_balancer, view.deleting) = (class, load_balancer, deleting);
        if finalizer {
            view.finalizers = vec!["other".into(), "heraldlb.io/aws-nlb".into()];
        }
        assert_eq!(want(&view, &identity(classless)), expected, "{name}");
    }
}

#[test]
fn what_asks_the_same_differs_in_version_and_status_only() {
    let (one, mut other) = (service(), provisioned());
    other.version = 9;
    other.request.published = vec![Ingress::Hostname(HOST.into())];
    assert!(one.asks_the_same(&other));
    let changes: [fn(&mut ProvidedView); 5] = [
        |view| drop(view.selector.insert("app".into(), "x".into())),
        |view| view.finalizers.push("x".into()),
        |view| view.deleting = true,
        |view| view.request.paused = true,
        |view| view.request.ports.truncate(1),
    ];
    for change in changes {
        let mut other = other.clone();
        change(&mut other);
        assert!(!one.asks_the_same(&other));
    }
}
