//! Hand-written pieces of the CRD schemas: bounded lists of text with a rule on each item.
//!
//! Every list and text has a bound: the API server costs CEL rules at the bounds and refuses a CRD that is too dear.
//! A rule on the item rather than on the list makes the refusal name the item (`spec.addresses[3]`).

use schemars::{Schema, SchemaGenerator, json_schema};

/// The longest `first-last` text: two IPv6 addresses and a dash.
const RANGE_LENGTH: u32 = 79;
/// Ranges in one pool.
const RANGES: u32 = 64;

/// `spec.addresses`: one range at least.
pub(crate) fn addresses(_: &mut SchemaGenerator) -> Schema {
    ranges(1)
}

/// `spec.exclude`: may be empty.
pub(crate) fn exclude(_: &mut SchemaGenerator) -> Schema {
    ranges(0)
}

fn ranges(min: u32) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": min,
        "maxItems": RANGES,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": RANGE_LENGTH,
            "x-kubernetes-validations": [
                {
                    "rule": "isCIDR(self) || isIP(self) || (self.split('-').size() == 2 && self.split('-').all(end, isIP(end.trim())))",
                    "message": "must be a CIDR (192.0.2.0/24), an address, or first-last (192.0.2.10-192.0.2.20)",
                },
                {
                    "rule": "self.split('-').size() != 2 || !self.split('-').all(end, isIP(end.trim())) || self.split('-').map(end, ip(end.trim()).family()).all(family, family == ip(self.split('-')[0].trim()).family())",
                    "message": "both ends of a range must be of one family",
                },
            ],
        },
    })
}

/// Names of cluster-scoped objects of ours.
pub(crate) fn pool_names(_: &mut SchemaGenerator) -> Schema {
    names(
        64,
        253,
        "!format.dns1123Subdomain().validate(self).hasValue()",
        "must be the name of an AddressPool: lower-case letters, digits, '-' and '.'",
    )
}

/// Names of namespaces.
pub(crate) fn namespaces(_: &mut SchemaGenerator) -> Schema {
    names(
        256,
        63,
        "!format.dns1123Label().validate(self).hasValue()",
        "must be the name of a namespace: lower-case letters, digits and '-'",
    )
}

/// Names of network interfaces, as the kernel takes them (`dev_valid_name`, IFNAMSIZ).
pub(crate) fn interfaces(_: &mut SchemaGenerator) -> Schema {
    names(
        64,
        15,
        r"self.matches('^[^/:\\s]+$') && self != '.' && self != '..'",
        "must be the name of a network interface (eth0), without '/', ':' or blanks",
    )
}

fn names(max_items: u32, max_length: u32, rule: &str, message: &str) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": max_items,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": max_length,
            "x-kubernetes-validations": [{ "rule": rule, "message": message }],
        },
    })
}

/// `status.conditions`, as Kubernetes' own types have them.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": { "type": "string", "maxLength": 316 },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "reason": { "type": "string", "minLength": 1, "maxLength": 1024 },
                "message": { "type": "string", "maxLength": 32768 },
            },
        },
    })
}

/// A point in time with microseconds (RFC 3339), or nothing.
pub(crate) fn micro_time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "format": "date-time", "nullable": true })
}
