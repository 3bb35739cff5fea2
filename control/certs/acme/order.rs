//! One order, from its first request to the certificate.
//!
//! ```text
//!            ┌─────────────── read from the disk: resumed after a restart ───────────────┐
//!            │                                                                           ▼
//!  new order ─▶ key and URL on the disk ─▶ Pending: challenges live on every core, said to be ready ─▶ polled
//!                                             Ready: the signing request is sent           │
//!                                        Processing: polled                                │
//!                                             Valid: the chain is fetched and checked      ▼
//!                                           Invalid: the CA's reason, in plain words    withdrawn
//! ```
//!
//! The key and the order's URL are on the disk before anything is asked of the order, so that a crash at any moment costs
//! neither the order nor, worse, a certificate whose key is lost. An order that comes to nothing for a reason that will
//! pass stays on the disk and is resumed.

use std::cell::Cell;
use std::time::Duration;

use crate::limits::{ACME_NONCE_TRIES, ACME_POLL_INTERVAL_MAX, ACME_POLL_INTERVAL_MIN, ORDER_TIMEOUT};
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
use super::fault::{Fault, Refusal, Resource};
use super::transport::Client;
use crate::certificates::Certificates;
use crate::files::{Pair, Record};

/// An order under way, as it stands on the disk.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Pending {
    /// The CA that has it.
    pub(crate) directory: String,
    /// The order's own URL.
    url: String,
    /// The key of the certificate to come, PEM.
    key: String,
}

/// What an order is for.
pub(crate) struct Order<'a> {
    pub(crate) certificates: &'a Certificates,
    pub(crate) authority: &'a Authority,
    pub(crate) account: Account,
    pub(crate) host: &'a Hostname,
    /// The certificate that this one takes the place of, as RFC 9773 names it.
    pub(crate) replaces: Option<&'a str>,
    pub(crate) profile: Option<&'a str>,
    /// Set when the CA has taken a new order.
    pub(crate) is_sent: &'a Cell<bool>,
}

/// A certificate that was checked, and nothing is done with it yet.
pub(crate) struct Issued {
    pub(crate) pair: Pair,
    pub(crate) identity: Identity,
    /// Its name in RFC 9773, if it has one.
    pub(crate) certificate_id: Option<String>,
}

