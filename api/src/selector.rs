//! Label selectors in our resources: Kubernetes' form, bounded, and translated once at the edge.

use std::collections::BTreeMap;

use herald_core::{Operator, Requirement, Selector};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Selects objects by their labels. All requirements must hold; an empty selector selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Labels the object must have, with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend(
        "maxProperties" = 32,
        "additionalProperties" = { "type": "string", "maxLength": 63 }
    ))]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub match_expressions: Vec<LabelSelectorRequirement>,
}

/// One requirement on a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!(self.operator in ['In', 'NotIn']) || (has(self.values) && self.values.size() > 0)",
        "message": "In and NotIn need at least one value",
    },
    {
        "rule": "self.operator in ['In', 'NotIn'] || !has(self.values) || self.values.size() == 0",
        "message": "Exists and DoesNotExist take no values",
    },
]))]
pub struct LabelSelectorRequirement {
    /// The label's key.
    #[schemars(
        length(min = 1, max = 317),
        extend("x-kubernetes-validations" = [{
            "rule": "!format.qualifiedName().validate(self).hasValue()",
            "message": "must be a label key (topology.kubernetes.io/zone)",
        }])
    )]
    pub key: String,
    /// How the label's value is compared: In, NotIn, Exists or DoesNotExist.
    pub operator: LabelSelectorOperator,
    /// What it is compared with, for In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    pub values: Vec<String>,
}

/// Comparison of a label's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum LabelSelectorOperator {
    #[allow(missing_docs)] // Documented variants would not become a plain `enum` in the schema.
    In,
    #[allow(missing_docs)]
    NotIn,
    #[allow(missing_docs)]
    Exists,
    #[allow(missing_docs)]
    DoesNotExist,
}

impl From<&LabelSelector> for Selector {
    fn from(selector: &LabelSelector) -> Self {
        let labels = selector
            .match_labels
            .iter()
            .map(|(key, value)| Requirement {
                key: key.clone(),
                operator: Operator::In,
                values: vec![value.clone()],
            });
        let expressions = selector
            .match_expressions
            .iter()
            .map(|requirement| Requirement {
                key: requirement.key.clone(),
                operator: match requirement.operator {
                    LabelSelectorOperator::In => Operator::In,
                    LabelSelectorOperator::NotIn => Operator::NotIn,
                    LabelSelectorOperator::Exists => Operator::Exists,
                    LabelSelectorOperator::DoesNotExist => Operator::DoesNotExist,
                },
                values: requirement.values.clone(),
            });
        Self {
            requirements: labels.chain(expressions).collect(),
        }
    }
}

/// Translates a list of selectors.
pub fn selectors(list: &[LabelSelector]) -> Vec<Selector> {
    list.iter().map(Selector::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_expressions_must_all_hold() {
        let selector: LabelSelector = serde_json::from_value(serde_json::json!({
            "matchLabels": { "app": "web" },
            "matchExpressions": [
                { "key": "tier", "operator": "NotIn", "values": ["test"] },
                { "key": "public", "operator": "Exists" },
                { "key": "hidden", "operator": "DoesNotExist" },
            ],
        }))
        .unwrap();
        let selector = Selector::from(&selector);
        for (labels, expected) in [
            (&[("app", "web"), ("public", "")] as &[(&str, &str)], true),
            (&[("app", "web")], false),
            (&[("app", "db"), ("public", "")], false),
            (&[("app", "web"), ("public", ""), ("tier", "test")], false),
            (&[("app", "web"), ("public", ""), ("hidden", "")], false),
        ] {
            let labels = labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect();
            assert_eq!(selector.matches(&labels), expected, "{labels:?}");
        }
    }
}
