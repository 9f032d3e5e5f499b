//! Changes of a load balancer of one port, whose answers are replayed.

use std::collections::BTreeSet;

use herald_core::IpFamily;
use herald_provider_aws::call::Change;
use herald_provider_aws::model::{
    AddressType, GroupSpec, HealthCheck, ListenerSpec, Mapping, Probe, Ref, Rule, RuleProtocol,
    Scheme, Source, Tags, Target, TargetType, Wire,
};

pub const LB: &str =
    "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/net/hld-web/0123456789abcdef";
pub const GROUP: &str =
    "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/hld-web/0123456789abcdef";

pub fn lb() -> Ref {
    Ref::to("hld-web", LB)
}

pub fn group() -> Ref {
    Ref::to("hld-web-80", GROUP)
}

pub fn create_group() -> Change {
    Change::CreateTargetGroup(GroupSpec {
        name: "hld-web-80".into(),
        protocol: Wire::Tcp,
        port: 80,
        target_type: TargetType::Instance,
        family: IpFamily::V4,
        vpc: "vpc-1".into(),
        health_check: HealthCheck {
            protocol: Probe::Tcp,
            port: None,
            path: None,
            codes: None,
            interval: 10,
            timeout: 6,
            healthy: 3,
            unhealthy: 3,
        },
        tags: Tags::new(),
    })
}

pub fn create_lb() -> Change {
    let mapping = Mapping {
        subnet: "subnet-1".into(),
        allocation: None,
        private_ipv4: None,
        ipv6: None,
    };
    Change::CreateLoadBalancer {
        name: "hld-web".into(),
        scheme: Scheme::Internal,
        address_type: AddressType::Ipv4,
        mappings: BTreeSet::from([mapping]),
        security_groups: BTreeSet::new(),
        tags: Tags::new(),
    }
}

pub fn create_listener() -> Change {
    Change::CreateListener {
        load_balancer: lb(),
        spec: ListenerSpec {
            port: 80,
            protocol: Wire::Tcp,
            target_group: group(),
            certificate: None,
            tls_policy: None,
            alpn: None,
        },
        tags: Tags::new(),
    }
}

pub fn set_groups() -> Change {
    Change::SetSecurityGroups {
        load_balancer: lb(),
        security_groups: BTreeSet::from([Ref::to("front", "sg-1")]),
    }
}

pub fn register() -> Change {
    let target = Target {
        id: "i-1".into(),
        port: 30000,
        anywhere: false,
    };
    Change::RegisterTargets {
        group: group(),
        targets: BTreeSet::from([target]),
    }
}

pub fn delete_lb() -> Change {
    Change::DeleteLoadBalancer {
        load_balancer: lb(),
    }
}

pub fn create_security_group() -> Change {
    Change::CreateSecurityGroup {
        name: "hld-web".into(),
        description: "Herald".into(),
        vpc: "vpc-1".into(),
        tags: Tags::new(),
    }
}

pub fn authorize() -> Change {
    let rule = Rule {
        protocol: RuleProtocol::Tcp,
        first: 80,
        last: 80,
        source: Source::Net("0.0.0.0/0".parse().unwrap()),
        description: String::new(),
    };
    Change::AuthorizeIngress {
        group: Ref::to("front", "sg-1"),
        rules: BTreeSet::from([rule]),
    }
}

pub fn delete_security_group() -> Change {
    Change::DeleteSecurityGroup {
        group: Ref::to("front", "sg-1"),
    }
}
