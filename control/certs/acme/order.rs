//! One order, from its first request to the certificate.
//!
//! ```text
//!            ┌────────────── read from the disk: resumed after a restart ──────────────┐
//!            │                                                                         ▼
//!  new order ─▶ key and URL on the disk ─▶ Pending: challenges live, reported ready ─▶ polled
//!                                             Ready: CSR sent                          │
//!                                        Processing: polled                            │
//!                                             Valid: chain fetched and checked         ▼
//!                                           Invalid: reason of the CA              withdrawn
//! ```
//!
//! Key and URL are on the disk before the first request about the order, so that a crash loses neither the
//! order nor, worse, a certificate whose key is gone. An order that fails for a temporary reason stays on the
//! disk and is resumed.

use std::cell::Cell;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Identifier,
    NewOrder, Order as Remote, OrderStatus,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use ringway_model::limits::CHALLENGE_TOKEN_BYTES_MAX;
use ringway_model::{Hostname, Tick, Timestamp};
use ringway_net::{clock, sleep};
use ringway_tls::Identity;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use super::authority::Authority;
use super::failure::{AcmeFailure, RejectionKind, Resource};
use super::transport::Client;
use crate::disk::Disk;
use crate::files::{DomainFile, Pair};
use crate::limits::{ACME_NONCE_TRIES, ACME_POLL_INTERVAL_MAX, ACME_POLL_INTERVAL_MIN, ORDER_TIMEOUT};
use crate::publisher::Publisher;
use crate::registry::Registry;

/// Persisted order in progress.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct PendingOrder {
    /// Directory URL of the CA.
    pub(crate) directory: String,
    /// URL of the order.
    url: String,
    /// Private key of the certificate, PEM.
    key: String,
}

/// Order for a domain.
pub(crate) struct Order<'a> {
    pub(crate) disk: &'a Disk,
    pub(crate) publisher: &'a Publisher,
    pub(crate) registry: &'a Registry,
    pub(crate) authority: &'a Authority,
    pub(crate) account: Account,
    pub(crate) host: &'a Hostname,
    /// Identifier of the certificate to replace (RFC 9773 §5).
    pub(crate) replaces: Option<&'a str>,
    pub(crate) profile: Option<&'a str>,
    /// Set when the CA accepted a new order.
    pub(crate) is_sent: &'a Cell<bool>,
}

/// Issued and checked certificate, not installed yet.
pub(crate) struct Issued {
    pub(crate) pair: Pair,
    pub(crate) identity: Identity,
    /// Identifier in RFC 9773, if it has one.
    pub(crate) certificate_id: Option<String>,
}

