//! The sources of credentials.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use herald_provider::{Backoff, LoadBalancerId};
use herald_provider_aws::Api;
use herald_provider_aws::call::Query;
use herald_provider_aws::client::{AwsClient, Options};
use herald_provider_aws::model::Ref;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::replay::{Reply, Request, Server, elbv2_error};

/// Set for the program in the role of the controller: the endpoint for `--aws-endpoint`, or nothing.
pub(crate) const CHILD: &str = "HERALD_TEST_ENDPOINT";

/// Connects as its environment says, makes a call with each client, and prints what came of it.
pub(crate) fn child() {
    let endpoint = std::env::var(CHILD).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let said = runtime.block_on(async {
        let options = Options {
            endpoint: Some(endpoint).filter(|url| !url.is_empty()),
            backoff: Backoff {
                base: Duration::from_millis(1),
                cap: Duration::from_millis(5),
            },
            vpc: std::env::var("HERALD_AWS_VPC_ID").ok(),
            ..Options::default()
        };
        let client = match AwsClient::connect(options).await {
            Ok(client) => client,
            Err(error) => return json!({ "connect": error.to_string() }),
        };
        let names = Query::Names {
            id: LoadBalancerId::of_service("u"),
            load_balancers: BTreeSet::new(),
            target_groups: BTreeSet::new(),
            security_groups: BTreeSet::from(["web".to_owned()]),
        };
        let of = |result: Result<_, herald_provider::ProviderError>| match result {
            Ok(()) => json!("ok"),
            Err(error) => json!({
                "kind": format!("{:?}", error.kind), "code": error.code, "message": error.message,
            }),
        };
        let listeners = Query::Listeners(Ref::to("web", "arn:web"));
        json!({
            "vpc": client.vpc(),
            "ec2": of(client.ask(&names).await.map(drop)),
            "elbv2": of(client.ask(&listeners).await.map(drop)),
        })
    });
    println!("{said}");
}

/// Runs the program beside `server`, which is also AWS, with nothing in its environment but this.
fn controller(server: &Server, home: &Path, environment: &[(&str, &str)]) -> Value {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env_clear()
        .env("HOME", home)
        .env(CHILD, server.url())
        .envs(environment.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_str(&text).unwrap()
}

const NO_LISTENERS: &str = "<DescribeListenersResponse><DescribeListenersResult><Listeners/></DescribeListenersResult>\
     </DescribeListenersResponse>";
const NO_GROUPS: &str =
    "<DescribeSecurityGroupsResponse><securityGroupInfo/></DescribeSecurityGroupsResponse>";
const TOKEN: &str = "session-token";
/// Far away, but not so far that a parser minds.
const EXPIRATION: &str = "2099-01-01T00:00:00Z";

/// AWS itself.
fn aws(request: &Request) -> Option<Reply> {
    match request.action() {
        "DescribeListeners" => Some(Reply::xml(200, NO_LISTENERS)),
        "DescribeSecurityGroups" => Some(Reply::xml(200, NO_GROUPS)),
        _ => None,
    }
}

/// Both clients were let in with these credentials, for this region.
fn assert_signed(server: &Server, said: &Value, key: &str, token: &str, region: &str) {
    assert_eq!((&said["ec2"], &said["elbv2"]), (&json!("ok"), &json!("ok")));
    let requests = server.requests();
    let calls = requests.iter().filter(|r| aws(r).is_some());
    let signed: Vec<_> = calls
        .map(|request| {
            let scope = request.header("authorization").to_owned();
            assert!(scope.contains(&format!("/{region}/")), "{scope}");
            (
                request.action().to_owned(),
                request.access_key().to_owned(),
                request.header("x-amz-security-token").to_owned(),
            )
        })
        .collect();
    let one = |action: &str| (action.to_owned(), key.to_owned(), token.to_owned());
    assert_eq!(
        signed,
        [one("DescribeSecurityGroups"), one("DescribeListeners")]
    );
}

const STATIC: [(&str, &str); 3] = [
    ("AWS_REGION", "eu-west-1"),
    ("HERALD_AWS_VPC_ID", "vpc-given"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
];

fn environment() {
    let (home, server) = (tempfile::tempdir().unwrap(), Server::new(aws));
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKIDENVIRONMENT"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", TOKEN),
    ];
    let said = controller(&server, home.path(), &[&STATIC[..], &keys].concat());
    assert_eq!(said["vpc"], "vpc-given");
    assert_signed(&server, &said, "AKIDENVIRONMENT", TOKEN, "eu-west-1");
}

