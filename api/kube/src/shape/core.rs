//! Kinds of Kubernetes itself.

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::Resource;
use kube::core::PartialObjectMeta;
use serde::de::DeserializeOwned;

use super::{CONDITIONS, METADATA, Shape, TEXT_MAP, TEXTS, decisive, field, vital};
use crate::Readable;

impl Readable for Service {
    const SHAPE: Shape = Shape::Object(&[
        field("metadata", METADATA),
        decisive("spec", SERVICE_SPEC),
        decisive("status", SERVICE_STATUS),
    ]);
}

const SERVICE_SPEC: Shape = Shape::Object(&[
    // Another type, class, policy or family would give the address back or change what is forwarded.
    decisive("type", Shape::Text),
    decisive("loadBalancerClass", Shape::Text),
    decisive("loadBalancerIP", Shape::Text),
    decisive("ipFamilies", TEXTS),
    decisive("ipFamilyPolicy", Shape::Text),
    decisive("clusterIP", Shape::Text),
    decisive("clusterIPs", TEXTS),
    decisive("externalIPs", TEXTS),
    decisive("externalTrafficPolicy", Shape::Text),
    decisive("internalTrafficPolicy", Shape::Text),
    decisive("loadBalancerSourceRanges", TEXTS).denying(),
    decisive("selector", TEXT_MAP),
    field("healthCheckNodePort", Shape::Int32),
    decisive(
        "ports",
        Shape::List(&Shape::Object(&[
            field("name", Shape::Text),
            // Absent means TCP.
            vital("protocol", Shape::Text),
            vital("port", Shape::Int32),
            // Absent means the port itself.
            vital("targetPort", Shape::IntOrText),
            field("nodePort", Shape::Int32),
        ])),
    ),
]);

const SERVICE_STATUS: Shape = Shape::Object(&[
    field("conditions", CONDITIONS),
    // What a Service has. Unread, it would get something else.
    decisive(
        "loadBalancer",
        Shape::Object(&[decisive(
            "ingress",
            Shape::List(&Shape::Object(&[
                decisive("ip", Shape::Text),
                decisive("hostname", Shape::Text),
                decisive("ipMode", Shape::Text),
                field(
                    "ports",
                    Shape::List(&Shape::Object(&[
                        vital("port", Shape::Int32),
                        vital("protocol", Shape::Text),
                        field("error", Shape::Text),
                    ])),
                ),
            ])),
        )]),
    ),
]);

impl Readable for EndpointSlice {
    const SHAPE: Shape = Shape::Object(&[
        field("metadata", METADATA),
        decisive("addressType", Shape::Text),
        decisive(
            "ports",
            Shape::List(&Shape::Object(&[
                vital("name", Shape::Text),
                vital("protocol", Shape::Text),
                vital("port", Shape::Int32),
            ])),
        )
        .by_element(),
        decisive(
            "endpoints",
            Shape::List(&Shape::Object(&[
                vital("addresses", TEXTS),
                field("nodeName", Shape::Text),
                // Absent means ready and serving.
                vital(
                    "conditions",
                    Shape::Object(&[
                        vital("ready", Shape::Flag),
                        vital("serving", Shape::Flag),
                        vital("terminating", Shape::Flag),
                    ]),
                ),
                field(
                    "targetRef",
                    Shape::Object(&[vital("kind", Shape::Text), vital("name", Shape::Text)]),
                ),
            ])),
        )
        .by_element(),
    ]);
}

impl Readable for Node {
    const SHAPE: Shape = Shape::Object(&[
        field("metadata", METADATA),
        decisive(
            "spec",
            Shape::Object(&[
                decisive("podCIDR", Shape::Text),
                decisive("podCIDRs", TEXTS),
                decisive("providerID", Shape::Text),
                decisive("unschedulable", Shape::Flag),
                decisive(
                    "taints",
                    Shape::List(&Shape::Object(&[
                        vital("key", Shape::Text),
                        field("value", Shape::Text),
                        field("effect", Shape::Text),
                    ])),
                )
                .by_element(),
            ]),
        ),
        decisive(
            "status",
            Shape::Object(&[
                decisive(
                    "addresses",
                    Shape::List(&Shape::Object(&[
                        vital("type", Shape::Text),
                        vital("address", Shape::Text),
                    ])),
                )
                .by_element(),
                decisive(
                    "conditions",
                    Shape::List(&Shape::Object(&[
                        vital("type", Shape::Text),
                        decisive("status", Shape::Text),
                        field("reason", Shape::Text),
                        field("message", Shape::Text),
                    ])),
                )
                .by_element(),
            ]),
        ),
    ]);
}

impl Readable for Pod {
    const SHAPE: Shape = Shape::Object(&[
        field("metadata", METADATA),
        decisive(
            "spec",
            Shape::Object(&[decisive(
                "readinessGates",
                Shape::List(&Shape::Object(&[vital("conditionType", Shape::Text)])),
            )]),
        ),
        decisive(
            "status",
            Shape::Object(&[
                decisive("phase", Shape::Text),
                decisive(
                    "podIPs",
                    Shape::List(&Shape::Object(&[vital("ip", Shape::Text)])),
                )
                .by_element(),
                decisive(
                    "conditions",
                    Shape::List(&Shape::Object(&[
                        vital("type", Shape::Text),
                        decisive("status", Shape::Text),
                        field("reason", Shape::Text),
                        field("message", Shape::Text),
                        field("lastTransitionTime", Shape::Time),
                    ])),
                )
                .by_element(),
            ]),
        ),
    ]);
}

impl Readable for ServiceCIDR {
    const SHAPE: Shape = Shape::Object(&[
        field("metadata", METADATA),
        decisive("spec", Shape::Object(&[decisive("cidrs", TEXTS)])),
    ]);
}

impl Readable for Namespace {
    const SHAPE: Shape = Shape::Object(&[field("metadata", METADATA)]);
}

impl<K: Resource<DynamicType = ()> + DeserializeOwned> Readable for PartialObjectMeta<K> {
    const SHAPE: Shape = Shape::Object(&[field("metadata", METADATA)]);
}
