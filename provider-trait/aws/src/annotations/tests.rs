use std::collections::BTreeMap;
use std::sync::Arc;

use herald_core::{IpFamily, Protocol, ServiceKey};
use herald_provider::{PortKey, PortRequest, ServiceRequest, TargetPort, UnixTime};

use super::*;
use crate::model::Probe;

fn service(annotations: &[(&str, &str)]) -> ServiceRequest {
    let port = |name: &str, number| PortRequest {
        key: PortKey {
            port: number,
            protocol: Protocol::Tcp,
        },
        name: name.into(),
        target_port: TargetPort::Number(8080),
        node_port: Some(30080),
    };
    ServiceRequest {
        key: ServiceKey::new("default", "web"),
        uid: "u1".into(),
        created: UnixTime(1),
        annotations: annotations
            .iter()
            .map(|(k, v)| {
                let full = if k.contains('/') {
                    (*k).to_owned()
                } else {
                    format!("{PREFIX}{k}")
                };
                (full, (*v).to_owned())
            })
            .collect(),
        ports: vec![port("http", 80), port("https", 443)],
        families: vec![IpFamily::V4],
        local_traffic: false,
        health_check_node_port: None,
        source_ranges: Vec::new(),
        endpoints: Arc::new([]),
        endpoints_known: true,
        published: Vec::new(),
        paused: false,
    }
}

fn config() -> Config {
    Config::new("c", "uid", "vpc-1")
}

fn good(annotations: &[(&str, &str)]) -> Settings {
    let parsed = parse(&service(annotations), &config());
    assert_eq!(parsed.errors, Vec::new(), "{annotations:?}");
    assert_eq!(parsed.warnings, Vec::new(), "{annotations:?}");
    parsed.settings
}

fn errors(annotations: &[(&str, &str)]) -> String {
    let parsed = parse(&service(annotations), &config());
    let all: Vec<_> = parsed.errors.iter().map(ToString::to_string).collect();
    all.join("\n")
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(k, v)| ((*k).into(), (*v).into()))
        .collect()
}

#[test]
fn without_annotations_everything_is_at_its_default() {
    let settings = good(&[]);
    assert_eq!(settings.target_type, TargetType::Instance);
    assert_eq!(settings.scheme, None);
    assert_eq!(settings.address_type, AddressType::Ipv4);
    assert_eq!(settings.groups, Groups::Managed);
    assert!(settings.backend_rules);
    assert_eq!(settings.source_ranges, ["0.0.0.0/0".parse().unwrap()]);
    assert_eq!(settings.proxy_protocol, ProxyProtocol::Unsaid);
    assert_eq!(settings.health, HealthSettings::default());
}

