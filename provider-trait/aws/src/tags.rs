//! Ownership: by tags alone, never by name or status.
//!
//! A resource is this cluster's only if both the cluster's name and the UID of its `kube-system` namespace match, so
//! two clusters of one name cannot harm each other, and nothing of another controller is ever touched.

use herald_provider::{LoadBalancerId, UnixTime};

use crate::config::Config;
use crate::model::{Attributes, Tags};

/// The cluster's name.
pub const CLUSTER: &str = "heraldlb.io/cluster";
/// The UID of the cluster's `kube-system` namespace.
pub const CLUSTER_UID: &str = "heraldlb.io/cluster-uid";
/// The load balancer's identity.
pub const LOAD_BALANCER: &str = "heraldlb.io/load-balancer";
/// What the resource is for: `load-balancer`, `target-group`, `listener`, `front`, `backend`.
pub const ROLE: &str = "heraldlb.io/role";
/// The Service, as `namespace/name`, for people.
pub const SERVICE: &str = "heraldlb.io/service";
/// The Service port of a target group, as `80/TCP`.
pub const PORT: &str = "heraldlb.io/port";
/// When a replaced load balancer may go, in seconds since 1970.
pub const RETIRE_AT: &str = "heraldlb.io/retire-at";
/// The attributes that Herald set, so that they are reset when their annotation goes.
pub const MANAGED: &str = "heraldlb.io/managed-attributes";
/// The keys of the user's tags, so that they are removed when their annotation goes.
pub const EXTRA: &str = "heraldlb.io/extra-tags";

const OURS: &str = "heraldlb.io/";
/// AWS's limit of a tag's value.
const VALUE: usize = 256;

/// The tags of something that belongs to the cluster as a whole.
pub fn of_cluster(config: &Config, role: &str) -> Tags {
    let mut tags = config.tags.clone();
    tags.retain(|key, _| !key.starts_with(OURS));
    tags.insert(CLUSTER.into(), config.cluster.clone());
    tags.insert(CLUSTER_UID.into(), config.cluster_uid.clone());
    tags.insert(ROLE.into(), role.into());
    tags
}

/// The tags of something that belongs to one load balancer. `extra` comes from users: it cannot override ours or the
/// operator's.
pub fn of_load_balancer(config: &Config, role: &str, id: &LoadBalancerId, extra: &Tags) -> Tags {
    let mut tags: Tags = extra
        .iter()
        .filter(|(k, _)| !reserved(k))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let keys = joined(tags.keys());
    tags.extend(of_cluster(config, role));
    tags.insert(LOAD_BALANCER.into(), id.as_str().into());
    if !keys.is_empty() {
        tags.insert(EXTRA.into(), keys);
    }
    tags
}

/// Whether users may not set a tag of this key.
pub fn reserved(key: &str) -> bool {
    key.starts_with(OURS) || key.starts_with("aws:")
}

/// Whether a resource with these tags belongs to this cluster.
pub fn is_ours(config: &Config, tags: &Tags) -> bool {
    let has = |key: &str, value: &str| tags.get(key).is_some_and(|v| v == value);
    has(CLUSTER, &config.cluster) && has(CLUSTER_UID, &config.cluster_uid)
}

/// The load balancer a resource belongs to.
pub fn load_balancer(tags: &Tags) -> Option<LoadBalancerId> {
    tags.get(LOAD_BALANCER)
        .map(|id| LoadBalancerId::of_service(id))
}

/// When a replaced load balancer may go.
pub fn retire_at(tags: &Tags) -> Option<UnixTime> {
    tags.get(RETIRE_AT)?.parse().ok().map(UnixTime)
}

/// Keys that Herald noted in a tag.
pub fn noted(tags: &Tags, tag: &str) -> Vec<String> {
    tags.get(tag)
        .map(|keys| keys.split(' ').map(str::to_owned).collect())
        .unwrap_or_default()
}

/// The note of attributes set; `None` when there are none.
pub fn note(attributes: &Attributes) -> Option<String> {
    let keys = joined(attributes.keys());
    (!keys.is_empty()).then_some(keys)
}

/// Keys joined by spaces, as many whole ones as fit into a tag's value.
fn joined<'a>(keys: impl Iterator<Item = &'a String>) -> String {
    let mut text = String::new();
    for key in keys.filter(|key| !key.contains(' ')) {
        if text.len() + key.len() < VALUE {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(key);
        }
    }
    text
}

/// What has to change so that `have` becomes `want`: tags to set, and keys to remove.
///
/// Tags that others put on the resource are left alone: only our own and the noted ones are removed.
pub fn difference(have: &Tags, want: &Tags) -> (Tags, Vec<String>) {
    let set = want.iter().filter(|(k, v)| have.get(*k) != Some(v));
    let noted = noted(have, EXTRA);
    let stale = have.keys().filter(|key| {
        let ours = key.starts_with(OURS) && **key != RETIRE_AT;
        (ours || noted.contains(key)) && !want.contains_key(*key)
    });
    (
        set.map(|(k, v)| (k.clone(), v.clone())).collect(),
        stale.cloned().collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect()
    }

    #[test]
    fn a_cluster_of_the_same_name_is_another_cluster() {
        let ours = Config::new("prod", "uid-1", "vpc");
        let theirs = Config::new("prod", "uid-2", "vpc");
        let made = of_cluster(&theirs, "backend");
        assert!(is_ours(&theirs, &made));
        assert!(!is_ours(&ours, &made));
        assert!(!is_ours(&ours, &tags(&[("elbv2.k8s.aws/cluster", "prod")])));
    }

    #[test]
    fn users_cannot_override_ownership_or_the_operators_tags() {
        let mut config = Config::new("prod", "uid", "vpc");
        config.tags = tags(&[("team", "net")]);
        let extra = tags(&[("team", "me"), (CLUSTER, "evil"), ("app", "web")]);
        let id = LoadBalancerId::of_service("u1");
        let made = of_load_balancer(&config, "load-balancer", &id, &extra);
        assert_eq!(made["team"], "net");
        assert_eq!(made[CLUSTER], "prod");
        assert_eq!(made["app"], "web");
        assert_eq!(load_balancer(&made), Some(id));
    }

    #[test]
    fn removed_tags_go_and_foreign_ones_stay() {
        let have = tags(&[
            (EXTRA, "app old"),
            ("app", "a"),
            ("old", "x"),
            ("theirs", "1"),
        ]);
        let want = tags(&[(EXTRA, "app"), ("app", "b")]);
        let (set, stale) = difference(&have, &want);
        assert_eq!(set, tags(&[(EXTRA, "app"), ("app", "b")]));
        assert_eq!(stale, ["old"]);
    }

    #[test]
    fn notes_hold_whole_keys_only() {
        let many: Attributes = (0..40)
            .map(|n| (format!("attribute.key.{n:02}"), String::new()))
            .collect();
        let note = note(&many).unwrap();
        assert!(note.len() <= VALUE);
        assert!(note.split(' ').all(|key| many.contains_key(key)));
    }
}