fn profile() {
    let (home, server) = (tempfile::tempdir().unwrap(), Server::new(aws));
    let folder = home.path().join(".aws");
    std::fs::create_dir(&folder).unwrap();
    let config = "[default]\nregion = us-east-1\n[profile other]\nregion = eu-north-1\n";
    std::fs::write(folder.join("config"), config).unwrap();
    let credentials = "[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key = x\n\
                       [other]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = secret\n";
    std::fs::write(folder.join("credentials"), credentials).unwrap();
    let said = controller(
        &server,
        home.path(),
        &[&STATIC[1..], &[("AWS_PROFILE", "other")]].concat(),
    );
    assert_signed(&server, &said, "AKIDPROFILE", "", "eu-north-1");
}

/// A role for a ServiceAccount (IRSA): its token is exchanged at STS.
fn web_identity() {
    let home = tempfile::tempdir().unwrap();
    let token = home.path().join("token");
    std::fs::write(&token, "the.serviceaccount.token").unwrap();
    let server = Server::new(|request| match request.action() {
        "AssumeRoleWithWebIdentity" => {
            let right = request.form["WebIdentityToken"] == "the.serviceaccount.token"
                && request.form["RoleArn"] == "arn:aws:iam::123456789012:role/herald";
            if !right {
                return Some(elbv2_error(400, "InvalidIdentityToken", "no such token"));
            }
            Some(Reply::xml(
                200,
                format!(
                    "<AssumeRoleWithWebIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
                     <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>ASIAWEB</AccessKeyId>\
                     <SecretAccessKey>secret</SecretAccessKey><SessionToken>{TOKEN}</SessionToken>\
                     <Expiration>{EXPIRATION}</Expiration></Credentials>\
                     <SubjectFromWebIdentityToken>system:serviceaccount:herald-system:herald-controller\
                     </SubjectFromWebIdentityToken><AssumedRoleUser>\
                     <Arn>arn:aws:sts::123456789012:assumed-role/herald/session</Arn>\
                     <AssumedRoleId>AROA:session</AssumedRoleId></AssumedRoleUser>\
                     </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"
                ),
            ))
        }
        _ => aws(request),
    });
    let url = server.url();
    let role = [
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/herald"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ENDPOINT_URL_STS", url.as_str()),
    ];
    let said = controller(&server, home.path(), &[&STATIC[..], &role].concat());
    assert_signed(&server, &said, "ASIAWEB", TOKEN, "eu-west-1");
}

fn json_credentials(key: &str) -> String {
    json!({
        "Code": "Success", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC", "AccessKeyId": key,
        "SecretAccessKey": "secret", "Token": TOKEN, "Expiration": EXPIRATION,
    })
    .to_string()
}

/// EKS Pod Identity: an agent on the node exchanges the token.
fn container() {
    let home = tempfile::tempdir().unwrap();
    let token = home.path().join("token");
    std::fs::write(&token, "pod-identity-token").unwrap();
    let server = Server::new(|request| {
        if request.path != "/v1/credentials" {
            return aws(request);
        }
        let right = request.header("authorization") == "pod-identity-token";
        Some(if right {
            Reply::json(json_credentials("ASIACONTAINER"))
        } else {
            Reply::html(401, "who are you?")
        })
    });
    let uri = format!("{}/v1/credentials", server.url());
    let agent = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", uri.as_str()),
        (
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            token.to_str().unwrap(),
        ),
    ];
    let said = controller(&server, home.path(), &[&STATIC[..], &agent].concat());
    assert_signed(&server, &said, "ASIACONTAINER", TOKEN, "eu-west-1");
}

/// The instance's role; region and VPC come from its metadata too.
fn instance() {
    const MAC: &str = "0a:00:00:00:00:01";
    let home = tempfile::tempdir().unwrap();
    let server = Server::new(|request| {
        if request.path == "/latest/api/token" {
            let right = request.method == "PUT";
            let reply =
                Reply::text("metadata-token").with("x-aws-ec2-metadata-token-ttl-seconds", "21600");
            return Some(if right { reply } else { Reply::html(405, "") });
        }
        let Some(name) = request.path.strip_prefix("/latest/meta-data/") else {
            return aws(request);
        };
        if request.header("x-aws-ec2-metadata-token") != "metadata-token" {
            return Some(Reply::html(401, ""));
        }
        Some(match name {
            "placement/region" => Reply::text("ap-south-1"),
            "iam/security-credentials/" => Reply::text("nodes"),
            "iam/security-credentials/nodes" => Reply::json(json_credentials("ASIAINSTANCE")),
            "mac" => Reply::text(MAC),
            other if other == format!("network/interfaces/macs/{MAC}/vpc-id") => {
                Reply::text("vpc-of-the-instance")
            }
            _ => Reply::html(404, ""),
        })
    });
    let url = server.url();
    let metadata = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", url.as_str())];
    let said = controller(&server, home.path(), &metadata);
    assert_eq!(said["vpc"], "vpc-of-the-instance", "{said}");
    assert_signed(&server, &said, "ASIAINSTANCE", TOKEN, "ap-south-1");
}

