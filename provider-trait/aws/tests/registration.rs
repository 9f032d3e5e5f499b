//! Registering targets when AWS refuses some of them.

#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod replay;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use herald_provider::{ErrorKind, OpenGate, ProviderError};
use herald_provider_aws::Api;
use herald_provider_aws::call::{Answer, Change};
use herald_provider_aws::client::{AwsClient, Options, static_credentials};
use herald_provider_aws::model::{Ref, Target};
use replay::{Reply, Request, Server, elbv2_error};

const GROUP: &str =
    "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/hld-web/0123456789abcdef";
const DONE: &str = "<RegisterTargetsResponse xmlns=\"http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/\">\
                    <RegisterTargetsResult/><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata>\
                    </RegisterTargetsResponse>";

fn ids(request: &Request) -> Vec<String> {
    let targets = request.form.iter();
    let ids = targets.filter(|(name, _)| name.starts_with("Targets.") && name.ends_with(".Id"));
    ids.map(|(_, id)| id.clone()).collect()
}

/// Registers 100 targets with an AWS that refuses what `refuses` gives a code for; returns what it took, the result and the calls.
fn register(
    refuses: fn(have: usize, ids: &[String]) -> Option<&'static str>,
) -> (BTreeSet<String>, Result<Answer, ProviderError>, usize) {
    let taken = Arc::new(Mutex::new(BTreeSet::new()));
    let have = taken.clone();
    let server = Server::new(move |request| {
        let ids = ids(request);
        let mut have = have.lock().unwrap();
        if let Some(code) = refuses(have.len(), &ids) {
            return Some(elbv2_error(400, code, "as AWS would say"));
        }
        have.extend(ids);
        Some(Reply::xml(200, DONE))
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let result = runtime.block_on(async {
        let client = AwsClient::connect(Options {
            region: Some("us-east-1".into()),
            vpc: Some("vpc-1".into()),
            endpoint: Some(server.url()),
            credentials: Some(static_credentials("test", "test")),
            ..Options::default()
        });
        let target = |n| Target {
            id: format!("i-{n:02}"),
            port: 30080,
            anywhere: false,
        };
        let change = Change::RegisterTargets {
            group: Ref::to("hld-web", GROUP),
            targets: (0..100).map(target).collect(),
        };
        client.await.unwrap().change(&change, &OpenGate).await
    });
    let calls = server.requests().len();
    let taken = taken.lock().unwrap().clone();
    (taken, result, calls)
}

#[test]
fn a_bad_instance_is_found_and_all_others_are_registered() {
    let gone = |_: usize, ids: &[String]| {
        let gone = ids.iter().any(|id| id == "i-42");
        gone.then_some("InvalidTarget")
    };
    let (taken, result, calls) = register(gone);
    let error = result.unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.kind),
        ("InvalidTarget", ErrorKind::Terminal)
    );
    assert_eq!(taken.len(), 99);
    assert!(calls <= 16, "{calls} calls");
}

#[test]
fn a_load_balancer_that_is_full_gets_as_many_as_it_takes() {
    let full = |have: usize, ids: &[String]| (have + ids.len() > 70).then_some("TooManyTargets");
    let (taken, result, calls) = register(full);
    assert_eq!(result.unwrap_err().code, "TooManyTargets");
    assert_eq!(taken.len(), 70);
    assert!(calls <= 16, "{calls} calls");
}

#[test]
fn what_is_not_about_a_target_ends_the_call() {
    let (taken, result, calls) = register(|_, _| Some("AccessDenied"));
    assert_eq!(result.unwrap_err().kind, ErrorKind::Permission);
    assert_eq!((taken.len(), calls), (0, 1));
}
