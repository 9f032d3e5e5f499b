//! Names of what Herald makes: `hld-<namespace>-<name>-<hash>`, at most 32 characters.
//!
//! The shape is the one users know from aws-load-balancer-controller; the prefix and the salt of the hash keep the
//! two controllers from ever asking AWS for the same name.

use herald_core::ServiceKey;
use sha2::{Digest, Sha256};

use crate::config::Config;

/// What all names that Herald chooses begin with.
pub const PREFIX: &str = "hld-";
const SALT: &str = "heraldlb.io/v1";

/// A name of at most 32 characters from a Service's key and everything that must make names differ.
pub fn name(config: &Config, service: &ServiceKey, parts: &[&str]) -> String {
    let namespace = letters(&service.namespace, 8);
    let service = letters(&service.name, 8);
    format!("{PREFIX}{namespace}-{service}-{}", hash(config, parts))
}

/// The name of the cluster's backend security group.
pub fn backend_group(config: &Config) -> String {
    let cluster = letters(&config.cluster, 16);
    format!(
        "{PREFIX}traffic-{cluster}-{}",
        hash(config, &["backend", &config.vpc])
    )
}

/// Ten hexadecimal digits over the cluster's identity and `parts`.
fn hash(config: &Config, parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in [SALT, &config.cluster, &config.cluster_uid]
        .iter()
        .chain(parts)
    {
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    let digest = hasher.finalize();
    let number = digest
        .iter()
        .take(5)
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{number:010x}")
}

fn letters(text: &str, most: usize) -> String {
    text.chars()
        .filter(char::is_ascii_alphanumeric)
        .take(most)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_hold_only_what_aws_allows() {
        let config = Config::new("a-cluster-with-a-long-name", "uid", "vpc-1");
        let key = ServiceKey::new("kube-system-and-more", "a.very-long--service-name");
        let name = name(&config, &key, &["id", "internal"]);
        assert!(name.starts_with("hld-kubesyst-averylon-"), "{name}");
        assert!(name.len() <= 32, "{name}");
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
        assert!(backend_group(&config).len() <= 64);
    }

    #[test]
    fn every_part_and_the_cluster_make_a_difference() {
        let one = Config::new("c", "uid-1", "vpc");
        let two = Config::new("c", "uid-2", "vpc");
        let key = ServiceKey::new("n", "s");
        let all = [
            name(&one, &key, &["ab", "c"]),
            name(&one, &key, &["a", "bc"]),
            name(&one, &key, &["abc"]),
            name(&two, &key, &["abc"]),
        ];
        let unlike: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(unlike.len(), all.len(), "{all:?}");
    }
}
