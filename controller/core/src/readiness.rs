//! Pod readiness gates: a pod is Ready only once the load balancers in front of it send it traffic.
//!
//! Users put the gate [`TARGET_HEALTH`] into a pod template; here is decided what the condition of that name says. It waits for
//! every Service whose targets are pods, which selects the pod and which a provider serves. Once True it stays True: what becomes
//! of the target later is the load balancer's business, and a pod that serves must not lose its place in every other Service
//! because of it. A Service that gives the pod no targets holds nothing up: one with nodes as targets, one that is refused and
//! has no load balancer, one that is paused or in a dry run.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use herald_core::{Labels, ServiceKey};
mod judge;

pub use judge::GateTargets;

use judge::judge;

/// The gate, and the type of the condition that closes it.
pub const TARGET_HEALTH: &str = "heraldlb.io/target-health";

/// A pod that carries the gate, compact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodView {
    /// Namespace and name.
    pub key: ServiceKey,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// The resource version as a number, 0 when it is none: an older observation never replaces a newer one, or a closed gate
    /// could look open for a moment.
    pub version: u64,
    /// `metadata.labels`.
    pub labels: Labels,
    /// `status.podIPs`.
    pub addresses: Vec<IpAddr>,
    /// The condition `ContainersReady` is True.
    pub containers_ready: bool,
    /// It is being deleted, or has succeeded or failed.
    pub ended: bool,
    /// Its other readiness gates that are not True, in its order.
    pub others: Vec<String>,
    /// Another controller's gate for the health of targets is not True: it opens and closes for the same reasons as ours, so
    /// that the two do not wait for each other.
    pub beside: bool,
    /// The gate's condition, and when its status last changed, as written.
    pub gate: Option<(GateCondition, Arc<str>)>,
}

/// What the gate's condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateCondition {
    /// True or False.
    pub status: bool,
    /// One word for programs.
    pub reason: String,
    /// What is awaited, for people.
    pub message: String,
}

impl PodView {
    /// Whether the pod is to become a target although it is not Ready: nothing but the gate keeps it from being so.
    ///
    /// Other gates come first. Another controller may hold its gate open to keep traffic away, and a pod that was taken up
    /// before that gate closes would lose its place again as soon as ours has closed.
    pub fn waits_for_traffic(&self) -> bool {
        let open = !self.closed() || self.beside;
        self.could_serve() && open
    }

    /// What its gate makes of its endpoints.
    fn place(&self) -> Place {
        if self.waits_for_traffic() {
            Place::Waits
        } else if self.could_serve() {
            Place::Keeps
        } else {
            Place::Ordinary
        }
    }

    /// Whether nothing but gates for the health of targets can keep the pod from being Ready.
    fn could_serve(&self) -> bool {
        !self.ended && self.containers_ready && self.others.is_empty()
    }

    fn undecided(&self) -> bool {
        !self.ended && self.containers_ready && !self.closed()
    }

    fn closed(&self) -> bool {
        self.gate.as_ref().is_some_and(|(gate, _)| gate.status)
    }
}

/// What a pod's gate makes of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing: the endpoint is what its slice says.
    Ordinary,
    /// It has to become a target although the pod is not Ready.
    Waits,
    /// It became one, and stays one although the slice may not say yet that the pod is Ready: the kubelet and the slice's
    /// controller come after the gate. Taken out for that moment, it would have to become healthy once more.
    Keeps,
}

/// A Service that a provider serves, as far as gates are concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateService {
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `spec.selector`; one that is empty selects nothing.
    pub selector: Labels,
    /// Changes to its load balancer are held back: paused, or a dry run.
    pub held: bool,
}

impl GateService {
    fn selects(&self, pod: &PodView) -> bool {
        let mut wanted = self.selector.iter();
        !self.selector.is_empty() && wanted.all(|(key, value)| pod.labels.get(key) == Some(value))
    }
}

/// By namespace, then by name.
type Namespaces<T> = HashMap<Arc<str>, BTreeMap<Arc<str>, T>>;

/// Pods with the gate, the Services in front of them, and what the last passes found.
#[derive(Debug, Default)]
pub struct GateIndex {
    pods: Namespaces<PodView>,
    services: Namespaces<(GateService, GateTargets)>,
    dirty: BTreeSet<ServiceKey>,
}

impl GateIndex {
    /// Enters all pods there are, but those that cannot be read; gives the Services whose endpoints may have to become targets.
    pub fn observe_pods(
        &mut self,
        pods: Vec<PodView>,
        unreadable: &[ServiceKey],
    ) -> BTreeSet<ServiceKey> {
        let seen: BTreeSet<&ServiceKey> =
            pods.iter().map(|pod| &pod.key).chain(unreadable).collect();
        let gone: Vec<ServiceKey> = self
            .pods()
            .filter(|pod| !seen.contains(&pod.key))
            .map(|pod| pod.key.clone())
            .collect();
        for key in gone {
            self.pod_gone(&key);
        }
        for pod in &pods {
            let known = self.pods.get_mut(&pod.key.namespace);
            if let Some(known) = known.and_then(|pods| pods.get_mut(&pod.key.name)) {
                // After a restore of the API server's store versions may have gone back.
                known.version = known.version.min(pod.version);
            }
        }
        pods.into_iter()
            .flat_map(|pod| self.observe_pod(pod))
            .collect()
    }

