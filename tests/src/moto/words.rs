//! What is said to moto and what it says, as JSON. Meanings and defaults are in `tests/aws`: faults.py, log.py,
//! clocks.py, control.py.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A failure made to order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// A call's name, `changing`, `reading`, or `*`.
    pub action: String,
    /// How many calls it meets; none for all.
    pub count: Option<u32>,
    /// How many fitting calls it lets pass first.
    pub skip: u32,
    /// AWS's error code. Without code and status the call only takes longer.
    pub code: Option<String>,
    /// HTTP status; none is 400 with a code.
    pub status: Option<u16>,
    /// AWS's message.
    pub message: String,
    /// Seconds of the machine's clock until the answer.
    pub delay: f64,
    /// `before`: the call changes nothing; `after`: it is carried out, and only its answer is lost.
    pub when: String,
    /// Only calls to this region.
    pub region: Option<String>,
    /// Only calls made with this access key.
    pub access_key: Option<String>,
    /// Only calls with a parameter that holds this text.
    pub holds: Option<String>,
    /// Once it has met a call, it meets every call of its region and key until it is removed.
    pub sticks: bool,
}

impl Default for Fault {
    fn default() -> Self {
        Self {
            action: "*".into(),
            count: Some(1),
            skip: 0,
            code: None,
            status: None,
            message: "injected".into(),
            delay: 0.0,
            when: "before".into(),
            region: None,
            access_key: None,
            holds: None,
            sticks: false,
        }
    }
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Call {
    /// From 1, in the order they came in.
    pub number: u64,
    /// When it came in: seconds since 1970.
    pub time: f64,
    /// `elasticloadbalancing`, `ec2`, `sts` …; as it was signed.
    pub service: String,
    /// For example `DescribeTargetHealth`.
    pub action: String,
    /// Empty if the signature was refused.
    pub region: String,
    /// Empty if the signature was refused.
    pub access_key: String,
    /// Whether a call of that name changes anything.
    pub changing: bool,
    /// Parameters as they were sent, for example `Tags.member.1.Key`.
    pub params: BTreeMap<String, String>,
    /// HTTP status; none while it is under way.
    pub status: Option<u16>,
    /// AWS's error code; empty if it succeeded.
    pub code: String,
    /// Whether a fault made it fail.
    pub injected: bool,
    /// How long it took.
    pub seconds: Option<f64>,
}

/// Settings to change; what is none stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Settings {
    /// `real` or `manual` (stands still but for [`advance`](super::Moto::advance)).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<&'static str>,
    /// Seconds until a load balancer is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioning: Option<f64>,
    /// Seconds until a target is healthy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registration: Option<f64>,
    /// Seconds until a deregistered target is gone; `Some(None)` is the target group's own delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub draining: Option<Option<f64>>,
    /// Seconds until a deleted load balancer lets go of its security groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<f64>,
    /// `healthy`, `unhealthy` or `initial`, for targets of which nothing was reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<&'static str>,
    /// `known` (running instances of the VPC) or `any`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instances: Option<&'static str>,
    /// Size of a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_size: Option<u32>,
    /// Quota of Network Load Balancers: 50 at the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancers: Option<u32>,
    /// Whether subnets can be taken from a load balancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_removal: Option<bool>,
}

/// What a health check finds out.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Health {
    /// The region.
    pub region: String,
    /// ARN or name of the target group; none for all.
    pub group: Option<String>,
    /// The target; none for all.
    pub id: Option<String>,
    /// Its port; none for all.
    pub port: Option<u16>,
    /// `healthy`, `unhealthy`, `initial` or `unavailable`; none forgets an earlier report.
    pub state: Option<String>,
    /// AWS's reason code; none is the usual one of the state.
    pub reason: Option<String>,
    /// AWS's description; none is the usual one of the state.
    pub description: Option<String>,
}