impl Order<'_> {
    /// Places or resumes the order, and completes it. Its challenges are withdrawn in any case. A failed
    /// order stays on the disk until [`forget_after`](Self::forget_after).
    pub(crate) async fn fulfil(&self, pending: Option<PendingOrder>) -> Result<Issued, AcmeFailure> {
        let client = self.authority.client().await?;
        let mut tokens = Vec::new();
        let result = self.drive(&client, pending, &mut tokens).await;
        for token in tokens {
            // A core that is slow to withdraw it responds to a request that no CA sends again.
            let _ = self.publisher.publish_challenge(token, None).await;
        }
        result
    }

    /// Deletes the order from the disk, unless it is resumed later. Call it after the failure was persisted:
    /// the order is the only trace of it.
    pub(crate) async fn forget_after(&self, failure: &AcmeFailure) {
        if is_resumed_after(failure) {
            return;
        }
        let name = self.host.clone();
        if let Err(error) =
            self.disk.run(move |files| files.remove_domain_file(&name, DomainFile::Order)).await
        {
            // The next attempt finds it, and the CA reports it as failed.
            tracing::warn!(host = %self.host, %error, "failed certificate order could not be deleted from the disk");
        }
    }

    async fn drive(
        &self,
        client: &Client,
        pending: Option<PendingOrder>,
        tokens: &mut Vec<String>,
    ) -> Result<Issued, AcmeFailure> {
        let (mut order, key) = self.begin(client, pending).await?;
        let mut polling = Polling::new(clock::now());
        let mut is_authorized = false;
        let mut was_refused = false;
        let mut was_finalize_refused = false;
        // `Retry-After` of the last response about this order.
        let mut retry_after = None;
        loop {
            match order.state().status {
                OrderStatus::Pending if !is_authorized => {
                    match self.authorize(client, &mut order, tokens).await {
                        Ok(()) => is_authorized = true,
                        // The CA accepted the challenge before, and the response was lost: the order's state
                        // decides.
                        Err(AcmeFailure::Rejected { .. }) if !was_refused => was_refused = true,
                        Err(failure) => return Err(failure),
                    }
                    retry_after = self.wait(client, &mut order, &mut polling, None).await?;
                }
                OrderStatus::Pending | OrderStatus::Processing => {
                    retry_after = self.wait(client, &mut order, &mut polling, retry_after).await?;
                }
                OrderStatus::Ready => {
                    let csr = signing_request(self.host, &key)?;
                    let finalized =
                        self.authority.call(client, Resource::Order, async || order.finalize_csr(&csr).await);
                    match finalized.await {
                        Ok(()) => {}
                        // Finalized by a request whose response was lost, or no longer ready: the order's
                        // state decides.
                        Err(AcmeFailure::Rejected { kind: RejectionKind::OrderState, .. })
                            if !was_finalize_refused =>
                        {
                            was_finalize_refused = true;
                        }
                        Err(AcmeFailure::Rejected { reason, kind: RejectionKind::OrderState }) => {
                            return Err(AcmeFailure::OrderLost { reason });
                        }
                        Err(failure) => return Err(failure),
                    }
                    if order.state().status == OrderStatus::Ready {
                        retry_after = self.wait(client, &mut order, &mut polling, None).await?;
                    }
                }
                OrderStatus::Valid => break,
                OrderStatus::Invalid => return Err(self.failure_reason(client, &mut order).await),
            }
        }
        let chain = self.authority.call(client, Resource::Order, async || order.certificate().await).await;
        let Some(chain) = chain.map_err(AcmeFailure::of_reading)? else {
            return Err(AcmeFailure::OrderFailed {
                reason: "the CA reports the order as valid but has no certificate".into(),
                retry_after: None,
            });
        };
        check(self.host, &chain, &key, clock::timestamp())
    }

    /// Resumes the order on the disk if the CA still has it; otherwise places a new one and stores it. An
    /// order that failed while the process was down is returned as such and booked: otherwise a crash loop
    /// would place a new order each time and use up the rate limits.
    async fn begin(
        &self,
        client: &Client,
        pending: Option<PendingOrder>,
    ) -> Result<(Remote, String), AcmeFailure> {
        if let Some(pending) = pending.filter(|pending| pending.directory == self.authority.url()) {
            let found = self
                .authority
                .call(client, Resource::Order, async || self.account.order(pending.url.clone()).await)
                .await;
            match found.map_err(AcmeFailure::of_reading) {
                Ok(order) => {
                    tracing::info!(host = %self.host, order = order.url(), "resuming a certificate order");
                    return Ok((order, pending.key));
                }
                // Unknown to the CA, or another account's.
                Err(AcmeFailure::OrderLost { .. } | AcmeFailure::AccountUnknown) => {}
                // The CA may have moved, and no longer serve the old URLs.
                Err(AcmeFailure::Unavailable { .. })
                    if !is_same_origin(&pending.url, self.authority.url()) => {}
                Err(failure) => return Err(failure),
            }
        }
        let key = KeyPair::generate()
            .map_err(|error| AcmeFailure::Internal { reason: format!("key generation failed: {error}") })?;
        let key = key.serialize_pem();
        let names = [Identifier::Dns(self.host.as_str().to_owned())];
        let mut request = NewOrder::new(&names);
        if let Some(profile) = self.profile {
            request = request.profile(profile);
        }
        let replaces = self.replaces.and_then(identifier);
        let is_replacement = replaces.is_some();
        if let Some(replaces) = replaces {
            request = request.replaces(replaces);
        }
        let order = self
            .authority
            .call(client, Resource::NewOrder, async || self.account.new_order(&request).await)
            .await
            .map_err(|failure| {
                if is_replacement {
                    without_replacement(failure, client.last_response().status)
                } else {
                    failure
                }
            })?;
        self.is_sent.set(true);
        let pending = PendingOrder {
            directory: self.authority.url().to_owned(),
            url: order.url().to_owned(),
            key: key.clone(),
        };
        let name = self.host.clone();
        self.disk
            .run_for(self.host, move |files| files.write_domain_file(&name, DomainFile::Order, &pending))
            .await
            .map_err(|error| AcmeFailure::Internal {
                reason: format!("the order could not be stored: {error}"),
            })?;
        Ok((order, key))
    }

    /// Publishes the challenges to every core, and reports them to the CA as ready.
    async fn authorize(
        &self,
        client: &Client,
        order: &mut Remote,
        tokens: &mut Vec<String>,
    ) -> Result<(), AcmeFailure> {
        'again: for _ in 0..ACME_NONCE_TRIES {
            let mut authorizations = order.authorizations();
            while let Some(next) = authorizations.next().await {
                let fault_of =
                    |error| AcmeFailure::of(error, &client.last_response(), Resource::Order).of_reading();
                let mut authorization = match next.map_err(fault_of) {
                    Ok(authorization) => authorization,
                    // The iterator cannot repeat a step; a new one does not fetch known authorizations again.
                    Err(AcmeFailure::BadNonce) => continue 'again,
                    Err(failure) => return Err(failure),
                };
                match authorization.status {
                    AuthorizationStatus::Pending => {}
                    // The order's state reflects these.
                    AuthorizationStatus::Valid | AuthorizationStatus::Invalid => continue,
                    AuthorizationStatus::Revoked
                    | AuthorizationStatus::Expired
                    | AuthorizationStatus::Deactivated => {
                        let reason = "an authorization of the order is no longer valid".to_owned();
                        return Err(AcmeFailure::OrderLost { reason });
                    }
                }
                let Some(mut challenge) = authorization.challenge(ChallengeType::Http01) else {
                    let reason =
                        "the CA does not offer the http-01 challenge for this name: upload a certificate"
                            .to_owned();
                    return Err(AcmeFailure::Rejected { reason, kind: RejectionKind::Other });
                };
                let token = challenge.token.clone();
                if !is_token(&token) {
                    let reason = "the CA's challenge has an invalid token (RFC 8555 §8.3)".to_owned();
                    return Err(AcmeFailure::OrderFailed { reason, retry_after: None });
                }
                let response = challenge.key_authorization().as_str().to_owned();
                tokens.push(token.clone());
                self.publish(token, response).await?;
                if challenge.status == ChallengeStatus::Pending {
                    self.authority
                        .call(client, Resource::Order, async || challenge.set_ready().await)
                        .await?;
                }
            }
            return Ok(());
        }
        Err(AcmeFailure::BadNonce)
    }

    async fn publish(&self, token: String, response: String) -> Result<(), AcmeFailure> {
        self.publisher
            .publish_challenge(token, Some(response))
            .await
            .map_err(|error| AcmeFailure::Internal { reason: format!("the challenge is not live: {error}") })
    }

    /// Waits and polls the order; returns `Retry-After` of the response.
    async fn wait(
        &self,
        client: &Client,
        order: &mut Remote,
        polling: &mut Polling,
        retry_after: Option<Duration>,
    ) -> Result<Option<Duration>, AcmeFailure> {
        let Some(delay) = polling.next(retry_after, clock::now()) else {
            let reason = "the CA did not complete the order in time; it is resumed later".to_owned();
            return Err(AcmeFailure::OrderFailed { reason, retry_after });
        };
        sleep(delay).await;
        if !self.registry.wants_acme(self.host) {
            return Err(AcmeFailure::Cancelled);
        }
        self.authority
            .call(client, Resource::Order, async || order.refresh().await.map(|_| ()))
            .await
            .map_err(AcmeFailure::of_reading)?;
        Ok(client.last_response().retry_after)
    }

    /// Returns why the order is invalid: the error of a challenge, else that of the order.
    async fn failure_reason(&self, client: &Client, order: &mut Remote) -> AcmeFailure {
        let general = order.state().error.clone();
        let response = client.last_response();
        'again: for _ in 0..ACME_NONCE_TRIES {
            let mut authorizations = order.authorizations();
            while let Some(next) = authorizations.next().await {
                let fault_of = |error| AcmeFailure::of(error, &client.last_response(), Resource::Order);
                let authorization = match next.map_err(fault_of) {
                    Ok(authorization) => authorization,
                    Err(AcmeFailure::BadNonce) => continue 'again,
                    Err(_) => break,
                };
                if let Some(problem) =
                    authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref())
                {
                    return match AcmeFailure::of_problem(problem, &response, Resource::Order) {
                        AcmeFailure::Rejected { reason, .. } => {
                            AcmeFailure::Rejected { reason, kind: RejectionKind::Validation }
                        }
                        // The error of a challenge is about the domain, whatever its type.
                        other => AcmeFailure::Rejected {
                            reason: other.to_string(),
                            kind: RejectionKind::Validation,
                        },
                    };
                }
            }
            break;
        }
        match general {
            Some(problem) => match AcmeFailure::of_problem(&problem, &response, Resource::Order) {
                // The error of an order is that of its validation.
                AcmeFailure::Rejected { reason, kind: RejectionKind::OrderState } => {
                    AcmeFailure::Rejected { reason, kind: RejectionKind::Validation }
                }
                failure @ (AcmeFailure::Rejected { .. } | AcmeFailure::RateLimited { .. }) => failure,
                // The order is over; the next one is new.
                AcmeFailure::OrderFailed { reason, .. } => AcmeFailure::OrderLost { reason },
                other => AcmeFailure::Rejected { reason: other.to_string(), kind: RejectionKind::Other },
            },
            None => AcmeFailure::Rejected {
                reason: "the CA ended the order without a reason".to_owned(),
                kind: RejectionKind::Other,
            },
        }
    }
}