    /// Enters a pod; gives the Services whose endpoints may have to become targets, or need not any more.
    pub fn observe_pod(&mut self, pod: PodView) -> BTreeSet<ServiceKey> {
        let key = pod.key.clone();
        // A successor of the same name is another pod.
        let known = self.pod(&key).filter(|known| known.uid == pod.uid);
        if known.is_some_and(|known| known.version > pod.version) {
            return BTreeSet::new();
        }
        let before = known.map_or(Place::Ordinary, PodView::place);
        let moved = known
            .is_some_and(|known| known.labels != pod.labels || known.addresses != pod.addresses);
        let look = before != pod.place() || (before == Place::Waits && moved);
        let services = if look {
            self.selecting(&pod)
        } else {
            BTreeSet::new()
        };
        if pod.undecided() {
            self.dirty.insert(key.clone());
        }
        let pods = self.pods.entry(key.namespace.clone()).or_default();
        pods.insert(key.name, pod);
        services
    }

    /// Forgets a pod.
    pub fn pod_gone(&mut self, key: &ServiceKey) {
        if let Some(pods) = self.pods.get_mut(&key.namespace) {
            pods.remove(&key.name);
            if pods.is_empty() {
                self.pods.remove(&key.namespace);
            }
        }
        self.dirty.remove(key);
    }

    /// Enters a Service that a provider serves; `None` when there is none of this name, or none any more.
    pub fn observe_service(&mut self, key: &ServiceKey, service: Option<GateService>) {
        let known = self
            .services
            .get(&key.namespace)
            .and_then(|all| all.get(&key.name));
        if known.map(|(service, _)| service) == service.as_ref() {
            return;
        }
        let mut touched = self.undecided(key);
        let all = self.services.entry(key.namespace.clone()).or_default();
        match service {
            None => {
                all.remove(&key.name);
                if all.is_empty() {
                    self.services.remove(&key.namespace);
                }
            }
            Some(service) => {
                let known = all.remove(&key.name);
                let same = known.filter(|(known, _)| known.uid == service.uid);
                let targets = same.map(|(_, targets)| targets).unwrap_or_default();
                all.insert(key.name.clone(), (service, targets));
            }
        }
        touched.extend(self.undecided(key));
        self.dirty.extend(touched);
    }

    /// Enters what a pass over the load balancer of the Service with this uid found.
    pub fn observe_targets(&mut self, key: &ServiceKey, uid: &str, targets: GateTargets) {
        let all = self.services.get_mut(&key.namespace);
        if let Some((service, known)) = all.and_then(|all| all.get_mut(&key.name))
            && *service.uid == *uid
            && *known != targets
        {
            *known = targets;
            let touched = self.undecided(key);
            self.dirty.extend(touched);
        }
    }

    /// Forgets what passes found: it is of an earlier term. All open gates are decided again, also those that the earlier term
    /// could not write.
    pub fn forget_targets(&mut self) {
        for (_, targets) in self.services.values_mut().flat_map(BTreeMap::values_mut) {
            *targets = GateTargets::Unknown;
        }
        let pods = self.pods.values().flat_map(BTreeMap::values);
        let open = pods.filter(|pod| pod.undecided());
        self.dirty.extend(open.map(|pod| pod.key.clone()));
    }

    /// What a pod's gate makes of its endpoint with this address.
    pub fn place(&self, pod: &ServiceKey, address: IpAddr) -> Place {
        let pod = self.pod(pod);
        let pod = pod.filter(|pod| pod.addresses.contains(&address));
        pod.map_or(Place::Ordinary, PodView::place)
    }

    /// A pod with the gate.
    pub fn pod(&self, key: &ServiceKey) -> Option<&PodView> {
        self.pods.get(&key.namespace)?.get(&key.name)
    }

    /// All pods with the gate.
    pub fn pods(&self) -> impl Iterator<Item = &PodView> {
        self.pods.values().flat_map(BTreeMap::values)
    }

    /// How many gates are open.
    pub fn open(&self) -> usize {
        self.pods().filter(|pod| pod.undecided()).count()
    }

    /// Takes a pod whose condition may have to be written.
    pub fn pop_dirty(&mut self) -> Option<ServiceKey> {
        self.dirty.pop_first()
    }

    /// Lets a pod be decided again.
    pub fn mark(&mut self, key: &ServiceKey) {
        if self.pod(key).is_some() {
            self.dirty.insert(key.clone());
        }
    }

    /// What the pod's condition should say; `None` when it says that already, or is not to be touched.
    pub fn decide(&self, key: &ServiceKey) -> Option<GateCondition> {
        let pod = self.pod(key).filter(|pod| pod.undecided())?;
        let services = self.services.get(&key.namespace).into_iter().flatten();
        let selecting = services.filter(|(_, (service, _))| service.selects(pod));
        let gate = judge(
            pod,
            selecting.map(|(name, (service, targets))| (&**name, service, targets)),
        );
        let says = pod.gate.as_ref().map(|(gate, _)| gate);
        (says != Some(&gate)).then_some(gate)
    }

    fn selecting(&self, pod: &PodView) -> BTreeSet<ServiceKey> {
        let services = self.services.get(&pod.key.namespace).into_iter().flatten();
        let selecting = services.filter(|(_, (service, _))| service.selects(pod));
        selecting
            .map(|(name, _)| ServiceKey::new(pod.key.namespace.clone(), name.clone()))
            .collect()
    }

    /// The pods of a Service whose gate is open.
    fn undecided(&self, key: &ServiceKey) -> Vec<ServiceKey> {
        let service = self
            .services
            .get(&key.namespace)
            .and_then(|all| all.get(&key.name));
        let Some((service, _)) = service else {
            return Vec::new();
        };
        let pods = self
            .pods
            .get(&key.namespace)
            .into_iter()
            .flat_map(BTreeMap::values);
        pods.filter(|pod| pod.undecided() && service.selects(pod))
            .map(|pod| pod.key.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests;