fn none() {
    let (home, server) = (tempfile::tempdir().unwrap(), Server::new(aws));
    let said = controller(&server, home.path(), &STATIC);
    for client in ["ec2", "elbv2"] {
        let error = &said[client];
        assert_eq!(error["kind"], "Permission", "{said}");
        assert_eq!(error["code"], "NoCredentials", "{said}");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("give the controller's ServiceAccount a role"),
            "{message}"
        );
    }
    assert!(server.requests().is_empty(), "{:?}", server.requests());
}

/// A role that cannot be assumed: the reason is AWS's.
fn refused_role() {
    let home = tempfile::tempdir().unwrap();
    let token = home.path().join("token");
    std::fs::write(&token, "the.serviceaccount.token").unwrap();
    let server = Server::new(|request| match request.action() {
        "AssumeRoleWithWebIdentity" => Some(elbv2_error(
            403,
            "AccessDenied",
            "Not authorized to perform sts:AssumeRoleWithWebIdentity",
        )),
        _ => aws(request),
    });
    let url = server.url();
    let role = [
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/herald"),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", token.to_str().unwrap()),
        ("AWS_ENDPOINT_URL_STS", url.as_str()),
    ];
    let said = controller(&server, home.path(), &[&STATIC[..], &role].concat());
    for client in ["ec2", "elbv2"] {
        let error = &said[client];
        assert_eq!(error["kind"], "Permission", "{said}");
        let message = error["message"].as_str().unwrap();
        assert!(
            message.contains("Not authorized to perform sts:AssumeRoleWithWebIdentity"),
            "{message}"
        );
    }
}

fn no_region() {
    let (home, server) = (tempfile::tempdir().unwrap(), Server::new(aws));
    let said = controller(&server, home.path(), &STATIC[1..]);
    let message = said["connect"].as_str().unwrap();
    assert!(message.contains("set --aws-region"), "{message}");
}

fn no_vpc() {
    let (home, server) = (tempfile::tempdir().unwrap(), Server::new(aws));
    let environment = [STATIC[0], STATIC[2]];
    let said = controller(&server, home.path(), &environment);
    let message = said["connect"].as_str().unwrap();
    assert!(message.contains("set --aws-vpc-id"), "{message}");
}

/// In every partition of AWS the EC2 client, which is ours, finds its endpoint where the SDK finds that of ELBv2;
/// and both ask the proxy of the environment for it.
fn partitions() {
    let home = tempfile::tempdir().unwrap();
    let keys = [
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
    ];
    for (region, suffix) in [
        ("eu-west-1", "amazonaws.com"),
        ("us-gov-west-1", "amazonaws.com"),
        ("cn-north-1", "amazonaws.com.cn"),
        ("eusc-de-east-1", "amazonaws.eu"),
        ("us-iso-east-1", "c2s.ic.gov"),
        ("us-isob-east-1", "sc2s.sgov.gov"),
        ("us-isof-south-1", "csp.hci.ic.gov"),
        ("eu-isoe-west-1", "cloud.adc-e.uk"),
    ] {
        let proxy = Server::new(|_| None);
        let url = proxy.url();
        let special = [("AWS_REGION", region), (CHILD, ""), ("HTTPS_PROXY", &url)];
        controller(
            &proxy,
            home.path(),
            &[&STATIC[1..], &keys, &special].concat(),
        );
        let requests = proxy.requests();
        assert!(
            requests.iter().all(|r| r.method == "CONNECT"),
            "{requests:?}"
        );
        let asked: BTreeSet<&str> = requests.iter().map(|r| r.path.as_str()).collect();
        let host = |service: &str| format!("{service}.{region}.{suffix}:443");
        let (ec2, elbv2) = (host("ec2"), host("elasticloadbalancing"));
        assert_eq!(asked, BTreeSet::from([ec2.as_str(), elbv2.as_str()]));
    }
}

/// All of them.
pub(crate) fn trials() -> Vec<Trial> {
    let all: [(&str, fn()); 10] = [
        ("keys_in_the_environment", environment),
        ("a_profile", profile),
        ("a_role_for_the_service_account", web_identity),
        ("pod_identity", container),
        ("the_role_of_the_instance", instance),
        ("no_credentials_at_all", none),
        ("a_role_that_is_refused", refused_role),
        ("no_region", no_region),
        ("no_vpc", no_vpc),
        ("endpoints_follow_the_partition", partitions),
    ];
    let trial = |(name, case): (&str, fn())| {
        Trial::test(name, move || {
            case();
            Ok(())
        })
    };
    all.into_iter().map(trial).collect()
}