impl Order<'_> {
    /// Sees the order through. Whatever comes of it, its challenges are withdrawn; what is left on the disk is resumed by the
    /// next call with the same CA. What came to nothing stays there until [`forget_after`](Self::forget_after).
    pub(crate) async fn fulfil(&self, pending: Option<Pending>) -> Result<Issued, Fault> {
        let client = self.authority.client().await?;
        let mut tokens = Vec::new();
        let result = self.drive(&client, pending, &mut tokens).await;
        if let Some(host) = self.certificates.host() {
            for token in tokens {
                // A core that is slow to forget it answers for a name that nobody asks for any more.
                let _ = host.publish_challenge(token, None).await;
            }
        }
        result
    }

    /// Takes the order from the disk, unless it goes on later. To be called once the failure is booked where a crash leaves
    /// it: an order that is forgotten tells nobody that it failed.
    pub(crate) async fn forget_after(&self, fault: &Fault) {
        if is_resumed_after(fault) {
            return;
        }
        let name = self.host.clone();
        if let Err(error) =
            self.certificates.on_disk(move |files| files.remove_record(&name, Record::Order)).await
        {
            // It is found again, and the CA says that it is over.
            tracing::warn!(host = %self.host, %error, "an order that came to nothing could not be removed from the disk");
        }
    }

    async fn drive(
        &self,
        client: &Client,
        pending: Option<Pending>,
        tokens: &mut Vec<String>,
    ) -> Result<Issued, Fault> {
        let (mut order, key) = self.begin(client, pending).await?;
        let mut patience = Patience::new(clock::now());
        let mut is_authorized = false;
        let mut was_refused = false;
        let mut was_finalize_refused = false;
        // What the CA's last answer about this order said of the next look.
        let mut asked = None;
        loop {
            match order.state().status {
                OrderStatus::Pending if !is_authorized => {
                    match self.authorize(client, &mut order, tokens).await {
                        Ok(()) => is_authorized = true,
                        // The CA took the challenge before, and the answer was lost: its present state decides.
                        Err(Fault::Refused { .. }) if !was_refused => was_refused = true,
                        Err(fault) => return Err(fault),
                    }
                    asked = self.wait(client, &mut order, &mut patience, None).await?;
                }
                OrderStatus::Pending | OrderStatus::Processing => {
                    asked = self.wait(client, &mut order, &mut patience, asked).await?;
                }
                OrderStatus::Ready => {
                    let csr = signing_request(self.host, &key)?;
                    let finalized =
                        self.authority.ask(client, Resource::Order, async || order.finalize_csr(&csr).await);
                    match finalized.await {
                        Ok(()) => {}
                        // It was finalized by a request whose answer was lost, or is not ready any more: its state decides.
                        Err(Fault::Refused { kind: Refusal::OrderState, .. }) if !was_finalize_refused => {
                            was_finalize_refused = true;
                        }
                        Err(Fault::Refused { why, kind: Refusal::OrderState }) => {
                            return Err(Fault::OrderLost { why });
                        }
                        Err(fault) => return Err(fault),
                    }
                    if order.state().status == OrderStatus::Ready {
                        asked = self.wait(client, &mut order, &mut patience, None).await?;
                    }
                }
                OrderStatus::Valid => break,
                OrderStatus::Invalid => return Err(self.blame(client, &mut order).await),
            }
        }
        let chain = self.authority.ask(client, Resource::Order, async || order.certificate().await).await;
        let Some(chain) = chain.map_err(Fault::of_reading)? else {
            return Err(Fault::OrderFailed {
                why: "the CA says that it has issued, and has nothing".into(),
                retry_after: None,
            });
        };
        check(self.host, &chain, &key, clock::timestamp())
    }

    /// The order on the disk if the CA still has it, else a new one, which is on the disk when this returns. One that failed
    /// while we were away is given as it is: it is booked like any other, or a process that crashes again and again would
    /// order anew each time and use up what the CA allows.
    async fn begin(&self, client: &Client, pending: Option<Pending>) -> Result<(Remote, String), Fault> {
        if let Some(pending) = pending.filter(|pending| pending.directory == self.authority.url()) {
            let found = self
                .authority
                .ask(client, Resource::Order, async || self.account.order(pending.url.clone()).await)
                .await;
            match found.map_err(Fault::of_reading) {
                Ok(order) => {
                    tracing::info!(host = %self.host, order = order.url(), "an order is resumed");
                    return Ok((order, pending.key));
                }
                // Forgotten by the CA, or of another account.
                Err(Fault::OrderLost { .. } | Fault::AccountGone) => {}
                // A CA that has moved its orders may have nothing any more where they were.
                Err(Fault::Down { .. }) if !is_same_origin(&pending.url, self.authority.url()) => {}
                Err(fault) => return Err(fault),
            }
        }
        let key = KeyPair::generate().map_err(|error| Fault::Ours { why: format!("no key: {error}") })?;
        let key = key.serialize_pem();
        let names = [Identifier::Dns(self.host.as_str().to_owned())];
        let mut wish = NewOrder::new(&names);
        if let Some(profile) = self.profile {
            wish = wish.profile(profile);
        }
        let replaces = self.replaces.and_then(identifier);
        let is_replacement = replaces.is_some();
        if let Some(replaces) = replaces {
            wish = wish.replaces(replaces);
        }
        let order = self
            .authority
            .ask(client, Resource::NewOrder, async || self.account.new_order(&wish).await)
            .await
            .map_err(|fault| {
                if is_replacement { without_replacement(fault, client.answered().status) } else { fault }
            })?;
        self.is_sent.set(true);
        let pending = Pending {
            directory: self.authority.url().to_owned(),
            url: order.url().to_owned(),
            key: key.clone(),
        };
        let name = self.host.clone();
        self.certificates
            .on_disk_of(self.host, move |files| files.write_record(&name, Record::Order, &pending))
            .await
            .map_err(|error| Fault::Ours { why: format!("the order could not be stored: {error}") })?;
        Ok((order, key))
    }

    /// Has every core answer the challenges, and tells the CA so.
    async fn authorize(
        &self,
        client: &Client,
        order: &mut Remote,
        tokens: &mut Vec<String>,
    ) -> Result<(), Fault> {
        'again: for _ in 0..ACME_NONCE_TRIES {
            let mut authorizations = order.authorizations();
            while let Some(next) = authorizations.next().await {
                let fault_of = |error| Fault::of(error, &client.answered(), Resource::Order).of_reading();
                let mut authorization = match next.map_err(fault_of) {
                    Ok(authorization) => authorization,
                    // The crate's own iterator cannot repeat a step; what it has fetched it does not fetch again.
                    Err(Fault::BadNonce) => continue 'again,
                    Err(fault) => return Err(fault),
                };
                match authorization.status {
                    AuthorizationStatus::Pending => {}
                    // The order says itself what follows from these.
                    AuthorizationStatus::Valid | AuthorizationStatus::Invalid => continue,
                    AuthorizationStatus::Revoked
                    | AuthorizationStatus::Expired
                    | AuthorizationStatus::Deactivated => {
                        let why = "an authorization of it is not good any more".to_owned();
                        return Err(Fault::OrderLost { why });
                    }
                }
                let Some(mut challenge) = authorization.challenge(ChallengeType::Http01) else {
                    let why =
                        "the CA does not offer the challenge http-01 for this name; upload a certificate"
                            .to_owned();
                    return Err(Fault::Refused { why, kind: Refusal::Other });
                };
                let token = challenge.token.clone();
                if !is_token(&token) {
                    let why = "the CA's challenge has a token that RFC 8555 does not allow".to_owned();
                    return Err(Fault::OrderFailed { why, retry_after: None });
                }
                let answer = challenge.key_authorization().as_str().to_owned();
                tokens.push(token.clone());
                self.publish(token, answer).await?;
                if challenge.status == ChallengeStatus::Pending {
                    self.authority.ask(client, Resource::Order, async || challenge.set_ready().await).await?;
                }
            }
            return Ok(());
        }
        Err(Fault::BadNonce)
    }

    async fn publish(&self, token: String, answer: String) -> Result<(), Fault> {
        let Some(host) = self.certificates.host() else {
            return Err(Fault::Ours { why: "the control plane ends".to_owned() });
        };
        host.publish_challenge(token, Some(answer))
            .await
            .map_err(|error| Fault::Ours { why: format!("the challenge is not live: {error}") })
    }

    /// Waits a little and looks again; how long the CA wants us to wait the next time.
    async fn wait(
        &self,
        client: &Client,
        order: &mut Remote,
        patience: &mut Patience,
        asked: Option<Duration>,
    ) -> Result<Option<Duration>, Fault> {
        let Some(delay) = patience.next(asked, clock::now()) else {
            let why = "the CA has not decided about the order in time; it is looked after later".to_owned();
            return Err(Fault::OrderFailed { why, retry_after: asked });
        };
        sleep(delay).await;
        if !self.certificates.is_wanted(self.host) {
            return Err(Fault::Unwanted);
        }
        self.authority
            .ask(client, Resource::Order, async || order.refresh().await.map(|_| ()))
            .await
            .map_err(Fault::of_reading)?;
        Ok(client.answered().retry_after)
    }

    /// Why the order came to nothing: what the challenge says, else what the order says.
    async fn blame(&self, client: &Client, order: &mut Remote) -> Fault {
        let general = order.state().error.clone();
        let answered = client.answered();
        'again: for _ in 0..ACME_NONCE_TRIES {
            let mut authorizations = order.authorizations();
            while let Some(next) = authorizations.next().await {
                let fault_of = |error| Fault::of(error, &client.answered(), Resource::Order);
                let authorization = match next.map_err(fault_of) {
                    Ok(authorization) => authorization,
                    Err(Fault::BadNonce) => continue 'again,
                    Err(_) => break,
                };
                if let Some(problem) =
                    authorization.challenges.iter().find_map(|challenge| challenge.error.as_ref())
                {
                    return match Fault::of_problem(problem, &answered, Resource::Order) {
                        Fault::Refused { why, .. } => Fault::Refused { why, kind: Refusal::Validation },
                        // An error of a challenge is about the domain, whatever its type is called.
                        other => Fault::Refused { why: other.to_string(), kind: Refusal::Validation },
                    };
                }
            }
            break;
        }
        match general {
            Some(problem) => match Fault::of_problem(&problem, &answered, Resource::Order) {
                // The error of an order is that of its validation.
                Fault::Refused { why, kind: Refusal::OrderState } => {
                    Fault::Refused { why, kind: Refusal::Validation }
                }
                fault @ (Fault::Refused { .. } | Fault::Limited { .. }) => fault,
                // The order is over: the next one is new.
                Fault::OrderFailed { why, .. } => Fault::OrderLost { why },
                other => Fault::Refused { why: other.to_string(), kind: Refusal::Other },
            },
            None => Fault::Refused {
                why: "the CA ended the order and does not say why".to_owned(),
                kind: Refusal::Other,
            },
        }
    }
}

