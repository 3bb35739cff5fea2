//! Classification of ACME errors: the party at fault, the consequence, and a message with a remedy. Pure.

use std::fmt::{self, Write as _};
use std::time::Duration;

use instant_acme::{Error, Problem, Subproblem};

use super::transport::{ResponseMeta, TransportError};

/// Reason for a failed request or order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AcmeFailure {
    /// The CA is unavailable: no domain is at fault.
    Unavailable { reason: String, retry_after: Option<Duration> },
    /// A rate limit of the CA is reached.
    RateLimited { reason: String, scope: LimitScope, retry_after: Option<Duration> },
    /// The CA rejects our configuration, until the settings change.
    Misconfigured { reason: String },
    /// The CA no longer knows our account.
    AccountUnknown,
    /// The CA no longer has the order, or denies access to it: a new one is placed (RFC 8555 §7.4).
    OrderLost { reason: String },
    /// The CA failed to serve a request about one order. Only failures of other domains show whether the
    /// order or the CA is the reason.
    OrderFailed { reason: String, retry_after: Option<Duration> },
    /// The domain no longer wants a certificate from a CA.
    Cancelled,
    /// The CA refuses a replacement order: a plain one may succeed.
    NotReplaceable { reason: String },
    /// The nonce was refused: the request may be repeated at once.
    BadNonce,
    /// The CA refuses to issue for the domain: reason and remedy.
    Rejected { reason: String, kind: RejectionKind },
    /// Internal error: the disk, the cores.
    Internal { reason: String },
}

/// Kind of a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RejectionKind {
    /// Failed validation, which the CA counts.
    Validation,
    /// The order is another account's, or not in the required state: its current state decides.
    OrderState,
    /// Anything else.
    Other,
}

/// Scope of a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitScope {
    /// All orders of the account.
    Orders,
    /// New accounts.
    Accounts,
    /// Certificates of the registered domain.
    RegisteredDomain,
    /// Certificates for the exact set of names.
    Duplicates,
    /// Failed validations of the host.
    FailedValidations,
}

/// Requested resource: decides how far an error reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Directory, nonce or account, which all orders need.
    Common,
    /// `newOrder`, which depends on the domain.
    NewOrder,
    /// Existing order, with its authorizations, challenges and certificate.
    Order,
}

impl AcmeFailure {
    /// Classifies an error of `instant-acme` by the last response and the requested resource.
    pub(crate) fn of(error: Error, response: &ResponseMeta, resource: Resource) -> Self {
        // Every request needs a nonce, whatever its resource.
        let resource = if response.is_nonce_request { Resource::Common } else { resource };
        let is_of_order = resource == Resource::Order;
        match Self::of_response(error, response, resource) {
            Self::OrderFailed { reason, retry_after } if resource == Resource::Common => {
                Self::Unavailable { reason, retry_after }
            }
            Self::OrderLost { reason } if !is_of_order => match resource {
                Resource::Common => Self::Unavailable { reason, retry_after: response.retry_after },
                Resource::NewOrder | Resource::Order => {
                    Self::OrderFailed { reason, retry_after: response.retry_after }
                }
            },
            failure => failure,
        }
    }

    fn of_response(error: Error, response: &ResponseMeta, resource: Resource) -> Self {
        let retry_after = response.retry_after;
        match error {
            Error::Api(problem) => Self::of_problem(&problem, response, resource),
            Error::Other(source) => match source.downcast_ref::<TransportError>() {
                Some(TransportError::Url(_)) if resource == Resource::Common => {
                    Self::Misconfigured { reason: source.to_string() }
                }
                Some(TransportError::Busy | TransportError::Thread) => {
                    Self::Internal { reason: source.to_string() }
                }
                Some(TransportError::Resolve(_) | TransportError::Connect(_) | TransportError::Tls(_)) => {
                    Self::Unavailable { reason: source.to_string(), retry_after }
                }
                // The CA accepted the order without the replacement.
                None if source.to_string().starts_with("replaces field mismatch") => {
                    Self::NotReplaceable { reason: source.to_string() }
                }
                // The order's URL is invalid.
                Some(TransportError::Url(_)) => Self::OrderLost { reason: source.to_string() },
                Some(TransportError::Io(_) | TransportError::Response(_)) | None => {
                    Self::OrderFailed { reason: source.to_string(), retry_after }
                }
            },
            Error::Unsupported(what) if what.contains("ARI") => {
                Self::NotReplaceable { reason: format!("the CA does not support {what}") }
            }
            Error::Unsupported(what) => {
                Self::Misconfigured { reason: format!("the CA does not support {what}") }
            }
            Error::Http(_) | Error::InvalidUri(_) => Self::OrderLost { reason: error.to_string() },
            Error::Crypto | Error::KeyRejected => Self::Internal { reason: error.to_string() },
            // No problem document: a gateway in between, or a broken CA.
            other if response.status == 429 => {
                Self::RateLimited { reason: other.to_string(), scope: LimitScope::Orders, retry_after }
            }
            other => {
                let reason = match response.status {
                    0 | 200..=299 => format!("the CA's response is invalid: {other}"),
                    status => format!("the CA responded with status {status}"),
                };
                match response.status {
                    404 | 410 => Self::OrderLost { reason },
                    _ => Self::OrderFailed { reason, retry_after },
                }
            }
        }
    }

