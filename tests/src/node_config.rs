//! Configuration of a node's programs. Each unusual line is there for a machine that is itself a container or
//! a small virtual machine.

use std::path::Path;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::topology::{DNS_CLUSTER_IPS, POD_CIDRS};

/// containerd: no AppArmor, no lowered OOM scores (that needs CAP_SYS_RESOURCE: without this every sandbox
/// fails with "can't get final child's PID from pipe: EOF"), and images are imported, never pulled.
pub(crate) fn containerd(snapshotter: &str) -> String {
    format!(
        r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
]

[grpc]
address = "/run/containerd/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
disable_apparmor = true
restrict_oom_score_adj = true
tolerate_missing_hugetlb_controller = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "{snapshotter}"
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/run/cni/bin"
conf_dir = "/run/cni"
"#
    )
}

/// Files the kubelet is told of.
pub(crate) struct KubeletFiles<'a> {
    pub(crate) certs: &'a Path,
    pub(crate) resolv: &'a Path,
    /// What the node's cloud calls it, if it is in one.
    pub(crate) provider_id: Option<String>,
}

/// Kubelet: cgroup v1 or v2 without a systemd, swap or not, the disk nearly full or not, and a heartbeat fit for the
/// 10 s after which the controller manager gives a node up.
pub(crate) fn kubelet(name: &str, files: &KubeletFiles<'_>) -> Value {
    let low = "0.1%";
    let mut config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": files.certs.join("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": files.certs.join(format!("{name}-kubelet.crt")),
        "tlsPrivateKeyFile": files.certs.join(format!("{name}-kubelet.key")),
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failCgroupV1": false,
        "failSwapOn": false,
        "oomScoreAdj": 0,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        "resolvConf": files.resolv,
        "clusterDomain": "cluster.local",
        "clusterDNS": DNS_CLUSTER_IPS,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": low,
            "nodefs.inodesFree": low,
            "imagefs.available": low,
            "imagefs.inodesFree": low,
        },
        // Never remove an image: none could be pulled again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "2s",
        "nodeStatusReportFrequency": "2s",
        "nodeLeaseDurationSeconds": 8,
    });
    if let Some(id) = &files.provider_id {
        config["providerID"] = json!(id);
    }
    config
}

/// kube-proxy: nftables mode; conntrack limits are the machine's and cannot be set from a namespace.
pub(crate) fn kube_proxy(name: &str, kubeconfig: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "hostnameOverride": name,
        "clusterCIDR": POD_CIDRS,
        "clientConnection": {"kubeconfig": kubeconfig},
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    })
}

/// Pods by point-to-point links: on a bridge two pods of one node would answer each other below the NAT.
pub(crate) fn cni(ranges: &[IpNet]) -> Value {
    let ranges: Vec<Value> = ranges
        .iter()
        .map(|range| json!([{"subnet": range.to_string()}]))
        .collect();
    json!({
        "cniVersion": "0.4.0",
        "name": "lab",
        "plugins": [
            {"type": "lab-nodad"},
            {
                "type": "ptp",
                "ipMasq": false,
                "mtu": 1500,
                "ipam": {
                    "type": "host-local",
                    "ranges": ranges,
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_has_its_own_range_set() {
        let ranges: Vec<IpNet> = ["10.244.0.0/24", "fd00:10:244::/64"]
            .map(|range| range.parse().unwrap())
            .into();
        let config = cni(&ranges);
        let sets = config["plugins"][1]["ipam"]["ranges"].as_array().unwrap();
        assert_eq!(sets.len(), 2);
        assert_eq!(sets[1][0]["subnet"], "fd00:10:244::/64");
    }
}
