//! What is in no shape is silently absent, so every field of our own kinds is in one, or is here as not read.

use herald_api::{AddressPool, L2Advertisement, Speaker};
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::Readable;
use crate::shape::Shape;

/// The paths of a schema that `shape` does not have.
fn missing(schema: &Value, shape: &Shape, path: &str, into: &mut Vec<String>) {
    match shape {
        Shape::Object(fields) => {
            let Some(properties) = schema["properties"].as_object() else {
                panic!("{path} has no properties in its schema")
            };
            for (name, schema) in properties {
                let path = format!("{path}.{name}");
                match fields.iter().find(|field| field.name == name) {
                    Some(field) => missing(schema, &field.shape, &path, into),
                    None => into.push(path),
                }
            }
        }
        Shape::List(element) => missing(&schema["items"], element, path, into),
        _ => {}
    }
}

fn unread<K: Readable + CustomResourceExt>() -> Vec<String> {
    let crd = json!(K::crd());
    let mut schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    // Every kind's, and in none of our schemas.
    if let Some(properties) = schema["properties"].as_object_mut() {
        properties.remove("metadata");
    }
    let mut paths = Vec::new();
    missing(&schema, &K::SHAPE, "", &mut paths);
    paths
}

#[test]
fn every_field_of_our_kinds_is_read_or_named_as_not_read() {
    let none: [&str; 0] = [];
    assert_eq!(unread::<AddressPool>(), none);
    assert_eq!(unread::<L2Advertisement>(), none);
    // For people: no program reads them.
    let shown = [
        "dataPath",
        "ownedCount",
        "podName",
        "serviceProxy",
        "version",
    ];
    let shown = shown.map(|field| format!(".status.{field}"));
    assert_eq!(unread::<Speaker>(), shown);
}
