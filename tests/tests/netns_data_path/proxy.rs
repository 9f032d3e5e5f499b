//! The data path under test, driven through the whole chain: snapshot → forward() → data path.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use herald_core::{IpFamily, Labels, Protocol, ServiceKey};
use herald_speaker::data_path::{
    DataPath, DataPathConfig, DataPathHandle, DataPathReport, SyncedService,
};
use herald_speaker_core::{
    EndpointView, ForwardConfig, NodeView, ServiceForwarding, ServiceKind, ServicePort,
    ServiceProxy, ServiceView, SlicePort, SliceView, Snapshot, TrafficPolicy, forward,
    forward_node,
};
use herald_tests::Netns;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use crate::lab;
use crate::net::SERVER_PORT;

const DEADLINE: Duration = Duration::from_secs(30);

/// A data path in a namespace, with the snapshot it is fed from.
pub(crate) struct Proxy {
    runtime: Runtime,
    pub(crate) handle: DataPathHandle,
    reports: mpsc::Receiver<DataPathReport>,
    pub(crate) snapshot: Snapshot,
    pub(crate) config: ForwardConfig,
}

pub(crate) fn key(name: &str) -> ServiceKey {
    ServiceKey::new("default", name)
}

/// A Service of ports 80 TCP and UDP, without addresses; endpoints come by [`endpoints`].
pub(crate) fn service(name: &str) -> ServiceView {
    ServiceView {
        key: key(name),
        labels: Labels::default(),
        proxied: true,
        kind: ServiceKind::LoadBalancer,
        cluster_ips: Vec::new(),
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        allocated_from: Vec::new(),
        earlier_pools: Vec::new(),
        ports: [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)]
            .map(|(name, protocol)| ServicePort {
                name: name.into(),
                protocol,
                port: 80,
                node_port: None,
            })
            .to_vec(),
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        source_ranges: Vec::new(),
    }
}

/// With a node port for both protocols.
pub(crate) fn with_node_port(mut service: ServiceView, port: u16) -> ServiceView {
    for entry in &mut service.ports {
        entry.node_port = Some(port);
    }
    service
}

/// One ready endpoint.
pub(crate) fn endpoint(address: IpAddr, node: &str) -> EndpointView {
    EndpointView {
        address,
        node: Some(node.into()),
        ready: true,
        serving: true,
        terminating: false,
    }
}

/// The lab's pods as endpoints.
pub(crate) fn near() -> Vec<EndpointView> {
    lab::near().map(|a| endpoint(a, "n1")).to_vec()
}

pub(crate) fn far() -> Vec<EndpointView> {
    lab::far().map(|a| endpoint(a, "n2")).to_vec()
}

fn config(mode: ServiceProxy) -> ForwardConfig {
    ForwardConfig {
        mode,
        ..ForwardConfig::default()
    }
}

/// A cluster of one known node, without Services.
fn snapshot() -> Result<Snapshot> {
    let name: Arc<str> = "n1".into();
    let node = NodeView {
        name: name.clone(),
        labels: Labels::default(),
        ready: true,
        network_unavailable: false,
        shutting_down: false,
        excluded: false,
        addresses: lab::node().to_vec(),
        known_addresses: Vec::new(),
        pod_cidrs: vec!["10.244.1.0/24".parse()?, "fd00:244:1::/64".parse()?],
    };
    Ok(Snapshot {
        node: name.clone(),
        nodes: [(name, node)].into(),
        ..Snapshot::default()
    })
}

fn spawn(
    config: &ForwardConfig,
    own_tables: bool,
) -> std::io::Result<(DataPathHandle, mpsc::Receiver<DataPathReport>)> {
    DataPath::spawn(DataPathConfig {
        forward: config.clone(),
        own_tables,
    })
}

impl Proxy {
    /// Starts it; nothing is written before [`Proxy::replace`].
    pub(crate) fn start(namespace: &Netns, mode: ServiceProxy) -> Result<Self> {
        Self::with(namespace, config(mode), snapshot()?)
    }

    /// With tables that other programs may change.
    pub(crate) fn start_shared(namespace: &Netns, mode: ServiceProxy) -> Result<Self> {
        let config = config(mode);
        let spawned = namespace.enter(|| spawn(&config, false))??;
        Self::around(spawned, config, snapshot()?)
    }

    /// With rules that step aside this long after the last sign of life.
    pub(crate) fn start_lasting(
        namespace: &Netns,
        mode: ServiceProxy,
        step_aside_after: Duration,
    ) -> Result<Self> {
        let mut config = config(mode);
        config.step_aside_after = step_aside_after;
        Self::with(namespace, config, snapshot()?)
    }

    /// The same, with tables that other programs may change.
    pub(crate) fn start_shared_lasting(
        namespace: &Netns,
        mode: ServiceProxy,
        step_aside_after: Duration,
    ) -> Result<Self> {
        let mut config = config(mode);
        config.step_aside_after = step_aside_after;
        let spawned = namespace.enter(|| spawn(&config, false))??;
        Self::around(spawned, config, snapshot()?)
    }

