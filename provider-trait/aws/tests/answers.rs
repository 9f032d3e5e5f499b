//! AWS's errors as AWS words them, through the real connector and parsers: what becomes of them, in both clients.
//!
//! The texts are those that users of AWS have reported.

#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod replay;

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use herald_provider::{Backoff, ErrorKind, LoadBalancerId, OpenGate, ProviderError};
use herald_provider_aws::Api;
use herald_provider_aws::call::{Answer, Change, Query};
use herald_provider_aws::client::{AwsClient, Options, static_credentials};
use replay::changes::{
    GROUP, LB, authorize, create_group, create_lb, create_listener, create_security_group,
    delete_lb, delete_security_group, group, lb, register, set_groups,
};
use replay::{Reply, Server, ec2_error, elbv2_error};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

async fn client(server: &Server) -> AwsClient {
    AwsClient::connect(Options {
        region: Some("us-east-1".into()),
        vpc: Some("vpc-1".into()),
        endpoint: Some(server.url()),
        credentials: Some(static_credentials("test", "test")),
        backoff: Backoff {
            base: Duration::from_millis(1),
            cap: Duration::from_millis(5),
        },
        ..Options::default()
    })
    .await
    .unwrap()
}

/// What a change comes to if AWS answers it so however often it is asked, and how often it was.
fn refused(change: &Change, reply: Reply) -> (ProviderError, usize) {
    let server = Server::new(move |_| Some(reply.clone()));
    let error = run(async { client(&server).await.change(change, &OpenGate).await });
    let error = error.unwrap_err();
    let actions = server.actions();
    assert!(
        actions.iter().all(|action| *action == error.operation),
        "{actions:?} {error}"
    );
    (error, actions.len())
}

const USER: &str = "arn:aws:sts::123456789012:assumed-role/herald/1690000000000000000";

