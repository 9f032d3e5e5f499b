use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Only {
    #[command(flatten)]
    aws: AwsArgs,
}

fn parse(args: &[&str]) -> Result<AwsArgs, String> {
    let parsed = Only::try_parse_from([&["herald-controller"], args].concat());
    parsed
        .map(|only| only.aws)
        .map_err(|error| error.to_string())
}

fn checked(args: &[&str], claim_classless: bool) -> Result<(), String> {
    let args = [&["--aws-cluster-name=prod"], args].concat();
    let checked = parse(&args)?.check(claim_classless);
    checked.map_err(|error| error.to_string())
}

#[test]
fn without_a_cluster_name_there_is_no_provider() {
    let args = parse(&[]).unwrap();
    assert_eq!(args.cluster(), None);
    assert!(!args.aws_claim_classless && !args.aws_dry_run);
    assert_eq!(
        parse(&["--aws-cluster-name", "  "]).unwrap().cluster(),
        None
    );
    assert!(
        parse(&["--aws-claim-classless"])
            .unwrap()
            .check(true)
            .is_ok()
    );
}

#[test]
fn flags_become_settings() {
    let args = parse(&[
        "--aws-cluster-name=prod",
        "--aws-claim-classless",
        "--aws-default-scheme=internet-facing",
        "--aws-default-target-type=ip",
        "--aws-default-ssl-policy=ELBSecurityPolicy-2016-08",
        "--aws-subnets=subnet-1, blue,",
        "--aws-tags=team=net,cost=a=b",
        "--aws-node-security-groups=sg-1,sg-2",
        "--aws-pod-security-groups=sg-3",
        "--aws-node-port-range=20000-22767",
        "--aws-node-health-port=9999",
        "--aws-node-health-path=/ready",
        "--aws-replacement-grace=1h",
    ]);
    let args = args.unwrap();
    args.check(false).unwrap();
    let config = args.config("uid", "vpc-1").unwrap();
    assert_eq!(
        (&*config.cluster, &*config.cluster_uid, &*config.vpc),
        ("prod", "uid", "vpc-1")
    );
    assert_eq!(config.class, "heraldlb.io/aws-nlb");
    assert!(config.takes_classless);
    assert_eq!(config.scheme, Scheme::InternetFacing);
    assert_eq!(config.target_type, TargetType::Ip);
    assert_eq!(config.tls_policy, "ELBSecurityPolicy-2016-08");
    assert_eq!(config.subnets, ["subnet-1", "blue"]);
    let tags = BTreeMap::from([("team", "net"), ("cost", "a=b")]);
    let found = config.tags.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), tags);
    assert_eq!(config.node_groups.len(), 2);
    assert_eq!(config.pod_groups.len(), 1);
    assert_eq!(config.node_ports, (20000, 22767));
    assert_eq!(
        (config.node_health_port, &*config.node_health_path),
        (9999, "/ready")
    );
    assert_eq!(config.replacement_grace, Duration::from_hours(1));
}

#[test]
fn defaults_are_the_providers_own() {
    let args = parse(&["--aws-cluster-name=prod"]).unwrap();
    let expected = Config::new("prod", "uid", "vpc-1");
    assert_eq!(args.config("uid", "vpc-1").unwrap(), expected);
    assert_eq!(args.limits(), Limits::default());
}

#[test]
fn an_error_names_the_flag_and_the_remedy() {
    for (args, words) in [
        (
            &["--aws-default-scheme=public"] as &[&str],
            ["--aws-default-scheme", "internet-facing"],
        ),
        (
            &["--aws-default-target-type=alb"],
            ["--aws-default-target-type", "instance or ip"],
        ),
        (
            &["--aws-node-port-range=9-1"],
            ["--aws-node-port-range", "30000-32767"],
        ),
        (
            &["--aws-replacement-grace=4m"],
            ["--aws-replacement-grace", "at least 5m"],
        ),
        (
            &["--aws-replacement-grace=5"],
            ["--aws-replacement-grace", "5m"],
        ),
        (&["--aws-audit-interval=0s"], ["--aws-audit-interval", "1s"]),
        (
            &["--aws-resync-interval=18446744073709551615s"],
            ["--aws-resync-interval", "168h"],
        ),
        (&["--aws-read-rate=10"], ["--aws-read-rate", "10/40"]),
        (&["--aws-change-rate=0/1"], ["--aws-change-rate", "at once"]),
        (&["--aws-target-rate=1/0"], ["--aws-target-rate", "at once"]),
        (&["--aws-parallel=0"], ["--aws-parallel", "from 1 to 256"]),
        (&["--aws-tags=team"], ["--aws-tags", "key=value"]),
        (&["--aws-tags=a=1,a=2"], ["--aws-tags", "twice"]),
        (
            &["--aws-node-security-group-tags==x"],
            ["--aws-node-security-group-tags", "key=value"],
        ),
        (
            &["--aws-node-health-path=healthz"],
            ["--aws-node-health-path", "slash"],
        ),
        (&["--aws-dry-run=maybe"], ["--aws-dry-run", "true"]),
    ] {
        let error = checked(args, false).unwrap_err();
        for word in words {
            assert!(error.contains(word), "no \"{word}\" in: {error}");
        }
    }
    let both = checked(&["--aws-claim-classless"], true).unwrap_err();
    assert!(
        both.contains("--aws-claim-classless and --claim-classless"),
        "{both}"
    );
    assert!(checked(&["--aws-claim-classless"], false).is_ok());
}