/// What a refused order for a replacement came to. RFC 9773 §5 has a code for a certificate that was replaced already and leaves
/// all else to the CA: one of another account, one that it does not know, one that it stumbles over. An order for a certificate
/// must not fail for that, so that it is tried once more without.
fn without_replacement(fault: Fault, status: u16) -> Fault {
    match fault {
        Fault::Refused { why, .. } => Fault::NotReplaceable { why },
        Fault::OrderFailed { why, .. } if matches!(status, 404 | 410 | 500) => Fault::NotReplaceable { why },
        other => other,
    }
}

/// Whether an order that was stopped by this goes on later.
fn is_resumed_after(fault: &Fault) -> bool {
    match fault {
        Fault::Down { .. }
        | Fault::OrderFailed { .. }
        | Fault::Limited { .. }
        | Fault::Misconfigured { .. }
        | Fault::BadNonce
        | Fault::Ours { .. } => true,
        Fault::AccountGone
        | Fault::OrderLost { .. }
        | Fault::Unwanted
        | Fault::NotReplaceable { .. }
        | Fault::Refused { .. } => false,
    }
}

/// Whether two URLs have the same scheme, host and port, as they are written.
fn is_same_origin(one: &str, other: &str) -> bool {
    fn origin(url: &str) -> Option<(&str, &str)> {
        let (scheme, rest) = url.split_once("://")?;
        Some((scheme, rest.split('/').next().unwrap_or_default()))
    }
    origin(one).is_some() && origin(one) == origin(other)
}