    /// Classifies a problem document of the CA (RFC 8555 §6.7).
    pub(crate) fn of_problem(problem: &Problem, response: &ResponseMeta, resource: Resource) -> Self {
        let kind = problem.r#type.as_deref().unwrap_or_default();
        let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
        let status = problem.status.unwrap_or(response.status);
        let retry_after = response.retry_after;
        let reason = message(problem);
        match kind {
            "rateLimited" => Self::RateLimited { scope: LimitScope::of(problem), reason, retry_after },
            "badNonce" => Self::BadNonce,
            "accountDoesNotExist" => Self::AccountUnknown,
            // RFC 8555 §7.3.6: a deactivated account. On a challenge, the type has another meaning.
            "unauthorized" if response.status == 401 || is_about_account(problem) => Self::AccountUnknown,
            "externalAccountRequired" => Self::Misconfigured {
                reason: format!("{reason} Set ACME_EAB_KID and ACME_EAB_HMAC to the values from the CA."),
            },
            // On an existing order, this is about the certificate's key.
            "badPublicKey" if resource == Resource::Order => {
                Self::Rejected { reason, kind: RejectionKind::Other }
            }
            "userActionRequired"
            | "invalidContact"
            | "unsupportedContact"
            | "badSignatureAlgorithm"
            | "badPublicKey"
            | "invalidProfile" => Self::Misconfigured { reason },
            "alreadyReplaced" => Self::NotReplaceable { reason },
            "serverInternal" => Self::OrderFailed { reason, retry_after },
            "connection" | "dns" | "incorrectResponse" | "tls" | "caa" => {
                Self::Rejected { reason, kind: RejectionKind::Validation }
            }
            "unauthorized" | "orderNotReady" if status != 404 => {
                Self::Rejected { reason, kind: RejectionKind::OrderState }
            }
            "rejectedIdentifier" | "unsupportedIdentifier" | "badCSR" => {
                Self::Rejected { reason, kind: RejectionKind::Other }
            }
            _ => match status {
                429 => Self::RateLimited { scope: LimitScope::of(problem), reason, retry_after },
                404 | 410 => Self::OrderLost { reason },
                500.. => Self::OrderFailed { reason, retry_after },
                _ => Self::Rejected { reason, kind: RejectionKind::Other },
            },
        }
    }

    /// Whether the CA failed to serve a request, rather than refusing it.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::OrderLost { .. } | Self::OrderFailed { .. })
    }

    /// Reclassifies the failure of a read of an order: a CA refuses that only for an order that is not ours.
    pub(crate) fn of_reading(self) -> Self {
        match self {
            Self::Rejected { reason, .. } => Self::OrderLost { reason },
            failure => failure,
        }
    }
}

fn is_about_account(problem: &Problem) -> bool {
    let text = problem.detail.as_deref().unwrap_or_default().to_ascii_lowercase();
    text.contains("account is not valid") || text.contains("account is deactivated")
}

impl LimitScope {
    /// Parses the scope from the text, the only place where CAs name it. An unknown one counts as the limit
    /// on all orders, which must not be exceeded again.
    fn of(problem: &Problem) -> Self {
        let text = problem.detail.as_deref().unwrap_or_default().to_ascii_lowercase();
        // "Paused": a host that failed for months, until its owner unpauses it at the CA.
        let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
        if has(&["failed authorizations", "failed validation", "paused", "#authorization-failures"]) {
            Self::FailedValidations
        } else if has(&["exact set", "exact-set", "duplicate"]) {
            Self::Duplicates
        } else if has(&["registered domain", "registered-domain", "certificates already issued"])
            || text.contains("certificates (") && text.contains("already issued for")
        {
            Self::RegisteredDomain
        } else if has(&["registrations", "accounts"]) {
            Self::Accounts
        } else {
            Self::Orders
        }
    }
}