    /// In the namespace this process is in already.
    pub(crate) fn start_here(mode: ServiceProxy) -> Result<Self> {
        let config = config(mode);
        let spawned = spawn(&config, true)?;
        Self::around(spawned, config, snapshot()?)
    }

    /// Another process' data path over the same snapshot.
    pub(crate) fn with(
        namespace: &Netns,
        config: ForwardConfig,
        snapshot: Snapshot,
    ) -> Result<Self> {
        let spawned = namespace.enter(|| spawn(&config, true))??;
        Self::around(spawned, config, snapshot)
    }

    fn around(
        (handle, reports): (DataPathHandle, mpsc::Receiver<DataPathReport>),
        config: ForwardConfig,
        snapshot: Snapshot,
    ) -> Result<Self> {
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()?,
            handle,
            reports,
            snapshot,
            config,
        })
    }

    /// Puts a Service and its endpoints into the snapshot.
    pub(crate) fn put(&mut self, service: ServiceView, endpoints: &[EndpointView]) {
        let key = service.key.clone();
        self.snapshot.services.insert(key.clone(), service);
        self.endpoints(&key, endpoints);
    }

    /// Replaces a Service's endpoints in the snapshot.
    pub(crate) fn endpoints(&mut self, key: &ServiceKey, endpoints: &[EndpointView]) {
        let slices = self.snapshot.slices.entry(key.clone()).or_default();
        slices.clear();
        for family in [IpFamily::V4, IpFamily::V6] {
            let name: Arc<str> = format!("{}-{family}", key.name).into();
            let slice = SliceView {
                name: name.clone(),
                service: key.clone(),
                family,
                ports: [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)]
                    .map(|(name, protocol)| SlicePort {
                        name: name.into(),
                        protocol,
                        port: SERVER_PORT,
                    })
                    .to_vec(),
                endpoints: endpoints
                    .iter()
                    .filter(|e| IpFamily::of(e.address) == family)
                    .cloned()
                    .collect(),
            };
            slices.insert(name, slice);
        }
    }

    pub(crate) fn remove(&mut self, key: &ServiceKey) {
        self.snapshot.services.remove(key);
        self.snapshot.slices.remove(key);
    }

    /// What the plan says of one Service.
    pub(crate) fn forwarding(&self, name: &str) -> ServiceForwarding {
        forward(&key(name), &self.snapshot, &self.config)
    }

    pub(crate) fn send_replace(&mut self, services: Vec<ServiceForwarding>) -> Result<()> {
        let node = forward_node(&self.snapshot, &self.config);
        Ok(self.runtime.block_on(self.handle.replace(node, services))?)
    }

    pub(crate) fn send_change(&mut self, services: Vec<ServiceForwarding>) -> Result<()> {
        Ok(self.runtime.block_on(self.handle.change(services))?)
    }

    /// The snapshot's node, after it changed.
    pub(crate) fn node(&mut self) -> Result<()> {
        let node = forward_node(&self.snapshot, &self.config);
        Ok(self.runtime.block_on(self.handle.node(node))?)
    }

    /// The whole snapshot; returns when the kernel has it.
    pub(crate) fn replace(&mut self) -> Result<Vec<SyncedService>> {
        let services = self.snapshot.services.keys();
        let services = services
            .map(|k| forward(k, &self.snapshot, &self.config))
            .collect();
        self.send_replace(services)?;
        let mut synced = Vec::new();
        loop {
            match self.report()? {
                DataPathReport::Ready => return Ok(synced),
                DataPathReport::Synced { services } => synced.extend(services),
                other => bail!("{other:?}"),
            }
        }
    }

    /// Services that changed in the snapshot; returns when the kernel has them.
    pub(crate) fn change(&mut self, keys: &[ServiceKey]) -> Result<Vec<SyncedService>> {
        let services = keys
            .iter()
            .map(|k| forward(k, &self.snapshot, &self.config))
            .collect();
        self.runtime.block_on(self.handle.change(services))?;
        let mut missing: BTreeSet<_> = keys.iter().cloned().collect();
        let mut all = Vec::new();
        while !missing.is_empty() {
            match self.report()? {
                DataPathReport::Synced { services } => {
                    for service in &services {
                        missing.remove(&service.key);
                    }
                    all.extend(services);
                }
                DataPathReport::Ready => {}
                other => bail!("{other:?}"),
            }
        }
        Ok(all)
    }

    /// The next report.
    pub(crate) fn report(&mut self) -> Result<DataPathReport> {
        let next = self
            .runtime
            .block_on(async { tokio::time::timeout(DEADLINE, self.reports.recv()).await });
        next.map_err(|_| anyhow!("no report within {DEADLINE:?}"))?
            .ok_or_else(|| anyhow!("the data path is gone"))
    }

    /// Removes the tables, as a speaker does that is taken away from its node.
    pub(crate) fn take_away(&self) -> Result<()> {
        Ok(self.runtime.block_on(self.handle.remove())??)
    }

    /// New connections counted for an address.
    pub(crate) fn connections(&self, address: IpAddr) -> Result<Option<u64>> {
        let counters = self.runtime.block_on(self.handle.counters())?;
        let counter = counters.iter().find(|c| c.address == address);
        Ok(counter.map(|c| c.connections))
    }
}