/// How long to wait between two looks at an order, and when to leave it for later. Pure.
#[derive(Clone, Copy, Debug)]
struct Patience {
    delay: Duration,
    deadline: Tick,
}

impl Patience {
    fn new(now: Tick) -> Self {
        Self { delay: ACME_POLL_INTERVAL_MIN, deadline: now.after(ORDER_TIMEOUT) }
    }

    /// The next wait: what the CA asked for, else longer and longer. `None` when it would end too late.
    fn next(&mut self, asked: Option<Duration>, now: Tick) -> Option<Duration> {
        let delay = match asked {
            Some(asked) => asked.max(ACME_POLL_INTERVAL_MIN),
            None => self.delay,
        };
        self.delay = (self.delay * 3 / 2).min(ACME_POLL_INTERVAL_MAX);
        (now.after(delay) <= self.deadline).then_some(delay)
    }
}

/// RFC 8555 §8.3: only characters of the base64url alphabet.
fn is_token(token: &str) -> bool {
    !token.is_empty()
        && token.len() <= CHALLENGE_TOKEN_BYTES_MAX
        && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The name of a certificate as RFC 9773 §4.1 writes it, read again.
fn identifier(text: &str) -> Option<CertificateIdentifier<'_>> {
    let (authority_key_identifier, serial) = text.split_once('.')?;
    Some(CertificateIdentifier {
        authority_key_identifier: authority_key_identifier.into(),
        serial: serial.into(),
    })
}

fn signing_request(host: &Hostname, key: &str) -> Result<Vec<u8>, Fault> {
    let ours = |error: rcgen::Error| Fault::Ours { why: format!("no signing request: {error}") };
    let key = KeyPair::from_pem(key).map_err(ours)?;
    let mut params = CertificateParams::new(vec![host.as_str().to_owned()]).map_err(ours)?;
    // The names stand in the extension; CAs ignore, or refuse, all else.
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(&key).map_err(ours)?.der().to_vec())
}

