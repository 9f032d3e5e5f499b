//! What status and Events say, over the Service of the parent module.

use super::*;

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
    // It came back with another class: what it shows now is another's to write.
    view.load_balancer = true;
    view.class = Some("heraldlb.io/pool".into());
    let plan = plan_releasing(&view, &blocked);
    assert!(plan.write.as_ref().unwrap().ingress.is_empty());
    let ingress = view.status.ingress.clone();
    view = written(&view, &plan);
    view.status.ingress = ingress;
    assert_eq!(plan_releasing(&view, &blocked), ProvidedPlan::default());
    let reason = Reason::new("NoCredentials", "none");
    let plan = plan_unreachable(&view, Want::Release, &reason);
    assert!(plan.write.unwrap().ingress.is_empty());
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