#[test]
fn every_refusal_keeps_awss_code_and_words_and_says_what_can_be_done() {
    use ErrorKind::{Permission, Retryable, Terminal};
    let denied = format!(
        "User: {USER} is not authorized to perform: elasticloadbalancing:AddTags on resource: {LB} because no \
         identity-based policy allows the elasticloadbalancing:AddTags action"
    );
    let encoded = format!(
        "You are not authorized to perform this operation. User: {USER} is not authorized to perform: \
         ec2:CreateSecurityGroup on resource: arn:aws:ec2:us-east-1:123456789012:vpc/vpc-1 because no identity-based \
         policy allows the ec2:CreateSecurityGroup action. Encoded authorization failure message: \
         cfUle6L-pQ7Xm0_cF9vVm9Nq6XZICy8Glpi"
    );
    let policy = "grant the action in the controller's IAM policy";
    let (protected, used) = (
        format!("Load balancer '{LB}' cannot be deleted because deletion protection is enabled"),
        format!(
            "Load balancer '{LB}' cannot be deleted because it is currently associated with another service"
        ),
    );
    let group_used = format!("Target group '{GROUP}' is currently in use by a listener or a rule");
    let targets = format!(
        "The maximum number of targets per load balancer '500' has been reached on load balancer '{LB}'"
    );
    let delete_group = Change::DeleteTargetGroup { group: group() };
    let cases = [
        (
            create_group(),
            elbv2_error(
                400,
                "InvalidConfigurationRequest",
                "Custom health check timeouts are not supported for health checks for target groups with the TCP protocol",
            ),
            (
                Terminal,
                "InvalidConfigurationRequest",
                "Custom health check timeouts",
            ),
        ),
        (
            set_groups(),
            elbv2_error(
                400,
                "InvalidConfigurationRequest",
                "You cannot set security groups on a Network Load Balancer which was created without any security groups.",
            ),
            (
                Terminal,
                "InvalidConfigurationRequest",
                "created without any security groups",
            ),
        ),
        (
            set_groups(),
            elbv2_error(
                400,
                "InvalidConfigurationRequest",
                "SetSecurityGroups is not supported for load balancers of type &apos;network&apos;",
            ),
            (Terminal, "InvalidConfigurationRequest", "of type 'network'"),
        ),
        (
            delete_lb(),
            elbv2_error(400, "OperationNotPermitted", &protected),
            (Terminal, "OperationNotPermitted", &protected),
        ),
        (
            delete_lb(),
            elbv2_error(400, "ResourceInUse", &used),
            (Retryable, "ResourceInUse", &used),
        ),
        (
            delete_group,
            elbv2_error(400, "ResourceInUse", &group_used),
            (Retryable, "ResourceInUse", &group_used),
        ),
        (
            register(),
            elbv2_error(400, "TooManyTargets", &targets),
            (Terminal, "TooManyTargets", &targets),
        ),
        (
            create_listener(),
            elbv2_error(
                400,
                "TooManyListeners",
                "You have reached the maximum number of listeners for your load balancer",
            ),
            (Terminal, "TooManyListeners", "maximum number of listeners"),
        ),
        (
            create_lb(),
            elbv2_error(
                400,
                "TooManyLoadBalancers",
                "The quota 'Network Load Balancers per Region' has been exceeded",
            ),
            (
                Terminal,
                "TooManyLoadBalancers",
                "Network Load Balancers per Region",
            ),
        ),
        (
            create_lb(),
            elbv2_error(
                400,
                "OperationNotPermitted",
                "This AWS account currently does not support creating load balancers. For more information, please \
                 contact AWS Support.",
            ),
            (Terminal, "OperationNotPermitted", "contact AWS Support"),
        ),
        (
            create_lb(),
            elbv2_error(
                400,
                "PriorRequestNotComplete",
                "The request was rejected because a prior request is still being processed",
            ),
            (
                Retryable,
                "PriorRequestNotComplete",
                "a prior request is still being processed",
            ),
        ),
        (
            create_lb(),
            elbv2_error(403, "AccessDenied", &denied),
            (Permission, "AccessDenied", &denied),
        ),
        (
            create_lb(),
            elbv2_error(403, "AccessDenied", &denied),
            (Permission, "AccessDenied", policy),
        ),
        (
            create_lb(),
            elbv2_error(
                403,
                "ExpiredToken",
                "The security token included in the request is expired",
            ),
            (
                Permission,
                "ExpiredToken",
                "the credentials are out of date",
            ),
        ),
        (
            create_security_group(),
            ec2_error(403, "UnauthorizedOperation", &encoded),
            (Permission, "UnauthorizedOperation", &encoded),
        ),
        (
            create_security_group(),
            ec2_error(403, "UnauthorizedOperation", &encoded),
            (Permission, "UnauthorizedOperation", policy),
        ),
        (
            create_security_group(),
            ec2_error(400, "RequestExpired", "Request has expired."),
            (
                Permission,
                "RequestExpired",
                "the credentials are out of date",
            ),
        ),
        (
            create_security_group(),
            ec2_error(
                400,
                "SecurityGroupLimitExceeded",
                "The maximum number of security groups for VPC 'vpc-1' has been reached.",
            ),
            (
                Terminal,
                "SecurityGroupLimitExceeded",
                "maximum number of security groups",
            ),
        ),
        (
            authorize(),
            ec2_error(
                400,
                "RulesPerSecurityGroupLimitExceeded",
                "The maximum number of rules per security group has been reached.",
            ),
            (
                Terminal,
                "RulesPerSecurityGroupLimitExceeded",
                "maximum number of rules",
            ),
        ),
        (
            delete_security_group(),
            ec2_error(
                400,
                "DependencyViolation",
                "resource sg-1 has a dependent object",
            ),
            (
                Retryable,
                "DependencyViolation",
                "resource sg-1 has a dependent object",
            ),
        ),
    ];
    for (change, reply, (kind, code, says)) in cases {
        let (error, requests) = refused(&change, reply);
        assert_eq!((error.kind, error.code.as_str()), (kind, code), "{error}");
        assert!(error.message.contains(says), "{error}: {says}");
        assert_eq!(requests, 1, "{error} is not asked again at once");
    }
}