#[test]
fn every_honoured_annotation_is_read() {
    let settings = good(&[
        ("aws-load-balancer-type", "external"),
        ("aws-load-balancer-nlb-target-type", "ip"),
        ("aws-load-balancer-name", "my-nlb"),
        ("aws-load-balancer-scheme", "internet-facing"),
        ("aws-load-balancer-ip-address-type", "dualstack"),
        ("aws-load-balancer-subnets", "subnet-1, my subnet"),
        ("aws-load-balancer-eip-allocations", "eipalloc-1,eipalloc-2"),
        (
            "aws-load-balancer-ipv6-addresses",
            "2001:db8::1,2001:db8::2",
        ),
        ("load-balancer-source-ranges", "10.0.0.0/8, 2001:db8::/32"),
        ("aws-load-balancer-security-groups", "sg-1,web"),
        (
            "aws-load-balancer-manage-backend-security-group-rules",
            "true",
        ),
        ("aws-load-balancer-ssl-cert", "arn:1,arn:2"),
        ("aws-load-balancer-ssl-ports", "https"),
        (
            "aws-load-balancer-ssl-negotiation-policy",
            "ELBSecurityPolicy-2016-08",
        ),
        ("aws-load-balancer-backend-protocol", "ssl"),
        ("aws-load-balancer-alpn-policy", "HTTP2Preferred"),
        ("aws-load-balancer-proxy-protocol-per-target-group", "80"),
        (
            "aws-load-balancer-target-group-attributes",
            "stickiness.enabled=true",
        ),
        (
            "aws-load-balancer-target-group-attributes.80",
            "stickiness.enabled=,x=y",
        ),
        (
            "aws-load-balancer-attributes",
            "deletion_protection.enabled=true",
        ),
        (
            "aws-load-balancer-listener-attributes.TCP-80",
            "tcp.idle_timeout.seconds=60",
        ),
        (
            "aws-load-balancer-cross-zone-load-balancing-enabled",
            "true",
        ),
        ("aws-load-balancer-access-log-enabled", "true"),
        ("aws-load-balancer-access-log-s3-bucket-name", "logs"),
        ("aws-load-balancer-access-log-s3-bucket-prefix", "nlb"),
        ("aws-load-balancer-healthcheck-protocol", "HTTP"),
        ("aws-load-balancer-healthcheck-port", "http"),
        ("aws-load-balancer-healthcheck-path", "/ok"),
        ("aws-load-balancer-healthcheck-interval", "15"),
        ("aws-load-balancer-healthcheck-timeout", "5"),
        ("aws-load-balancer-healthcheck-healthy-threshold", "2"),
        ("aws-load-balancer-healthcheck-unhealthy-threshold", "4"),
        ("aws-load-balancer-healthcheck-success-codes", "200-299"),
        ("aws-load-balancer-target-node-labels", "pool=web"),
        (
            "aws-load-balancer-additional-resource-tags",
            "team=a,note=b=c",
        ),
        ("aws-load-balancer-enable-tcp-udp-listener", "true"),
        (ACCEPT_DOWNTIME, "true"),
    ]);
    assert_eq!(settings.target_type, TargetType::Ip);
    assert_eq!(settings.name.as_deref(), Some("my-nlb"));
    assert_eq!(settings.scheme, Some(Scheme::InternetFacing));
    assert_eq!(settings.address_type, AddressType::Dualstack);
    assert_eq!(settings.subnets, ["subnet-1", "my subnet"]);
    assert_eq!(settings.allocations, ["eipalloc-1", "eipalloc-2"]);
    assert_eq!(settings.ipv6.len(), 2);
    assert_eq!(settings.source_ranges.len(), 2);
    assert_eq!(
        settings.groups,
        Groups::Given(vec!["sg-1".into(), "web".into()])
    );
    assert!(settings.backend_rules);
    assert_eq!(settings.certificates, ["arn:1", "arn:2"]);
    assert_eq!(settings.tls_ports, Some([443].into()));
    assert_eq!(settings.tls_policy, "ELBSecurityPolicy-2016-08");
    assert!(settings.backend_tls);
    assert_eq!(settings.alpn.as_deref(), Some("HTTP2Preferred"));
    assert_eq!(settings.proxy_protocol, ProxyProtocol::Ports([80].into()));
    assert_eq!(
        settings.group_attributes,
        map(&[("stickiness.enabled", "true")])
    );
    assert_eq!(
        settings.port_attributes[&80],
        map(&[("x", "y")]),
        "an empty value overrides nothing"
    );
    let attributes = [
        ("deletion_protection.enabled", "true"),
        ("load_balancing.cross_zone.enabled", "true"),
        ("access_logs.s3.enabled", "true"),
        ("access_logs.s3.bucket", "logs"),
        ("access_logs.s3.prefix", "nlb"),
    ];
    assert_eq!(settings.attributes, map(&attributes));
    assert_eq!(
        settings.listener_attributes.keys().next().unwrap(),
        &("TCP".into(), 80)
    );
    assert_eq!(settings.health.protocol, Some(Probe::Http));
    assert_eq!(settings.health.port, Some(HealthPort::Named("http".into())));
    assert_eq!(settings.health.interval, Some(15));
    assert_eq!(settings.health.codes.as_deref(), Some("200-299"));
    assert_eq!(settings.node_labels, Some(map(&[("pool", "web")])));
    assert_eq!(settings.tags, map(&[("team", "a"), ("note", "b=c")]));
    assert!(settings.merge_tcp_udp && settings.accept_downtime);
}

#[test]
fn older_spellings_still_work() {
    assert_eq!(
        good(&[("aws-load-balancer-type", "nlb-ip")]).target_type,
        TargetType::Ip
    );
    let internal = good(&[("aws-load-balancer-internal", "true")]);
    assert_eq!(internal.scheme, Some(Scheme::Internal));
    let both = [
        ("aws-load-balancer-internal", "true"),
        ("aws-load-balancer-scheme", "internet-facing"),
    ];
    assert_eq!(
        good(&both).scheme,
        Some(Scheme::InternetFacing),
        "scheme wins"
    );
    assert_eq!(
        good(&[("aws-load-balancer-proxy-protocol", "*")]).proxy_protocol,
        ProxyProtocol::All
    );
    let none = good(&[("aws-load-balancer-disable-nlb-sg", "true")]);
    assert_eq!(none.groups, Groups::None);
    assert!(!none.backend_rules);
    assert!(!good(&[("aws-load-balancer-security-groups", "sg-1")]).backend_rules);
}

#[test]
fn the_services_own_ranges_win() {
    let mut with = service(&[("load-balancer-source-ranges", "10.0.0.0/8")]);
    with.source_ranges = vec!["192.0.2.0/24".parse().unwrap()];
    let settings = parse(&with, &config()).settings;
    assert_eq!(settings.source_ranges, ["192.0.2.0/24".parse().unwrap()]);
}