/// Classifies a refused replacement order. RFC 9773 §5 has a code only for a certificate that was replaced
/// already, and leaves other cases to the CA: another account's, an unknown one, a CA bug. An order must not
/// fail for them, so that it is repeated without the replacement.
fn without_replacement(failure: AcmeFailure, status: u16) -> AcmeFailure {
    match failure {
        AcmeFailure::Rejected { reason, .. } => AcmeFailure::NotReplaceable { reason },
        AcmeFailure::OrderFailed { reason, .. } if matches!(status, 404 | 410 | 500) => {
            AcmeFailure::NotReplaceable { reason }
        }
        other => other,
    }
}

/// Whether the order is resumed after this failure.
fn is_resumed_after(failure: &AcmeFailure) -> bool {
    match failure {
        AcmeFailure::Unavailable { .. }
        | AcmeFailure::OrderFailed { .. }
        | AcmeFailure::RateLimited { .. }
        | AcmeFailure::Misconfigured { .. }
        | AcmeFailure::BadNonce
        | AcmeFailure::Internal { .. } => true,
        AcmeFailure::AccountUnknown
        | AcmeFailure::OrderLost { .. }
        | AcmeFailure::Cancelled
        | AcmeFailure::NotReplaceable { .. }
        | AcmeFailure::Rejected { .. } => false,
    }
}

