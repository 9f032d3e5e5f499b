//! Herald's own kinds. What selects is decisive: a selector that lost a requirement would select more.

use herald_api::{AddressPool, L2Advertisement, Speaker};

use super::{CONDITIONS, METADATA, Shape, TEXT_MAP, TEXTS, decisive, field, vital};
use crate::Readable;

const SELECTORS: Shape = Shape::List(&Shape::Object(&[
    decisive("matchLabels", TEXT_MAP),
    decisive(
        "matchExpressions",
        Shape::List(&Shape::Object(&[
            vital("key", Shape::Text).required(),
            vital(
                "operator",
                Shape::Word(&["In", "NotIn", "Exists", "DoesNotExist"]),
            )
            .required(),
            vital("values", TEXTS),
        ])),
    ),
]));

impl Readable for AddressPool {
    const SHAPE: Shape = Shape::Object(&[
        field("metadata", METADATA).required(),
        decisive(
            "spec",
            Shape::Object(&[
                decisive("addresses", TEXTS).required(),
                decisive("exclude", TEXTS),
                decisive("autoAssign", Shape::Flag),
                decisive("avoidBuggyIPs", Shape::Flag),
                decisive("disabled", Shape::Flag),
                decisive(
                    "serviceAllocation",
                    Shape::Object(&[
                        decisive("priority", Shape::Int32),
                        decisive("namespaces", TEXTS),
                        decisive("namespaceSelectors", SELECTORS),
                        decisive("serviceSelectors", SELECTORS),
                    ]),
                ),
            ]),
        )
        .required(),
        field(
            "status",
            Shape::Object(&[
                field("assignedIPv4", Shape::Int64),
                field("assignedIPv6", Shape::Int64),
                field("availableIPv4", Shape::Int64),
                field("availableIPv6", Shape::Int64),
                field("conditions", CONDITIONS),
            ]),
        ),
    ]);
}

impl Readable for L2Advertisement {
    const SHAPE: Shape = Shape::Object(&[
        field("metadata", METADATA).required(),
        decisive(
            "spec",
            Shape::Object(&[
                decisive("addressPools", TEXTS),
                decisive("addressPoolSelectors", SELECTORS),
                decisive("nodeSelectors", SELECTORS),
                decisive("interfaces", TEXTS),
                decisive("serviceSelectors", SELECTORS),
            ]),
        )
        .required(),
    ]);
}

impl Readable for Speaker {
    const SHAPE: Shape = Shape::Object(&[
        field("metadata", METADATA).required(),
        decisive(
            "status",
            Shape::Object(&[
                decisive("renewTime", Shape::Time),
                decisive(
                    "interfaces",
                    Shape::List(&Shape::Object(&[
                        vital("name", Shape::Text).required(),
                        field("mac", Shape::Text),
                        field("addresses", TEXTS),
                        field("up", Shape::Flag),
                        field("notForwarding", TEXTS),
                    ])),
                ),
                decisive(
                    "owned",
                    Shape::List(&Shape::Object(&[
                        vital("address", Shape::Text).required(),
                        field("interfaces", TEXTS),
                    ])),
                ),
                field(
                    "conflicts",
                    Shape::List(&Shape::Object(&[
                        vital("address", Shape::Text).required(),
                        field("mac", Shape::Text).required(),
                    ])),
                ),
                field("conditions", CONDITIONS),
            ]),
        ),
    ]);
}
