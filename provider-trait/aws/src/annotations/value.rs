//! Values as users write them: lists, maps, numbers, switches.

use std::collections::{BTreeMap, BTreeSet};

use herald_provider::Reason;

use super::table::PREFIX;
use crate::model::Attributes;

/// Reads annotations of one Service and collects what is wrong with them.
pub(super) struct Reader<'a> {
    annotations: &'a BTreeMap<String, String>,
    pub(super) errors: Vec<Reason>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(annotations: &'a BTreeMap<String, String>) -> Self {
        Self {
            annotations,
            errors: Vec::new(),
        }
    }

    /// The value of an annotation, without spaces around it; `None` when absent or empty.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        let value = self.annotations.get(&format!("{PREFIX}{name}"))?.trim();
        (!value.is_empty()).then_some(value)
    }

    pub(super) fn wrong(&mut self, name: &str, message: &str) {
        let text = format!("annotation {PREFIX}{name}: {message}");
        self.errors.push(Reason::new("InvalidAnnotation", text));
    }

    /// A value that `parse` understands; else an error that says what is `expected`.
    pub(super) fn parsed<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(name)?;
        let value = parse(text);
        if value.is_none() {
            self.wrong(name, &format!("\"{text}\" is not {expected}"));
        }
        value
    }

    pub(super) fn switch(&mut self, name: &str) -> Option<bool> {
        self.parsed(name, "true or false", |text| {
            match text.to_ascii_lowercase().as_str() {
                "true" => Some(true),
                "false" => Some(false),
                _ => None,
            }
        })
    }

    pub(super) fn number(&mut self, name: &str, least: u32, most: u32) -> Option<u32> {
        self.parsed(name, &format!("a number from {least} to {most}"), |text| {
            text.parse().ok().filter(|n| (least..=most).contains(n))
        })
    }

    /// A comma separated list, without empty entries.
    pub(super) fn list(&self, name: &str) -> Vec<&'a str> {
        let text = self.text(name).unwrap_or_default();
        text.split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .collect()
    }

    /// A list whose entries `parse` understands.
    pub(super) fn parsed_list<T>(
        &mut self,
        name: &str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let mut values = Vec::new();
        for entry in self.list(name) {
            match parse(entry) {
                Some(value) => values.push(value),
                None => self.wrong(name, &format!("\"{entry}\" is not {expected}")),
            }
        }
        values
    }

    /// A map `key=value,…`; a value may hold `=`, and be empty.
    pub(super) fn map(&mut self, name: &str) -> Attributes {
        let mut map = Attributes::new();
        for entry in self.list(name) {
            match entry.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    map.insert(key.trim().into(), value.trim().into());
                }
                _ => self.wrong(name, &format!("\"{entry}\" is not key=value")),
            }
        }
        map
    }

    /// A map of which every entry counts: `None` if one of them is wrong.
    pub(super) fn whole_map(&mut self, name: &str) -> Option<Attributes> {
        let errors = self.errors.len();
        let map = self.map(name);
        (self.errors.len() == errors).then_some(map)
    }

    /// What follows `prefix` in the names of annotations, in order.
    pub(super) fn suffixes(&self, prefix: &str) -> BTreeSet<&'a str> {
        let all = self.annotations.keys();
        all.filter_map(|key| key.strip_prefix(PREFIX)?.strip_prefix(prefix))
            .collect()
    }
}
