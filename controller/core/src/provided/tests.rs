use std::collections::BTreeMap;
use std::time::Duration;

use herald_core::{IpFamily, Protocol};
use herald_provider::{
    Ensured, ErrorKind, Ingress, Outcome, PortReport, PortRequest, ProviderError, Reason, Release,
    Report, ServiceReport, TargetCount, TargetPort, UnixTime,
};

use super::*;

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

/// What the condition says: a new Service, and one that was provisioned.
#[test]
fn provisioned_says_whether_the_host_name_works() {
    let both = |one: Outcome| [one.clone(), one];
    let some = [Outcome::Ready, refused("TooManyListeners")];
    for (name, report, failed, new, known) in [
        (
            "ready",
            ready(),
            false,
            (true, "Provisioned"),
            (true, "Provisioned"),
        ),
        (
            "being made",
            report(
                pending("Provisioning"),
                both(pending("Provisioning")),
                false,
            ),
            false,
            (false, "Provisioning"),
            (true, "Provisioning"),
        ),
        (
            "a port is refused",
            report(partial("TooManyListeners"), some, true),
            false,
            (true, "TooManyListeners"),
            (true, "TooManyListeners"),
        ),
        (
            "all is refused",
            report(
                refused("InvalidScheme"),
                both(refused("InvalidScheme")),
                false,
            ),
            false,
            (false, "InvalidScheme"),
            (false, "InvalidScheme"),
        ),
        (
            "out of reach",
            report(
                pending("ConnectionFailed"),
                both(pending("ConnectionFailed")),
                false,
            ),
            true,
            (false, "ConnectionFailed"),
            (true, "ConnectionFailed"),
        ),
        (
            "the call was refused",
            report(
                refused("Limit.Exceeded"),
                both(refused("Limit.Exceeded")),
                false,
            ),
            true,
            (false, "LimitExceeded"),
            (true, "LimitExceeded"),
        ),
    ] {
        for (view, expected) in [(service(), new), (provisioned(), known)] {
            let plan = plan_of(&view, &report, failed);
            let after = written(&view, &plan);
            let found = after.condition(ProvidedKind::Provisioned).unwrap();
            assert_eq!((found.status, found.reason.as_str()), expected, "{name}");
            if found.status {
                assert!(found.message.contains(HOST), "{name}: {}", found.message);
            }
            // What clients may be using stays in the status, whatever happens.
            let kept = !view.status.ingress.is_empty() || !report.ingress.is_empty();
            assert_eq!(!after.status.ingress.is_empty(), kept, "{name}");
        }
    }
}

#[test]
fn an_unchanged_service_costs_no_write_and_no_event() {
    let view = provisioned();
    assert_eq!(plan_of(&view, &ready(), false), ProvidedPlan::default());
    let down = report(
        pending("ConnectionFailed"),
        [pending("ConnectionFailed"), pending("ConnectionFailed")],
        false,
    );
    let plan = plan_of(&view, &down, true);
    assert!(plan.write.is_some() && plan.notices[0].warning);
    let view = written(&view, &plan);
    assert_eq!(plan_of(&view, &down, true), ProvidedPlan::default());
    // Back again: told once.
    let plan = plan_of(&view, &ready(), false);
    assert_eq!(plan.notices.len(), 1);
    assert!(!plan.notices[0].warning);
}

#[test]
fn ports_say_what_is_wrong_with_them() {
    let some = report(
        partial("TooManyListeners"),
        [Outcome::Ready, refused("Too.Many/Listeners 9")],
        true,
    );
    let plan = plan_of(&service(), &some, false);
    let desired = plan.write.unwrap();
    let entry = &desired.ingress[0];
    assert_eq!(entry.hostname.as_deref(), Some(HOST));
    let errors: Vec<_> = entry
        .ports
        .iter()
        .map(|p| (p.port.port, p.error.as_deref()))
        .collect();
    assert_eq!(errors, [(80, None), (443, Some("TooManyListeners9"))]);
    assert!(plan.notices[0].warning);
}

#[test]
fn health_is_counted_and_kept_while_it_is_not_known() {
    for (registered, healthy, expected) in [
        (0, 0, (false, "NoTargets")),
        (3, 0, (false, "Unhealthy")),
        (3, 2, (false, "SomeUnhealthy")),
        (3, 3, (true, "Healthy")),
    ] {
        let mut report = ready();
        report.ports[0].targets = TargetCount {
            registered,
            healthy,
        };
        report.ports[1].targets = TargetCount::default();
        let plan = plan_of(&service(), &report, false);
        let (status, reason) = shown(&plan, ProvidedKind::TargetsHealthy);
        assert_eq!((status, reason.as_str()), expected);
    }
    // Nothing is published: there is nothing to be healthy yet.
    let new = report(pending("A"), [pending("A"), pending("A")], false);
    let plan = plan_of(&service(), &new, false);
    assert_eq!(plan.write.unwrap().conditions.len(), 1);
    // A failed look does not know the targets.
    let view = provisioned();
    let mut down = report(pending("A"), [pending("A"), pending("A")], false);
    down.ports
        .iter_mut()
        .for_each(|port| port.targets = TargetCount::default());
    let plan = plan_of(&view, &down, true);
    let healthy = (true, "Healthy".to_owned());
    assert_eq!(shown(&plan, ProvidedKind::TargetsHealthy), healthy);
}

