//! Security events of a core: counted where a request is refused or passes unprotected, and reported by the
//! housekeeping. Other requests do nothing for it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use ringway_model::AppId;
use ringway_telemetry::AuthRefused;
use ringway_traffic::report::Report;
use ringway_traffic::security_event::{SecurityCounts, SecurityEvent, SecurityEventKind, SecuritySubject};

use crate::core::Core;
use crate::runtime::Runtime;

/// Events that are not reported yet.
#[derive(Default)]
pub(crate) struct SecurityEvents(RefCell<SecurityCounts>);

impl SecurityEvents {
    /// Counts a request that a ban refused.
    #[cold]
    pub(super) fn note_banned(&self, route: &Arc<str>, client: IpAddr) {
        self.note(SecurityEventKind::Banned, SecuritySubject::Route(route.clone()), "banned", client);
    }

    /// Counts a request that passed a filter without its decision.
    #[cold]
    pub(super) fn note_failed_open(
        &self,
        route: &Arc<str>,
        pool: &AppId,
        reason: &'static str,
        client: IpAddr,
    ) {
        let filter = SecuritySubject::Filter { route: route.clone(), pool: pool.clone() };
        self.note(SecurityEventKind::FilterFailedOpen, filter, reason, client);
    }

    fn note(&self, kind: SecurityEventKind, subject: SecuritySubject, reason: &'static str, client: IpAddr) {
        self.0.borrow_mut().count(SecurityEvent { kind, subject, reason }, Some(client));
    }
}

/// Counts a request that authentication refused, or a connection without the certificate that its domain
/// needs. `subject` is the name of the route, or the host of the domain.
#[cold]
pub(crate) fn note_refusal<R: Runtime>(
    core: &Core<R>,
    subject: Arc<str>,
    reason: &'static str,
    client: IpAddr,
) {
    let subject = SecuritySubject::Route(subject);
    core.security_events.note(SecurityEventKind::AuthRefused, subject, reason, client);
    core.telemetry.emit(AuthRefused { reason });
}

/// Reason of refusals of requests and connections without a client certificate.
pub(crate) const CERTIFICATE_MISSING: &str = "client_certificate_missing";
/// Reason of refusals of connections whose certificate is not of the CA that their domain names.
pub(crate) const CERTIFICATE_INVALID: &str = "client_certificate_invalid";

/// Reports the events since the last report. A full mailbox delays them.
pub(crate) fn report<R: Runtime>(core: &Core<R>) {
    let mut counts = core.security_events.0.borrow_mut();
    if !counts.is_empty() && core.reports.send(Report::Security { events: counts.copy() }).is_ok() {
        counts.clear();
    }
}