#[test]
fn every_mistake_is_named_with_its_annotation() {
    for (annotations, part) in [
        (
            &[("aws-load-balancer-scheme", "public")][..],
            "\"public\" is not internal or",
        ),
        (
            &[("aws-load-balancer-nlb-target-type", "pod")],
            "\"pod\" is not instance or ip",
        ),
        (
            &[("aws-load-balancer-name", "internal-x")],
            "does not begin with internal-",
        ),
        (&[("aws-load-balancer-name", "a_b")], "at most 32 letters"),
        (
            &[("load-balancer-source-ranges", "10.0.0.0/8,web")],
            "\"web\" is not a CIDR",
        ),
        (
            &[("load-balancer-source-ranges", "2001:db8::/32")],
            "dualstack",
        ),
        (
            &[("aws-load-balancer-ssl-ports", "https")],
            "needs aws-load-balancer-ssl-cert",
        ),
        (
            &[
                ("aws-load-balancer-ssl-cert", "arn:1"),
                ("aws-load-balancer-ssl-ports", "8443"),
            ],
            "\"8443\" is not a TCP port of the Service",
        ),
        (
            &[("aws-load-balancer-eip-allocations", "eipalloc-1")],
            "internet-facing",
        ),
        (
            &[("aws-load-balancer-attributes", "a")],
            "\"a\" is not key=value",
        ),
        (
            &[("aws-load-balancer-listener-attributes.80", "a=b")],
            "PROTOCOL-PORT",
        ),
        (
            &[("aws-load-balancer-target-group-attributes.http", "a=b")],
            "port number",
        ),
        (
            &[("aws-load-balancer-healthcheck-interval", "1")],
            "a number from 5 to 300",
        ),
        (
            &[("aws-load-balancer-healthcheck-port", "0")],
            "traffic-port",
        ),
        (
            &[
                ("aws-load-balancer-healthcheck-protocol", "tcp"),
                ("aws-load-balancer-healthcheck-path", "/"),
            ],
            "needs aws-load-balancer-healthcheck-protocol",
        ),
        (
            &[(
                "aws-load-balancer-additional-resource-tags",
                "heraldlb.io/cluster=x",
            )],
            "reserved",
        ),
        (
            &[
                ("aws-load-balancer-disable-nlb-sg", "true"),
                ("aws-load-balancer-security-groups", "sg-1"),
            ],
            "cannot go together",
        ),
        (&[("aws-load-balancer-internal", "maybe")], "true or false"),
        (
            &[("aws-load-balancer-alpn-policy", "HTTP3")],
            "an ALPN policy",
        ),
    ] {
        let text = errors(annotations);
        assert!(text.contains(part), "{annotations:?}: {text}");
        let name = annotations.last().unwrap().0;
        assert!(
            text.contains(name) || annotations.len() > 1,
            "{text} does not name {name}"
        );
    }
}

#[test]
fn what_is_not_honoured_warns_or_refuses_never_silently() {
    let of = |name: &str| parse(&service(&[(name, "x")]), &config());
    for (name, support) in KNOWN.iter().filter(|(name, _)| !name.ends_with('.')) {
        let parsed = of(name);
        let unsupported = |all: &[Reason]| all.iter().any(|r| r.code == "UnsupportedAnnotation");
        match support {
            Support::Refused(_) => assert!(unsupported(&parsed.errors), "{name}"),
            Support::Missing(_) => assert!(unsupported(&parsed.warnings), "{name}"),
            Support::Honoured | Support::Meaningless => {
                assert!(
                    !unsupported(&parsed.errors) && !unsupported(&parsed.warnings),
                    "{name}"
                );
            }
        }
    }
    let unknown = of("aws-load-balancer-shceme");
    assert_eq!(unknown.warnings[0].code, "UnknownAnnotation");
    assert_eq!(of("actions.TCP-80").warnings.len(), 1);
    assert_eq!(of("example.com/other").warnings, Vec::new());
}

#[test]
fn the_documentation_names_every_annotation_under_what_becomes_of_it() {
    let page = include_str!("../../../../docs/aws/annotations.md");
    let section = |title: &str| {
        let after = page.split(&format!("## {title}\n")).nth(1).expect(title);
        after.split("\n## ").next().unwrap().to_owned()
    };
    for (name, support) in KNOWN {
        let text = section(match support {
            Support::Honoured => "Honoured",
            Support::Meaningless => "Without meaning",
            Support::Missing(_) => "Not supported: a warning",
            Support::Refused(_) => "Not supported: refused",
        });
        // A name that stands for many is shown with what follows it.
        let shown = if name.ends_with('.') {
            format!("| `{name}")
        } else {
            format!("| `{name}` |")
        };
        assert!(text.contains(&shown), "{name} is not where it belongs");
    }
}

proptest::proptest! {
    #[test]
    fn no_value_makes_it_panic(n in 0..KNOWN.len(), value in "\\PC{0,40}") {
        let name = KNOWN[n].0;
        let name = if name.ends_with('.') { format!("{name}TCP-80") } else { name.to_owned() };
        parse(&service(&[(&name, &value)]), &config());
    }
}