#[test]
fn throttled_calls_are_repeated_and_then_put_off() {
    let throttling = elbv2_error(400, "Throttling", "Rate exceeded");
    let limit = ec2_error(503, "RequestLimitExceeded", "Request limit exceeded.");
    for (change, reply, code) in [
        (create_group(), throttling, "Throttling"),
        (create_security_group(), limit, "RequestLimitExceeded"),
    ] {
        let (error, requests) = refused(&change, reply);
        assert_eq!(
            (error.kind, error.code.as_str(), requests),
            (ErrorKind::Throttled, code, 5),
            "{error}"
        );
    }
}

fn names() -> Query {
    Query::Names {
        id: LoadBalancerId::of_service("u"),
        load_balancers: BTreeSet::new(),
        target_groups: BTreeSet::new(),
        security_groups: BTreeSet::from(["hld-web".to_owned()]),
    }
}

const NO_LISTENERS: &str = r#"<DescribeListenersResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">
  <DescribeListenersResult><Listeners/></DescribeListenersResult>
  <ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></DescribeListenersResponse>"#;
const NO_GROUPS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeSecurityGroupsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
    <requestId>1</requestId><securityGroupInfo/></DescribeSecurityGroupsResponse>"#;

#[test]
fn what_breaks_once_while_reading_is_read_again() {
    let page = "<html><body><h1>500 Internal Server Error</h1></body></html>";
    let cut = |body: &str| Reply::xml(200, body).cut_after(body.len() / 2);
    // As long as it says, and yet only a part. (The SDK takes what is there of such an answer.)
    let half = |body: &str| Reply::xml(200, &body[..body.len() / 2]);
    for broken in [
        Reply::html(500, page),
        Reply::html(502, "<html>bad gateway"),
        elbv2_error(500, "InternalFailure", "The request processing has failed"),
        cut(NO_LISTENERS),
        elbv2_error(503, "ServiceUnavailable", "Service unavailable"),
    ] {
        let server = Server::script([broken.clone(), Reply::xml(200, NO_LISTENERS)]);
        let found = run(async { client(&server).await.ask(&Query::Listeners(lb())).await });
        assert!(
            matches!(&found, Ok(Answer::Listeners(Some(all))) if all.is_empty()),
            "{broken:?}: {found:?}"
        );
        assert_eq!(server.actions().len(), 2, "{broken:?}");
    }
    for broken in [
        Reply::html(500, page),
        ec2_error(500, "InternalError", "An internal error has occurred"),
        ec2_error(503, "Unavailable", "The server is overloaded"),
        cut(NO_GROUPS),
        half(NO_GROUPS),
    ] {
        let server = Server::script([broken.clone(), Reply::xml(200, NO_GROUPS)]);
        let found = run(async { client(&server).await.ask(&names()).await });
        assert!(
            matches!(&found, Ok(Answer::Names { security_groups, .. }) if security_groups.is_empty()),
            "{broken:?}: {found:?}"
        );
        assert_eq!(server.actions().len(), 2, "{broken:?}");
    }
}

#[test]
fn what_breaks_while_changing_is_left_to_the_next_pass() {
    // It may have been carried out: what is there is looked at before it is asked for again.
    for (change, reply, code) in [
        (create_group(), Reply::html(500, "<html>"), "Http500"),
        (
            create_group(),
            Reply::xml(200, "<Create").cut_after(3),
            "Http500",
        ),
        (
            create_security_group(),
            Reply::html(500, "<html>"),
            "Http500",
        ),
        (
            create_security_group(),
            Reply::xml(200, "<Create").cut_after(3),
            "ConnectionFailed",
        ),
    ] {
        let (error, requests) = refused(&change, reply);
        assert_eq!(
            (error.kind, error.code.as_str(), requests),
            (ErrorKind::Retryable, code, 1),
            "{error}"
        );
    }
    // Not a word.
    for change in [create_group(), create_security_group()] {
        let server = Server::script([]);
        let error = run(async { client(&server).await.change(&change, &OpenGate).await });
        let error = error.unwrap_err();
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Retryable, "ConnectionFailed")
        );
        assert_eq!(server.actions().len(), 1, "{error}");
    }
}

