//! Runs verifications: DNS lookups on a blocking thread, then the probes, with a bound on both.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use ringway_dns::Resolver;
use ringway_model::Hostname;
use ringway_net::sync::Semaphore;
use ringway_net::{blocking, clock, join};

use super::{
    Challenge, DnsRecords, Probe, ProbeOutcome, Verification, VerificationRequest, caa_identity, diagnose,
    probe,
};
use crate::host::PublishError;
use crate::limits::{VERIFICATIONS_IN_FLIGHT_MAX, VERIFICATIONS_WAITING_MAX};
use crate::publisher::Publisher;
use crate::registry::Registry;
use crate::settings::CertificateSettings;

/// Handle to the verifier. Clones share it.
#[derive(Clone)]
pub(crate) struct Verifier(Rc<Inner>);

struct Inner {
    settings: CertificateSettings,
    registry: Registry,
    publisher: Publisher,
    slots: Semaphore,
    /// Identities of the CA in CAA records, from its directory; empty until that was fetched.
    caa_identities: RefCell<Vec<String>>,
}

impl Verifier {
    pub(crate) fn new(settings: CertificateSettings, registry: Registry, publisher: Publisher) -> Self {
        let slots = Semaphore::new(VERIFICATIONS_IN_FLIGHT_MAX, VERIFICATIONS_WAITING_MAX);
        Self(Rc::new(Inner { settings, registry, publisher, slots, caa_identities: RefCell::default() }))
    }

    /// Takes over the identities that the CA's directory lists.
    pub(crate) fn set_caa_identities(&self, identities: &[String]) {
        *self.0.caa_identities.borrow_mut() = identities.to_vec();
    }

    /// Verifies a domain and keeps the result in its entry. `None` when the domain is not registered or the
    /// queue is full.
    pub(crate) async fn verify(&self, host: &Hostname) -> Option<Arc<Verification>> {
        let request = self.request(host)?;
        let permit = self.0.slots.acquire().await.ok()?;
        let lookup = request.clone();
        let records =
            blocking(move || DnsRecords::look_up(&lookup, &Resolver::begin(lookup.resolver))).await.ok()?;
        let probes = self.probe_all(host, records.probe_addresses(&request)).await;
        drop(permit);
        let verification = Arc::new(diagnose(&request, records, probes, clock::timestamp()));
        if let Some(entry) = self.0.registry.table_mut().get_mut(host) {
            entry.verification = Some(Arc::clone(&verification));
        }
        Some(verification)
    }

    #[cfg(test)]
    pub(crate) fn slots(&self) -> &Semaphore {
        &self.0.slots
    }

    fn request(&self, host: &Hostname) -> Option<VerificationRequest> {
        let Inner { settings, registry, caa_identities, .. } = &*self.0;
        let cname_target = registry.table().get(host)?.domain.cname_target.clone();
        let directories = settings.acme.iter().flat_map(|acme| &acme.directories);
        let public_cas: Vec<&str> =
            directories.filter_map(|directory| caa_identity(&directory.url)).collect();
        let mut caa_identities = caa_identities.borrow().clone();
        if caa_identities.is_empty() {
            caa_identities = public_cas.iter().map(|&identity| identity.to_owned()).collect();
        }
        Some(VerificationRequest {
            host: host.clone(),
            cname_target,
            public_addresses: settings.public_addresses.clone(),
            resolver: settings.dns_resolver,
            caa_identities,
            is_ca_public: !public_cas.is_empty(),
            http_port: settings.http_port,
        })
    }

    /// Publishes a challenge and fetches it from each address.
    async fn probe_all(&self, host: &Hostname, addresses: Vec<SocketAddr>) -> Vec<Probe> {
        let not_sent = |addresses: Vec<SocketAddr>| {
            let not_sent = |address| Probe { address, outcome: ProbeOutcome::NotSent, is_local: false };
            addresses.into_iter().map(not_sent).collect()
        };
        let publisher = &self.0.publisher;
        let (true, Some(challenge)) = (publisher.is_attached(), Challenge::random()) else {
            return not_sent(addresses);
        };
        if addresses.is_empty() {
            return Vec::new();
        }
        let (token, response) = (challenge.token.clone(), challenge.key_authorization.clone());
        let probes = match publisher.publish_challenge(token.clone(), Some(response)).await {
            // A slow core does not prevent the probe: the other cores respond.
            Ok(()) | Err(PublishError::SlowCores) => probe_in_pairs(host, &challenge, &addresses).await,
            Err(PublishError::Full | PublishError::UnknownDomain | PublishError::Stopping) => {
                not_sent(addresses)
            }
        };
        // A core that is slow to withdraw it responds for an unguessable name.
        let _ = publisher.publish_challenge(token, None).await;
        probes
    }
}

/// Probes two addresses at a time: one after the other would take longer than the CA itself waits.
async fn probe_in_pairs(host: &Hostname, challenge: &Challenge, addresses: &[SocketAddr]) -> Vec<Probe> {
    let mut probes = Vec::with_capacity(addresses.len());
    for pair in addresses.chunks(2) {
        match pair {
            [first, second] => {
                let (first, second) =
                    join(probe(host, challenge, *first), probe(host, challenge, *second)).await;
                probes.extend([first, second]);
            }
            rest => {
                for address in rest {
                    probes.push(probe(host, challenge, *address).await);
                }
            }
        }
    }
    probes
}