#[test]
fn what_is_held_back_is_told_without_alarm() {
    let report = report(
        pending("DryRun"),
        [pending("Provisioning"), pending("Provisioning")],
        false,
    );
    let mut held = ensured(&report, false);
    held.held = vec!["create".into()];
    let plan = plan_provided(&service(), &report, &held);
    assert_eq!(
        shown(&plan, ProvidedKind::Provisioned),
        (false, "DryRun".into())
    );
    assert!(!plan.notices[0].warning);
}

#[test]
fn a_provider_out_of_reach_is_told_where_it_matters() {
    let reason = Reason::new("NoVpc", "set --aws-vpc-id");
    let plan = plan_unreachable(&service(), Want::Ensure, &reason);
    assert_eq!(
        shown(&plan, ProvidedKind::Provisioned),
        (false, "NoVpc".into())
    );
    assert!(plan.notices[0].warning);
    let again = written(&service(), &plan);
    let plan = plan_unreachable(&again, Want::Ensure, &reason);
    assert_eq!(plan, ProvidedPlan::default());
    // Its load balancer works without us.
    let view = provisioned();
    let plan = plan_unreachable(&view, Want::Ensure, &reason);
    assert_eq!(plan, ProvidedPlan::default());
    let plan = plan_unreachable(&view, Want::Release, &reason);
    assert!(plan.write.is_some(), "it waits to be removed");
}

#[test]
fn a_removal_is_told_until_nothing_is_left() {
    let releasing = Release::Releasing {
        reason: Reason::new("Draining", "in use"),
        retry_after: Duration::from_secs(5),
    };
    let blocked = Release::Blocked {
        reason: Reason::new("Protected", "turn it off"),
        retry_after: Duration::from_secs(60),
    };
    let mut view = provisioned();
    view.deleting = true;
    let plan = plan_releasing(&view, &releasing);
    assert_eq!(
        shown(&plan, ProvidedKind::Provisioned),
        (false, "Draining".into())
    );
    assert!(!plan.notices[0].warning);
    assert!(!plan.write.as_ref().unwrap().ingress.is_empty());
    view = written(&view, &plan);
    assert_eq!(plan_releasing(&view, &releasing), ProvidedPlan::default());
    let plan = plan_releasing(&view, &blocked);
    assert!(plan.notices[0].warning);
    let plan = plan_releasing(&view, &Release::Done);
    assert_eq!(plan.write, None, "it goes with its finalizer");
    assert_eq!(plan.notices[0].reason, "Released");
    // A type flip: the API server accepts no ingress then, and the Service stays.
    view.deleting = false;
    view.load_balancer = false;
    let plan = plan_releasing(&view, &releasing);
    assert!(plan.write.unwrap().ingress.is_empty());
    let plan = plan_releasing(&view, &Release::Done);
    assert_eq!(plan.write, Some(ProvidedDesired::default()));
}

#[test]
fn words_are_what_the_api_takes() {
    for (code, expected) in [
        ("Throttling", "Throttling"),
        ("InvalidGroup.NotFound", "InvalidGroupNotFound"),
        ("Http503", "Http503"),
        ("503 slow", "slow"),
        ("", "Unknown"),
        ("…", "Unknown"),
    ] {
        assert_eq!(word(code), expected, "{code}");
    }
    assert_eq!(word(&"a".repeat(500)).len(), 100);
}

#[test]
fn a_message_has_nothing_that_differs_each_time() {
    let report = |message: &str| {
        let outcome = Outcome::Pending {
            reason: Reason::new("UnauthorizedOperation", message),
            retry_after: Duration::from_secs(60),
        };
        report(outcome.clone(), [outcome.clone(), outcome], false)
    };
    let first = report("You may not. Encoded authorization failure message: abc");
    let view = written(&service(), &plan_of(&service(), &first, true));
    let next = report("You may not. Encoded authorization failure message: xyz");
    assert_eq!(plan_of(&view, &next, true), ProvidedPlan::default());
    let long = report(&"ä".repeat(5000));
    let view = written(&service(), &plan_of(&service(), &long, true));
    let message = &view.condition(ProvidedKind::Provisioned).unwrap().message;
    assert!(message.len() < 2100 && message.ends_with('…'));
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