/// An address where nobody takes calls and nobody refuses them, as behind a firewall.
async fn silent() -> (tokio::net::TcpListener, Vec<tokio::net::TcpStream>, String) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // A queue of one, which is never emptied; once it is full, the kernel says nothing to further ones.
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(
        Duration::from_millis(500),
        tokio::net::TcpStream::connect(address),
    )
    .await
    {
        queued.push(stream.unwrap());
        assert!(queued.len() < 10, "the queue does not fill");
    }
    (listener, queued, format!("http://{address}"))
}

#[test]
fn an_endpoint_that_says_nothing_is_given_up() {
    run(async {
        let (_listener, _queued, endpoint) = silent().await;
        let client = AwsClient::connect(Options {
            region: Some("us-east-1".into()),
            vpc: Some("vpc-1".into()),
            endpoint: Some(endpoint),
            credentials: Some(static_credentials("test", "test")),
            ..Options::default()
        })
        .await
        .unwrap();
        let (one, other) = (create_group(), create_security_group());
        let both = futures::future::join(
            client.change(&one, &OpenGate),
            client.change(&other, &OpenGate),
        );
        let (one, other) = tokio::time::timeout(Duration::from_mins(2), both)
            .await
            .unwrap();
        for error in [one.unwrap_err(), other.unwrap_err()] {
            assert_eq!(
                (error.kind, error.code.as_str()),
                (ErrorKind::Retryable, "ConnectionFailed")
            );
            assert!(error.message.to_lowercase().contains("timeout"), "{error}");
        }
    });
}

#[test]
fn what_is_not_there_yet_is_no_error_while_reading_and_retryable_while_changing() {
    let missing = || {
        elbv2_error(
            400,
            "LoadBalancerNotFound",
            "One or more load balancers not found",
        )
    };
    let server = Server::script([missing(), Reply::xml(200, NO_LISTENERS)]);
    run(async {
        let client = client(&server).await;
        let asked = Query::Listeners(lb());
        assert_eq!(client.ask(&asked).await, Ok(Answer::Listeners(None)));
        let found = client.ask(&asked).await.unwrap();
        assert!(matches!(found, Answer::Listeners(Some(_))), "{found:?}");
    });
    let group_missing = format!("Target groups '{GROUP}' not found");
    let sg_missing = "The security group 'sg-1' does not exist";
    for (change, reply, code) in [
        (create_listener(), missing(), "LoadBalancerNotFound"),
        (
            register(),
            elbv2_error(400, "TargetGroupNotFound", &group_missing),
            "TargetGroupNotFound",
        ),
        (
            authorize(),
            ec2_error(400, "InvalidGroup.NotFound", sg_missing),
            "InvalidGroup.NotFound",
        ),
    ] {
        let (error, _) = refused(&change, reply);
        assert_eq!(
            (error.kind, error.code.as_str()),
            (ErrorKind::Retryable, code)
        );
    }
    // And what is to go and is gone already is as it should be.
    for (change, reply) in [
        (delete_lb(), missing()),
        (
            delete_security_group(),
            ec2_error(400, "InvalidGroup.NotFound", sg_missing),
        ),
    ] {
        let server = Server::script([reply]);
        let done = run(async { client(&server).await.change(&change, &OpenGate).await });
        assert_eq!(done, Ok(Answer::Done));
    }
}
