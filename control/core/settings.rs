//! Settings of the control plane, from the operator.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::Webhook;
use ringway_net::DriverChoice;
use ringway_traffic::policy::Defaults;

/// Settings of the control plane.
#[derive(Clone, Debug)]
pub struct ControlSettings {
    /// Health checks of instances without own settings.
    pub health: ringway_health::Defaults,
    /// Heartbeat timeout: an instance that has sent heartbeats leaves the rotation this long after the last
    /// one, and is deregistered after as long again.
    pub heartbeat_timeout: Duration,
    /// Key of the hash that replaces tenant ids in access logs.
    pub hash_key: u64,
    /// Secret of which the keys of the buckets of canaries are derived: with the same one after a restart,
    /// clients stay in their buckets and their cookies remain valid.
    pub bucket_secret: Arc<[u8]>,
    /// Interval at which canaries are compared with their stable pools.
    pub canary_interval: Duration,
    /// I/O driver of the control thread.
    pub driver: DriverChoice,
    /// Version of the program, for status and metrics.
    pub version: &'static str,
    /// Source revision of the build, or `unknown`.
    pub commit: &'static str,
    /// Settings of rules and pools without own ones; the builder of a gateway takes the policy from the
    /// settings of the data plane.
    pub defaults: Defaults,
    /// Webhook that receives the events of all certificates and canaries, beside the webhooks of apps.
    pub certificate_webhook: Option<Webhook>,
}

impl Default for ControlSettings {
    /// The defaults of `ringway_model::limits`, and random keys.
    fn default() -> Self {
        Self {
            health: ringway_health::Defaults::default(),
            heartbeat_timeout: ringway_model::limits::HEARTBEAT_TIMEOUT,
            hash_key: random(),
            bucket_secret: [random(), random()].into_iter().flat_map(u64::to_be_bytes).collect(),
            canary_interval: ringway_traffic::brake::BRAKE_INTERVAL,
            driver: DriverChoice::Auto,
            version: env!("CARGO_PKG_VERSION"),
            commit: "unknown",
            defaults: Defaults::default(),
            certificate_webhook: None,
        }
    }
}

fn random() -> u64 {
    std::hash::BuildHasher::hash_one(&ahash::RandomState::new(), 0_u8)
}
