//! Events and their JSON payload.

use ringway_model::{AppId, Hostname, InstanceId, RouteId, TenantId, Timestamp};
use serde::Serialize;

/// Kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// First certificate of a domain.
    CertificateIssued,
    /// Renewed certificate of a domain.
    CertificateRenewed,
    /// Failed order or unusable certificate.
    CertificateFailed,
    /// Certificate close to its expiry and not renewed.
    CertificateExpiring,
    /// Last available instance left the rotation.
    AllInstancesDown,
    /// An instance is available again.
    InstancesRecovered,
    /// Registration of an instance.
    InstanceRegistered,
    /// Deregistration of an instance.
    InstanceDeregistered,
    /// Circuit breaker of a pool or of a route opened.
    CircuitOpened,
    /// Circuit breaker of a pool or of a route closed.
    CircuitClosed,
    /// A canary that failed gets no more requests.
    CanaryBraked,
}

impl EventKind {
    /// Name in the payload.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CertificateIssued => "certificate_issued",
            Self::CertificateRenewed => "certificate_renewed",
            Self::CertificateFailed => "certificate_failed",
            Self::CertificateExpiring => "certificate_expiring",
            Self::AllInstancesDown => "all_instances_down",
            Self::InstancesRecovered => "instances_recovered",
            Self::InstanceRegistered => "instance_registered",
            Self::InstanceDeregistered => "instance_deregistered",
            Self::CircuitOpened => "circuit_opened",
            Self::CircuitClosed => "circuit_closed",
            Self::CanaryBraked => "canary_braked",
        }
    }
}

/// Event of an app or of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Kind of the event.
    pub kind: EventKind,
    /// App; none for events of the process, such as its default certificate.
    pub app: Option<AppId>,
    /// Domain, if the event is about one.
    pub domain: Option<Hostname>,
    /// Tenant of the domain.
    pub tenant: Option<TenantId>,
    /// Time of the event.
    pub at: Timestamp,
    /// Details; absent ones are left out of the payload.
    pub details: Details,
}

/// Details of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Expiry of the certificate.
    pub expires_at: Option<Timestamp>,
    /// Reason of a failure, and the remedy.
    pub reason: Option<String>,
    /// Time of the next attempt.
    pub next_try: Option<Timestamp>,
    /// Instance of the event.
    pub instance: Option<InstanceId>,
    /// Route of the event.
    pub route: Option<RouteId>,
    /// Number of the app's instances in rotation.
    pub healthy_instances: Option<usize>,
    /// Number of the app's instances.
    pub total_instances: Option<usize>,
}

#[derive(Serialize)]
struct Payload<'a> {
    id: &'a str,
    event: &'static str,
    app_id: Option<&'a str>,
    domain: Option<&'a str>,
    tenant_id: Option<&'a str>,
    timestamp: String,
    details: PayloadDetails<'a>,
}

#[derive(Serialize)]
struct PayloadDetails<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    healthy_instances: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_instances: Option<usize>,
}

impl Event {
    /// Serializes the body of a delivery.
    pub(crate) fn to_json(&self, id: &str) -> Vec<u8> {
        let details = &self.details;
        let payload = Payload {
            id,
            event: self.kind.as_str(),
            app_id: self.app.as_ref().map(AppId::as_str),
            domain: self.domain.as_ref().map(Hostname::as_str),
            tenant_id: self.tenant.as_ref().map(TenantId::as_str),
            timestamp: self.at.to_rfc3339(),
            details: PayloadDetails {
                expires_at: details.expires_at.map(Timestamp::to_rfc3339),
                reason: details.reason.as_deref(),
                next_try: details.next_try.map(Timestamp::to_rfc3339),
                instance_id: details.instance.as_ref().map(InstanceId::as_str),
                route: details.route.as_ref().map(RouteId::as_str),
                healthy_instances: details.healthy_instances,
                total_instances: details.total_instances,
            },
        };
        serde_json::to_vec(&payload).expect("strings and numbers can be written as JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_has_the_documented_form() {
        let event = Event {
            kind: EventKind::CertificateIssued,
            app: AppId::parse("app1").ok(),
            domain: Hostname::parse("customer.com").ok(),
            tenant: TenantId::parse("tenant-123").ok(),
            at: Timestamp(784_111_777_000),
            details: Details {
                expires_at: Some(Timestamp(784_111_777_000)),
                healthy_instances: Some(2),
                total_instances: Some(3),
                ..Details::default()
            },
        };
        assert_eq!(
            String::from_utf8_lossy(&event.to_json("e1")),
            "{\"id\":\"e1\",\"event\":\"certificate_issued\",\"app_id\":\"app1\",\"domain\":\"customer.com\",\
             \"tenant_id\":\"tenant-123\",\"timestamp\":\"1994-11-06T08:49:37Z\",\"details\":{\
             \"expires_at\":\"1994-11-06T08:49:37Z\",\"healthy_instances\":2,\"total_instances\":3}}"
        );
    }
}
