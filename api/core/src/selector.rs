use std::collections::BTreeMap;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A label selector (`matchLabels` and `matchExpressions`), already translated from the API's form.
///
/// All requirements must hold; a selector without any matches everything, as in the Kubernetes API.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// The requirements; `matchLabels` entries are `In` with one value.
    pub requirements: Vec<Requirement>,
}

/// One requirement of a [`Selector`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How its value is compared.
    pub operator: Operator,
    /// What it is compared with; empty for `Exists` and `DoesNotExist`.
    pub values: Vec<String>,
}

/// Comparison of a label with the values of a [`Requirement`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label exists and has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label exists.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

impl Selector {
    /// Whether `labels` meet every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.matches(labels))
    }

    /// Whether one of `selectors` matches; an empty list matches everything.
    pub fn any_matches(selectors: &[Self], labels: &Labels) -> bool {
        selectors.is_empty() || selectors.iter().any(|selector| selector.matches(labels))
    }
}

impl Requirement {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            Operator::In => listed,
            Operator::NotIn => !listed,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn one(operator: Operator, values: &[&str]) -> Selector {
        let values = values.iter().map(|v| (*v).to_owned()).collect();
        Selector {
            requirements: vec![Requirement {
                key: "zone".into(),
                operator,
                values,
            }],
        }
    }

    #[test]
    fn operators_follow_the_kubernetes_api() {
        let (a, none) = (labels(&[("zone", "a")]), labels(&[]));
        for (selector, on_a, on_none) in [
            (one(Operator::In, &["a", "b"]), true, false),
            (one(Operator::In, &["b"]), false, false),
            (one(Operator::NotIn, &["a"]), false, true),
            (one(Operator::NotIn, &["b"]), true, true),
            (one(Operator::Exists, &[]), true, false),
            (one(Operator::DoesNotExist, &[]), false, true),
            (Selector::default(), true, true),
        ] {
            assert_eq!(selector.matches(&a), on_a, "{selector:?} on zone=a");
            assert_eq!(selector.matches(&none), on_none, "{selector:?} on no label");
        }
    }

    #[test]
    fn an_empty_list_of_selectors_matches_everything() {
        assert!(Selector::any_matches(&[], &labels(&[])));
        assert!(!Selector::any_matches(
            &[one(Operator::Exists, &[])],
            &labels(&[])
        ));
    }
}
