//! Names that more than one part of Herald must spell alike: groups, namespaces, field managers, labels, classes.

/// API group of Herald's resources.
pub const GROUP: &str = "heraldlb.io";

/// Version of Herald's resources.
pub const VERSION: &str = "v1alpha1";

/// The namespace that the manifests install Herald into. A running Herald learns its namespace from its pod.
pub const NAMESPACE: &str = "herald-system";

/// The controller's Lease, in Herald's namespace.
pub const CONTROLLER_LEASE: &str = "herald-controller";

/// Finalizer of an AddressPool while a Service holds one of its addresses.
pub const POOL_IN_USE_FINALIZER: &str = "heraldlb.io/pool-in-use";

/// `spec.loadBalancerClass` of Services that get their address from a pool.
pub const CLASS_POOL: &str = "heraldlb.io/pool";

/// `spec.loadBalancerClass` of Services that get an AWS Network Load Balancer.
pub const CLASS_AWS_NLB: &str = "heraldlb.io/aws-nlb";

/// Finalizer of Services that something at AWS was, or is about to be, made for.
pub const AWS_NLB_FINALIZER: &str = "heraldlb.io/aws-nlb";

/// The provider of AWS Network Load Balancers, in logs, metrics and field managers.
pub const PROVIDER_AWS_NLB: &str = "aws-nlb";

/// Node label that keeps a node from owning addresses (KEP-1143); its value does not matter.
pub const EXCLUDE_NODE_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// Service label that gives the Service to one service proxy by name. kube-proxy leaves Services alone that carry it.
pub const SERVICE_PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";

/// Our name in [`SERVICE_PROXY_NAME_LABEL`]: the Service is Herald's data path's alone, and not kube-proxy's.
pub const SERVICE_PROXY_NAME: &str = "heraldlb.io";

/// Service and EndpointSlice label of headless Services; such slices never reach the data path.
pub const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// EndpointSlice label that names the Service.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// Field managers: one for each writer of an object, so that server-side apply keeps them apart.
pub mod field_manager {
    /// The controller: a Service's `status.loadBalancer`, the annotation `heraldlb.io/allocated-from` and the conditions
    /// that say how the address came about.
    pub const CONTROLLER: &str = "herald-controller";

    /// The controller: the condition `heraldlb.io/Announced` of a Service, which follows the Speakers at its own pace.
    pub const CONTROLLER_ANNOUNCED: &str = "herald-controller-announced";

    /// The controller, followed by the name of an external provider: finalizer and status of the provider's Services. One for
    /// each provider: what one applies must not take the other's finalizer away.
    pub const CONTROLLER_PROVIDER_PREFIX: &str = "herald-controller-";

    /// The controller: status and finalizer of AddressPools.
    pub const CONTROLLER_POOL: &str = "herald-controller-pool";

    /// The controller: the condition Ready of a Speaker that is silent.
    pub const CONTROLLER_SPEAKER: &str = "herald-controller-speaker";

    /// The controller: the condition `heraldlb.io/target-health` of pods that have it as a readiness gate.
    pub const CONTROLLER_READINESS: &str = "herald-controller-readiness";

    /// A speaker: its own Speaker object.
    pub const SPEAKER: &str = "herald-speaker";

    /// A speaker: only `status.renewTime` of its own Speaker object, which changes far more often than the rest.
    pub const SPEAKER_RENEW: &str = "herald-speaker-renew";
}
