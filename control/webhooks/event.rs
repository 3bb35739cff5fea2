//! What is told, and how it is written (document 000, "Webhook Payload").

use ringway_model::{AppId, Hostname, InstanceId, TenantId, Timestamp};
use serde::Serialize;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A domain has its first certificate.
    CertificateIssued,
    /// A domain's certificate was replaced by a younger one.
    CertificateRenewed,
    /// A certificate could not be had.
    CertificateFailed,
    /// A certificate is late in its life and was not renewed.
    CertificateExpiring,
    /// The last instance that could serve a domain is gone from the rotation.
    AllInstancesDown,
    /// One is back.
    InstancesRecovered,
    /// An instance was registered.
    InstanceRegistered,
    /// An instance is registered no more.
    InstanceDeregistered,
}

impl EventKind {
    /// The word in the payload.
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
        }
    }
}

/// Something that happened to an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What.
    pub kind: EventKind,
    /// To which app; none for what concerns the process, as its default certificate.
    pub app: Option<AppId>,
    /// The domain that it is about.
    pub domain: Option<Hostname>,
    /// Whose domain that is.
    pub tenant: Option<TenantId>,
    /// When.
    pub at: Timestamp,
    /// The rest; what does not apply is left out.
    pub details: Details,
}

/// What more there is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The end of a certificate.
    pub expires_at: Option<Timestamp>,
    /// Why something failed, and what to do.
    pub reason: Option<String>,
    /// When it is tried again.
    pub next_try: Option<Timestamp>,
    /// The instance.
    pub instance: Option<InstanceId>,
    /// Instances of the app in rotation.
    pub healthy_instances: Option<usize>,
    /// Instances of the app.
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
    healthy_instances: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_instances: Option<usize>,
}

impl Event {
    /// The body of a delivery.
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
    fn the_payload_is_that_of_the_document() {
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