/// Formats the problem of the CA with a remedy.
fn message(problem: &Problem) -> String {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
    let mut out = String::from("the CA says: ");
    out.push_str(&sentence(problem.detail.as_deref().unwrap_or(kind)));
    for sub in problem.subproblems.iter().take(SUBPROBLEMS_SHOWN_MAX) {
        // Writing to a String does not fail.
        let _ = write!(out, " {}", Sub(sub));
    }
    if let Some(advice) = advice(kind) {
        out.push(' ');
        out.push_str(advice);
    }
    out
}

/// Enough to understand the problem.
const SUBPROBLEMS_SHOWN_MAX: usize = 3;
/// Bytes shown of a CA's text.
const DETAIL_BYTES_MAX: usize = 400;

/// Returns the remedy for a problem type.
fn advice(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "connection" => {
            "Make port 80 of this machine reachable from the internet: check firewall, port forwarding, and the A and AAAA records."
        }
        "dns" => "Check the domain's DNS records: the CA could not resolve it.",
        "caa" => "Add a CAA record for the CA, or remove those that exclude it.",
        "unauthorized" | "incorrectResponse" => {
            "Another server answered the CA: every A and AAAA record of the domain must point to this server, without a CDN in between."
        }
        "rejectedIdentifier" => {
            "The CA does not issue for this name: upload a certificate of another CA, or change the domain."
        }
        "userActionRequired" => "Open that page and accept the terms of the CA.",
        "invalidContact" | "unsupportedContact" => "Set ACME_EMAIL to an address that the CA accepts.",
        "invalidProfile" => "Set ACME_PROFILE to a profile that the CA offers, or to none.",
        _ => return None,
    })
}

/// Sanitizes a text of the CA: bounded, on one line, ending like a sentence.
fn sentence(text: &str) -> String {
    let mut out: String = text.chars().map(|c| if is_unsafe(c) { ' ' } else { c }).collect();
    if out.len() > DETAIL_BYTES_MAX {
        let end = (0..=DETAIL_BYTES_MAX).rev().find(|at| out.is_char_boundary(*at)).unwrap_or(0);
        out.truncate(end);
        out.push('…');
    }
    if !out.ends_with(['.', '!', '?', '…']) {
        out.push('.');
    }
    out
}

/// Whether a character can forge a log: control characters, and those that change the text direction.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

struct Sub<'a>(&'a Subproblem);

impl fmt::Display for Sub<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(instant_acme::Identifier::Dns(name)) = &self.0.identifier {
            write!(f, "{}: ", sentence(name).trim_end_matches('.'))?;
        }
        let text = self.0.detail.as_deref().or(self.0.r#type.as_deref()).unwrap_or("no reason given");
        f.write_str(&sentence(text))
    }
}

impl fmt::Display for AcmeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable { reason, .. }
            | Self::RateLimited { reason, .. }
            | Self::Misconfigured { reason }
            | Self::NotReplaceable { reason }
            | Self::OrderFailed { reason, .. }
            | Self::Rejected { reason, .. }
            | Self::Internal { reason } => f.write_str(reason),
            Self::AccountUnknown => f.write_str("the CA no longer knows our account; a new one is created"),
            Self::OrderLost { reason } => {
                write!(f, "the CA lost the order, and a new one is placed: {reason}")
            }
            Self::Cancelled => f.write_str("the domain no longer wants a certificate from a CA"),
            Self::BadNonce => f.write_str("the CA repeatedly refused our nonces"),
        }
    }
}

impl std::error::Error for AcmeFailure {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn problem(json: &str) -> Problem {
        serde_json::from_str(json).unwrap()
    }

    fn of(kind: &str, status: u16, detail: &str) -> AcmeFailure {
        let json = serde_json::json!({
            "type": format!("urn:ietf:params:acme:error:{kind}"), "status": status, "detail": detail,
        });
        of_problem(&json.to_string(), status, Resource::Order)
    }

    fn of_problem(json: &str, status: u16, resource: Resource) -> AcmeFailure {
        let response = ResponseMeta { status, ..ResponseMeta::default() };
        AcmeFailure::of(Error::Api(problem(json)), &response, resource)
    }

    /// Response without a problem document.
    fn bare(status: u16, resource: Resource) -> AcmeFailure {
        let error = Error::Json(serde_json::from_str::<Problem>("<html>").unwrap_err());
        AcmeFailure::of(error, &ResponseMeta { status, ..ResponseMeta::default() }, resource)
    }