/// Whether two URLs have the same scheme, host and port, textually.
fn is_same_origin(one: &str, other: &str) -> bool {
    fn origin(url: &str) -> Option<(&str, &str)> {
        let (scheme, rest) = url.split_once("://")?;
        Some((scheme, rest.split('/').next().unwrap_or_default()))
    }
    origin(one).is_some() && origin(one) == origin(other)
}

/// Poll intervals of an order, and its deadline. Pure.
#[derive(Clone, Copy, Debug)]
struct Polling {
    delay: Duration,
    deadline: Tick,
}

impl Polling {
    fn new(now: Tick) -> Self {
        Self { delay: ACME_POLL_INTERVAL_MIN, deadline: now.after(ORDER_TIMEOUT) }
    }

    /// Returns the next wait: `Retry-After`, else a growing interval. `None` when it would end after the
    /// deadline.
    fn next(&mut self, retry_after: Option<Duration>, now: Tick) -> Option<Duration> {
        let delay = match retry_after {
            Some(wait) => wait.max(ACME_POLL_INTERVAL_MIN),
            None => self.delay,
        };
        self.delay = (self.delay * 3 / 2).min(ACME_POLL_INTERVAL_MAX);
        (now.after(delay) <= self.deadline).then_some(delay)
    }
}

/// Whether a token is valid: only characters of the base64url alphabet (RFC 8555 §8.3).
fn is_token(token: &str) -> bool {
    !token.is_empty()
        && token.len() <= CHALLENGE_TOKEN_BYTES_MAX
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Parses a certificate identifier (RFC 9773 §4.1).
fn identifier(text: &str) -> Option<CertificateIdentifier<'_>> {
    let (authority_key_identifier, serial) = text.split_once('.')?;
    Some(CertificateIdentifier {
        authority_key_identifier: authority_key_identifier.into(),
        serial: serial.into(),
    })
}

fn signing_request(host: &Hostname, key: &str) -> Result<Vec<u8>, AcmeFailure> {
    let ours =
        |error: rcgen::Error| AcmeFailure::Internal { reason: format!("CSR generation failed: {error}") };
    let key = KeyPair::from_pem(key).map_err(ours)?;
    let mut params = CertificateParams::new(vec![host.as_str().to_owned()]).map_err(ours)?;
    // The name is in the extension; CAs ignore or refuse a subject.
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key).map_err(ours)?.der().to_vec())
}

