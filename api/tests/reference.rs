//! docs/reference/crds.md names every field of every resource.

use herald_api::{AddressPool, L2Advertisement, Speaker};
use kube::CustomResourceExt;
use serde_json::Value;

fn field_names(schema: &Value, names: &mut Vec<String>) {
    if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
        for (name, field) in properties {
            names.push(name.clone());
            // The fields of a condition are Kubernetes' own.
            if name != "conditions" {
                field_names(field, names);
            }
        }
    }
    if let Some(items) = schema.get("items") {
        field_names(items, names);
    }
}

#[test]
fn every_field_is_described() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/crds.md");
    let page = std::fs::read_to_string(page).unwrap();
    for crd in [AddressPool::crd(), L2Advertisement::crd(), Speaker::crd()] {
        let crd = serde_json::to_value(crd).unwrap();
        let kind = crd["spec"]["names"]["kind"].as_str().unwrap().to_owned();
        assert!(
            page.contains(&format!("## {kind} ")),
            "no section for {kind}"
        );
        let mut names = Vec::new();
        field_names(
            &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"],
            &mut names,
        );
        assert!(names.len() > 3, "{kind}: the walk found only {names:?}");
        for name in names {
            let described = ["`", "."].iter().any(|before| {
                ["`", "[]`", "."]
                    .iter()
                    .any(|after| page.contains(&format!("{before}{name}{after}")))
            });
            assert!(described, "{kind}: field {name} is not described");
        }
    }
}