    fn name(failure: &AcmeFailure) -> &'static str {
        match failure {
            AcmeFailure::Unavailable { .. } => "down",
            AcmeFailure::RateLimited { .. } => "limited",
            AcmeFailure::Misconfigured { .. } => "misconfigured",
            AcmeFailure::AccountUnknown => "account gone",
            AcmeFailure::OrderLost { .. } => "order lost",
            AcmeFailure::OrderFailed { .. } => "order failed",
            AcmeFailure::Cancelled => "unwanted",
            AcmeFailure::NotReplaceable { .. } => "not replaceable",
            AcmeFailure::BadNonce => "bad nonce",
            AcmeFailure::Rejected { kind: RejectionKind::Validation, .. } => "validation",
            AcmeFailure::Rejected { kind: RejectionKind::OrderState, .. } => "order state",
            AcmeFailure::Rejected { kind: RejectionKind::Other, .. } => "refused",
            AcmeFailure::Internal { .. } => "ours",
        }
    }

    #[test]
    fn classifies_rate_limits_by_their_text() {
        use LimitScope::{Accounts, Duplicates, FailedValidations, Orders, RegisteredDomain};
        let scope = |failure| match failure {
            AcmeFailure::RateLimited { scope, .. } => scope,
            other => panic!("{other:?}"),
        };
        for (detail, expected) in [
            ("too many new orders (300) from this account in the last 3h0m0s", Orders),
            (
                "too many certificates (50) already issued for \"example.com\" in the last 168h0m0s: registered domain",
                RegisteredDomain,
            ),
            (
                "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s",
                Duplicates,
            ),
            (
                "too many failed authorizations (5) for \"a.example.com\" in the last 1h0m0s",
                FailedValidations,
            ),
            ("too many new registrations (10) from this IP address in the last 3h0m0s", Accounts),
            (
                "Your account is temporarily prevented from requesting certificates: paused for a.example",
                FailedValidations,
            ),
            (
                "too many certificates (50) already issued for \"example.com\" in the last 168h0m0s, retry after 2030-01-01: \
                 see https://letsencrypt.org/docs/rate-limits/#new-certificates-per-registered-domain",
                RegisteredDomain,
            ),
            (
                "too many certificates (5) already issued in the last 168h0m0s: see \
                 https://letsencrypt.org/docs/rate-limits/#new-certificates-per-exact-set-of-identifiers",
                Duplicates,
            ),
            ("something new", Orders),
        ] {
            assert_eq!(scope(of("rateLimited", 429, detail)), expected, "{detail}");
        }
        assert!(matches!(of("unheardOf", 429, "x"), AcmeFailure::RateLimited { .. }));
        let deactivated = "Account is not valid, has status \"deactivated\"";
        assert_eq!(of("unauthorized", 403, deactivated), AcmeFailure::AccountUnknown);
    }

    /// RFC 8555 §6.7 and bare statuses: reach of each response, by resource.
    #[test]
    fn responses_about_one_order_never_pause_the_ca() {
        use Resource::{Common, NewOrder, Order};
        let of = |kind: &str, status, resource| {
            let text = format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","status":{status}}}"#);
            of_problem(&text, status, resource)
        };
        // With a problem document; columns: common resources, `newOrder`, an order.
        for (kind, status, common, new_order, order) in [
            ("accountDoesNotExist", 400, "account gone", "account gone", "account gone"),
            ("unauthorized", 401, "account gone", "account gone", "account gone"),
            ("unauthorized", 403, "order state", "order state", "order state"),
            ("orderNotReady", 403, "order state", "order state", "order state"),
            ("malformed", 400, "refused", "refused", "refused"),
            ("malformed", 404, "down", "order failed", "order lost"),
            ("orderNotReady", 404, "down", "order failed", "order lost"),
            ("unheardOf", 410, "down", "order failed", "order lost"),
            ("unheardOf", 403, "refused", "refused", "refused"),
            ("unheardOf", 503, "down", "order failed", "order failed"),
            ("serverInternal", 500, "down", "order failed", "order failed"),
            ("badCSR", 400, "refused", "refused", "refused"),
            ("badPublicKey", 400, "misconfigured", "misconfigured", "refused"),
            ("rejectedIdentifier", 400, "refused", "refused", "refused"),
            ("unsupportedIdentifier", 400, "refused", "refused", "refused"),
            ("caa", 403, "validation", "validation", "validation"),
            ("dns", 400, "validation", "validation", "validation"),
            ("connection", 400, "validation", "validation", "validation"),
            ("tls", 400, "validation", "validation", "validation"),
            ("incorrectResponse", 403, "validation", "validation", "validation"),
            ("alreadyReplaced", 409, "not replaceable", "not replaceable", "not replaceable"),
            ("badNonce", 400, "bad nonce", "bad nonce", "bad nonce"),
            ("externalAccountRequired", 403, "misconfigured", "misconfigured", "misconfigured"),
            ("userActionRequired", 403, "misconfigured", "misconfigured", "misconfigured"),
        ] {
            for (resource, expected) in [(Common, common), (NewOrder, new_order), (Order, order)] {
                let failure = of(kind, status, resource);
                assert_eq!(name(&failure), expected, "{kind} {status} of {resource:?}");
            }
        }
        // Without one: a gateway in between, or a bare CA.
        for (status, common, new_order, order) in [
            (200, "down", "order failed", "order failed"),
            (400, "down", "order failed", "order failed"),
            (403, "down", "order failed", "order failed"),
            (404, "down", "order failed", "order lost"),
            (410, "down", "order failed", "order lost"),
            (429, "limited", "limited", "limited"),
            (500, "down", "order failed", "order failed"),
            (503, "down", "order failed", "order failed"),
        ] {
            for (resource, expected) in [(Common, common), (NewOrder, new_order), (Order, order)] {
                assert_eq!(name(&bare(status, resource)), expected, "{status} of {resource:?}");
            }
        }
        // Transport errors.
        let transport = |error: fn() -> TransportError, resource| {
            name(&AcmeFailure::of(Error::Other(Box::new(error())), &ResponseMeta::default(), resource))
        };
        let refused = || TransportError::Connect(std::io::ErrorKind::ConnectionRefused.into());
        let timed_out = || TransportError::Io(std::io::ErrorKind::TimedOut.into());
        let no_url = || TransportError::Url("ftp://ca".to_owned());
        assert_eq!([Common, NewOrder, Order].map(|of| transport(refused, of)), ["down"; 3]);
        assert_eq!(
            [Common, NewOrder, Order].map(|of| transport(timed_out, of)),
            ["down", "order failed", "order failed"]
        );
        assert_eq!(
            [Common, NewOrder, Order].map(|of| transport(no_url, of)),
            ["misconfigured", "order failed", "order lost"]
        );
        // A nonce is a common resource.
        let response = ResponseMeta { status: 404, is_nonce_request: true, ..ResponseMeta::default() };
        assert_eq!(name(&AcmeFailure::of(Error::Str("no nonce"), &response, Order)), "down");
    }

    #[test]
    fn an_unreadable_order_is_lost() {
        for (kind, status) in [("unauthorized", 403), ("malformed", 400), ("orderNotReady", 403)] {
            assert_eq!(name(&of(kind, status, "x").of_reading()), "order lost", "{kind}");
        }
        assert_eq!(name(&of("serverInternal", 500, "x").of_reading()), "order failed");
    }

    #[test]
    fn messages_have_the_text_of_the_ca_and_a_remedy() {
        let problem = problem(
            r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"Policy forbids it",
                "subproblems":[{"identifier":{"type":"dns","value":"bad.example"},"detail":"blocked"}]}"#,
        );
        let response = ResponseMeta { status: 400, ..ResponseMeta::default() };
        let failure = AcmeFailure::of_problem(&problem, &response, Resource::NewOrder);
        let text = failure.to_string();
        assert!(
            text.starts_with("the CA says: Policy forbids it. bad.example: blocked. The CA does not issue"),
            "{text}"
        );
    }

    #[test]
    fn texts_of_the_ca_cannot_forge_a_log() {
        let failure = of("connection", 400, &format!("a\nb\u{202e}c{}", "x".repeat(10_000)));
        let text = failure.to_string();
        assert!(!text.contains(['\n', '\u{202e}']) && text.len() < 1000, "{text}");
    }

    #[test]
    fn an_invalid_response_is_an_outage() {
        let error = || Error::Json(serde_json::from_str::<Problem>("<html>").unwrap_err());
        let of = |status, retry_after| {
            AcmeFailure::of(
                error(),
                &ResponseMeta { status, retry_after, is_nonce_request: false },
                Resource::Common,
            )
        };
        let wait = Some(Duration::from_secs(7));
        assert_eq!(
            of(503, wait),
            AcmeFailure::Unavailable { reason: "the CA responded with status 503".into(), retry_after: wait }
        );
        assert!(matches!(of(429, wait), AcmeFailure::RateLimited { retry_after, .. } if retry_after == wait));
        assert!(matches!(of(200, None), AcmeFailure::Unavailable { .. }));
    }
}