/// Checks the issued certificate before it replaces another.
fn check(host: &Hostname, chain: &str, key: &str, now: Timestamp) -> Result<Issued, AcmeFailure> {
    let refuse = |reason: String| AcmeFailure::Rejected {
        reason: format!("the CA issued a certificate that cannot be served: {reason}"),
        kind: RejectionKind::Other,
    };
    let identity =
        Identity::from_pem(chain.as_bytes(), key.as_bytes()).map_err(|error| refuse(error.to_string()))?;
    let facts = identity.facts();
    if !facts.covers(host.as_str()) {
        return Err(refuse(format!("it does not cover {host}")));
    }
    if now >= facts.not_after {
        return Err(refuse(format!("it expired already, on {}", facts.not_after.to_rfc3339())));
    }
    // CAs backdate by an hour: a certificate of the future means that a clock is wrong, most likely ours.
    if facts.not_before.0 > now.0.saturating_add(CLOCK_TOLERANCE.as_millis() as u64) {
        let begins = facts.not_before.to_rfc3339();
        return Err(refuse(format!("it is not valid before {begins}: check the clock of this machine")));
    }
    let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).ok();
    let certificate_id =
        leaf.and_then(|leaf| CertificateIdentifier::try_from(&leaf).ok()).map(|id| id.to_string());
    Ok(Issued { pair: Pair::from_pem(chain.as_bytes(), key.as_bytes()), identity, certificate_id })
}

/// Tolerated clock difference.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{host, issue};

    fn refusal(result: Result<Issued, AcmeFailure>) -> String {
        match result {
            Err(failure @ AcmeFailure::Rejected { .. }) => failure.to_string(),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("accepted"),
        }
    }

    #[test]
    fn poll_intervals_grow_and_follow_retry_after() {
        let mut polling = Polling::new(Tick(0));
        let first = polling.next(None, Tick(0)).unwrap();
        let second = polling.next(None, Tick(0)).unwrap();
        assert!(second > first && first == ACME_POLL_INTERVAL_MIN);
        assert_eq!(polling.next(Some(Duration::from_secs(7)), Tick(0)), Some(Duration::from_secs(7)));
        assert_eq!(polling.next(Some(Duration::ZERO), Tick(0)), Some(ACME_POLL_INTERVAL_MIN));
        for _ in 0..50 {
            assert!(polling.next(None, Tick(0)).unwrap() <= ACME_POLL_INTERVAL_MAX);
        }
        assert_eq!(polling.next(Some(ORDER_TIMEOUT + Duration::from_secs(1)), Tick(0)), None);
        assert_eq!(polling.next(None, Tick(0).after(ORDER_TIMEOUT)), None);
    }

    #[test]
    fn accepts_tokens_of_the_base64url_alphabet_only() {
        for token in ["DGyRejmCefe7v4NfDGDKfA", "a-b_c"] {
            assert!(is_token(token));
        }
        for token in ["", "..", "a/b", "a.b", "a b", "a\n", &"x".repeat(CHALLENGE_TOKEN_BYTES_MAX + 1)] {
            assert!(!is_token(token), "{token:?}");
        }
    }

    #[test]
    fn checks_the_issued_certificate() {
        let now = Timestamp(1_800_000_000_000);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let of = |pair: &Pair, name: &str| check(&host(name), &text(&pair.chain), &text(&pair.key), now);
        let pair = issue(&["a.example"], 2020, 2100);
        let issued = of(&pair, "a.example").unwrap();
        assert!(issued.identity.facts().covers("a.example"));
        assert!(refusal(of(&pair, "b.example")).contains("does not cover b.example"));
        assert!(refusal(of(&issue(&["a.example"], 2019, 2020), "a.example")).contains("expired already"));
        assert!(refusal(of(&issue(&["a.example"], 2090, 2100), "a.example")).contains("clock"));
        let other = issue(&["a.example"], 2020, 2100);
        let mixed = Pair { chain: pair.chain.clone(), key: other.key };
        assert!(refusal(of(&mixed, "a.example")).contains("cannot be served"));
        assert!(refusal(check(&host("a.example"), "", &text(&pair.key), now)).contains("cannot be served"));
    }

    #[test]
    fn the_csr_names_the_host_only() {
        let key = KeyPair::generate().unwrap().serialize_pem();
        let request = signing_request(&host("xn--bcher-kva.example"), &key).unwrap();
        assert!(request.windows(21).any(|window| window == b"xn--bcher-kva.example"));
        assert!(signing_request(&host("a.example"), "no key").is_err());
    }

    #[test]
    fn parses_certificate_identifiers() {
        let id = identifier("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE").unwrap();
        assert_eq!(id.to_string(), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
        assert!(identifier("nothing").is_none());
    }
}