/// Looks at what the CA has issued before anything is replaced by it.
fn check(host: &Hostname, chain: &str, key: &str, now: Timestamp) -> Result<Issued, Fault> {
    let refuse = |why: String| Fault::Refused {
        why: format!("the CA issued a certificate that cannot be served: {why}"),
        kind: Refusal::Other,
    };
    let identity =
        Identity::from_pem(chain.as_bytes(), key.as_bytes()).map_err(|error| refuse(error.to_string()))?;
    let facts = identity.facts();
    if !facts.covers(host.as_str()) {
        return Err(refuse(format!("it does not cover {host}")));
    }
    if now >= facts.not_after {
        return Err(refuse(format!("it has ended already, on {}", facts.not_after.to_rfc3339())));
    }
    // CAs date back by an hour; a certificate of the future means that one of the clocks is wrong, ours most likely.
    if facts.not_before.0 > now.0.saturating_add(CLOCK_TOLERANCE.as_millis() as u64) {
        let begins = facts.not_before.to_rfc3339();
        return Err(refuse(format!("it begins on {begins}: is the clock of this machine right?")));
    }
    let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).ok();
    let certificate_id =
        leaf.and_then(|leaf| CertificateIdentifier::try_from(&leaf).ok()).map(|id| id.to_string());
    Ok(Issued { pair: Pair::from_pem(chain.as_bytes(), key.as_bytes()), identity, certificate_id })
}

/// Clocks of machines differ by so much without anybody noticing.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::testing::{host, issue};

    fn refusal(result: Result<Issued, Fault>) -> String {
        match result {
            Err(fault @ Fault::Refused { .. }) => fault.to_string(),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was taken"),
        }
    }

    #[test]
    fn waits_longer_and_longer_but_as_the_ca_asks() {
        let mut patience = Patience::new(Tick(0));
        let first = patience.next(None, Tick(0)).unwrap();
        let second = patience.next(None, Tick(0)).unwrap();
        assert!(second > first && first == ACME_POLL_INTERVAL_MIN);
        assert_eq!(patience.next(Some(Duration::from_secs(7)), Tick(0)), Some(Duration::from_secs(7)));
        assert_eq!(patience.next(Some(Duration::ZERO), Tick(0)), Some(ACME_POLL_INTERVAL_MIN));
        for _ in 0..50 {
            assert!(patience.next(None, Tick(0)).unwrap() <= ACME_POLL_INTERVAL_MAX);
        }
        assert_eq!(patience.next(Some(ORDER_TIMEOUT + Duration::from_secs(1)), Tick(0)), None);
        assert_eq!(patience.next(None, Tick(0).after(ORDER_TIMEOUT)), None);
    }

    #[test]
    fn takes_only_tokens_that_are_a_path_segment() {
        for token in ["DGyRejmCefe7v4NfDGDKfA", "a-b_c"] {
            assert!(is_token(token));
        }
        for token in ["", "..", "a/b", "a.b", "a b", "a\n", &"x".repeat(CHALLENGE_TOKEN_BYTES_MAX + 1)] {
            assert!(!is_token(token), "{token:?}");
        }
    }

    #[test]
    fn checks_what_the_ca_has_issued() {
        let now = Timestamp(1_800_000_000_000);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let of = |pair: &Pair, name: &str| check(&host(name), &text(&pair.chain), &text(&pair.key), now);
        let pair = issue(&["a.example"], 2020, 2100);
        let issued = of(&pair, "a.example").unwrap();
        assert!(issued.identity.facts().covers("a.example"));
        assert!(refusal(of(&pair, "b.example")).contains("does not cover b.example"));
        assert!(refusal(of(&issue(&["a.example"], 2019, 2020), "a.example")).contains("ended already"));
        assert!(refusal(of(&issue(&["a.example"], 2090, 2100), "a.example")).contains("clock"));
        let other = issue(&["a.example"], 2020, 2100);
        let mixed = Pair { chain: pair.chain.clone(), key: other.key };
        assert!(refusal(of(&mixed, "a.example")).contains("cannot be served"));
        assert!(refusal(check(&host("a.example"), "", &text(&pair.key), now)).contains("cannot be served"));
    }

    #[test]
    fn asks_for_one_name_with_a_key_that_is_stored_as_text() {
        let key = KeyPair::generate().unwrap().serialize_pem();
        let request = signing_request(&host("xn--bcher-kva.example"), &key).unwrap();
        assert!(request.windows(21).any(|window| window == b"xn--bcher-kva.example"));
        assert!(signing_request(&host("a.example"), "no key").is_err());
    }

    #[test]
    fn reads_the_name_of_a_certificate_again() {
        let id = identifier("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE").unwrap();
        assert_eq!(id.to_string(), "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE");
        assert!(identifier("nothing").is_none());
    }
}
