//! What went wrong with a CA, whose fault it is, and what to do: from errors and problem documents to plain words. Pure.

use std::fmt::{self, Write as _};
use std::time::Duration;

use instant_acme::{Error, Problem, Subproblem};

use super::transport::{Answered, TransportError};

/// Why a request, or an order, came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The CA is out of order, or cannot be reached: no domain is to blame.
    Down { why: String, retry_after: Option<Duration> },
    /// The CA asks us to go slower. The account as a whole, unless its scope says otherwise.
    Limited { why: String, scope: LimitScope, retry_after: Option<Duration> },
    /// The CA will not deal with us before somebody changes the settings.
    Misconfigured { why: String },
    /// The CA does not know our account any more.
    AccountGone,
    /// The CA has no such order any more, or does not show it to us: another one is made (RFC 8555 §7.4).
    OrderLost { why: String },
    /// The CA failed to serve a request about one order. Whether the order or the CA is the reason shows only when orders for
    /// other domains fail, too.
    OrderFailed { why: String, retry_after: Option<Duration> },
    /// The domain is to have no certificate from a CA any more.
    Unwanted,
    /// The CA refuses to take the order for a replacement: it may be asked for anew.
    NotReplaceable { why: String },
    /// The nonce was not good. It is worth asking again at once.
    BadNonce,
    /// The domain cannot have a certificate now: why, and what to do.
    Refused { why: String, kind: Refusal },
    /// Something of ours: the disk, the cores.
    Ours { why: String },
}

/// What a refusal counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A failed validation: the CA counts those.
    Validation,
    /// The order is another account's, or not in the state for what was asked: its present state decides.
    OrderState,
    /// Anything else.
    Other,
}

/// What a limit of the CA is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitScope {
    /// All orders of the account.
    Orders,
    /// New accounts.
    Accounts,
    /// Certificates of the registered domain.
    RegisteredDomain,
    /// The exact set of names.
    Duplicates,
    /// Failed validations of the host.
    FailedValidations,
}

/// The resource of a CA that was asked for: it decides how far an error reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// The directory, a nonce, the account: all orders need it.
    Common,
    /// `newOrder`, which depends on the domain.
    NewOrder,
    /// An order that was made, with its authorizations, challenges and certificate.
    Order,
}

impl Fault {
    /// Classifies an error of `instant-acme`, by the answer behind it and the resource that was asked for.
    pub(crate) fn of(error: Error, answered: &Answered, resource: Resource) -> Self {
        // Every request needs a nonce, whatever it is about.
        let resource = if answered.is_of_nonce { Resource::Common } else { resource };
        let is_of_order = resource == Resource::Order;
        match Self::of_answer(error, answered, resource) {
            Self::OrderFailed { why, retry_after } if resource == Resource::Common => {
                Self::Down { why, retry_after }
            }
            Self::OrderLost { why } if !is_of_order => match resource {
                Resource::Common => Self::Down { why, retry_after: answered.retry_after },
                Resource::NewOrder | Resource::Order => {
                    Self::OrderFailed { why, retry_after: answered.retry_after }
                }
            },
            fault => fault,
        }
    }

    fn of_answer(error: Error, answered: &Answered, resource: Resource) -> Self {
        let retry_after = answered.retry_after;
        match error {
            Error::Api(problem) => Self::of_problem(&problem, answered, resource),
            Error::Other(source) => match source.downcast_ref::<TransportError>() {
                Some(TransportError::Url(_)) if resource == Resource::Common => {
                    Self::Misconfigured { why: source.to_string() }
                }
                Some(TransportError::Busy) => Self::Ours { why: source.to_string() },
                Some(
                    TransportError::Resolve(_)
                    | TransportError::Connect(_)
                    | TransportError::Tls(_)
                    | TransportError::Gone,
                ) => Self::Down { why: source.to_string(), retry_after },
                // The CA accepted the order and not that it replaces another.
                None if source.to_string().starts_with("replaces field mismatch") => {
                    Self::NotReplaceable { why: source.to_string() }
                }
                // The order is nowhere.
                Some(TransportError::Url(_)) => Self::OrderLost { why: source.to_string() },
                Some(TransportError::Io(_) | TransportError::Answer(_)) | None => {
                    Self::OrderFailed { why: source.to_string(), retry_after }
                }
            },
            Error::Unsupported(what) if what.contains("ARI") => {
                Self::NotReplaceable { why: format!("the CA does not support {what}") }
            }
            Error::Unsupported(what) => {
                Self::Misconfigured { why: format!("the CA does not support {what}") }
            }
            Error::Http(_) | Error::InvalidUri(_) => Self::OrderLost { why: error.to_string() },
            Error::Crypto | Error::KeyRejected => Self::Ours { why: error.to_string() },
            // No problem document where one should be: a gateway in between, or a broken CA.
            other if answered.status == 429 => {
                Self::Limited { why: other.to_string(), scope: LimitScope::Orders, retry_after }
            }
            other => {
                let why = match answered.status {
                    0 | 200..=299 => format!("the CA's answer makes no sense: {other}"),
                    status => format!("the CA answered with status {status}"),
                };
                match answered.status {
                    404 | 410 => Self::OrderLost { why },
                    _ => Self::OrderFailed { why, retry_after },
                }
            }
        }
    }

    /// Classifies a problem document of the CA (RFC 8555 §6.7).
    pub(crate) fn of_problem(problem: &Problem, answered: &Answered, resource: Resource) -> Self {
        let kind = problem.r#type.as_deref().unwrap_or_default();
        let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
        let status = problem.status.unwrap_or(answered.status);
        let retry_after = answered.retry_after;
        let why = words(problem);
        match kind {
            "rateLimited" => Self::Limited { scope: LimitScope::of(problem), why, retry_after },
            "badNonce" => Self::BadNonce,
            "accountDoesNotExist" => Self::AccountGone,
            // RFC 8555 §7.3.6: what a deactivated account gets. With a challenge it means something else.
            "unauthorized" if answered.status == 401 || is_about_account(problem) => Self::AccountGone,
            "externalAccountRequired" => Self::Misconfigured {
                why: format!("{why} Set ACME_EAB_KID and ACME_EAB_HMAC to what the CA gave you."),
            },
            // Of the certificate's key, when it is said of an order that was made.
            "badPublicKey" if resource == Resource::Order => Self::Refused { why, kind: Refusal::Other },
            "userActionRequired"
            | "invalidContact"
            | "unsupportedContact"
            | "badSignatureAlgorithm"
            | "badPublicKey"
            | "invalidProfile" => Self::Misconfigured { why },
            "alreadyReplaced" => Self::NotReplaceable { why },
            "serverInternal" => Self::OrderFailed { why, retry_after },
            "connection" | "dns" | "incorrectResponse" | "tls" | "caa" => {
                Self::Refused { why, kind: Refusal::Validation }
            }
            "unauthorized" | "orderNotReady" if status != 404 => {
                Self::Refused { why, kind: Refusal::OrderState }
            }
            "rejectedIdentifier" | "unsupportedIdentifier" | "badCSR" => {
                Self::Refused { why, kind: Refusal::Other }
            }
            _ => match status {
                429 => Self::Limited { scope: LimitScope::of(problem), why, retry_after },
                404 | 410 => Self::OrderLost { why },
                500.. => Self::OrderFailed { why, retry_after },
                _ => Self::Refused { why, kind: Refusal::Other },
            },
        }
    }

    /// For a request that only reads an order, which is refused to nobody whose order it is.
    pub(crate) fn of_reading(self) -> Self {
        match self {
            Self::Refused { why, .. } => Self::OrderLost { why },
            fault => fault,
        }
    }
}

fn is_about_account(problem: &Problem) -> bool {
    let text = problem.detail.as_deref().unwrap_or_default().to_ascii_lowercase();
    text.contains("account is not valid") || text.contains("account is deactivated")
}

impl LimitScope {
    /// CAs say which limit it is in the text only. What is not recognised is taken for the one on all orders: it
    /// is the one that must not be run into again.
    fn of(problem: &Problem) -> Self {
        let text = problem.detail.as_deref().unwrap_or_default().to_ascii_lowercase();
        // A host that has failed for months is paused until its owner asks on a page of the CA.
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

/// What the CA says, and what to do, as sentences.
fn words(problem: &Problem) -> String {
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

/// Enough for a person to see what is wrong.
const SUBPROBLEMS_SHOWN_MAX: usize = 3;
/// Bytes of a CA's own words that are shown.
const DETAIL_BYTES_MAX: usize = 400;

/// What to do about it, where the CA's own words do not say.
fn advice(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "connection" => {
            "Let the internet reach this machine at port 80: firewall, port forwarding, or an A or AAAA record that leads elsewhere."
        }
        "dns" => "Look at the domain's DNS records: the CA could not resolve it.",
        "caa" => "Add a CAA record for the CA, or remove those that exclude it.",
        "unauthorized" | "incorrectResponse" => {
            "Another server answered the CA: every A and AAAA record of the domain must lead here, and no CDN may answer in between."
        }
        "rejectedIdentifier" => {
            "The CA does not issue for this name; upload a certificate of another one, or change the domain."
        }
        "userActionRequired" => "Open that page and agree, as the CA wants a person to.",
        "invalidContact" | "unsupportedContact" => "Set ACME_EMAIL to an address that the CA accepts.",
        "invalidProfile" => "Set ACME_PROFILE to a profile that the CA offers, or to none.",
        _ => return None,
    })
}

/// A text of the CA as one sentence that is safe to show: bounded, on one line.
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

/// Control characters, and those that turn the direction of a text: they forge logs.
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down { why, .. }
            | Self::Limited { why, .. }
            | Self::Misconfigured { why }
            | Self::NotReplaceable { why }
            | Self::OrderFailed { why, .. }
            | Self::Refused { why, .. }
            | Self::Ours { why } => f.write_str(why),
            Self::AccountGone => f.write_str("the CA does not know our account any more; a new one is made"),
            Self::OrderLost { why } => write!(f, "the CA has lost the order, and another is made: {why}"),
            Self::Unwanted => f.write_str("the domain is to have no certificate from a CA any more"),
            Self::BadNonce => f.write_str("the CA refused our nonces again and again"),
        }
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn problem(json: &str) -> Problem {
        serde_json::from_str(json).unwrap()
    }

    fn of(kind: &str, status: u16, detail: &str) -> Fault {
        let json = serde_json::json!({
            "type": format!("urn:ietf:params:acme:error:{kind}"), "status": status, "detail": detail,
        });
        of_problem(&json.to_string(), status, Resource::Order)
    }

    fn of_problem(json: &str, status: u16, resource: Resource) -> Fault {
        let answered = Answered { status, ..Answered::default() };
        Fault::of(Error::Api(problem(json)), &answered, resource)
    }

    /// An answer without a problem document.
    fn bare(status: u16, resource: Resource) -> Fault {
        let error = Error::Json(serde_json::from_str::<Problem>("<html>").unwrap_err());
        Fault::of(error, &Answered { status, ..Answered::default() }, resource)
    }

    fn name(fault: &Fault) -> &'static str {
        match fault {
            Fault::Down { .. } => "down",
            Fault::Limited { .. } => "limited",
            Fault::Misconfigured { .. } => "misconfigured",
            Fault::AccountGone => "account gone",
            Fault::OrderLost { .. } => "order lost",
            Fault::OrderFailed { .. } => "order failed",
            Fault::Unwanted => "unwanted",
            Fault::NotReplaceable { .. } => "not replaceable",
            Fault::BadNonce => "bad nonce",
            Fault::Refused { kind: Refusal::Validation, .. } => "validation",
            Fault::Refused { kind: Refusal::OrderState, .. } => "order state",
            Fault::Refused { kind: Refusal::Other, .. } => "refused",
            Fault::Ours { .. } => "ours",
        }
    }

    #[test]
    fn knows_whose_fault_it_is() {
        use LimitScope::{Accounts, Duplicates, FailedValidations, Orders, RegisteredDomain};
        let scope = |fault| match fault {
            Fault::Limited { scope, .. } => scope,
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
        assert!(matches!(of("unheardOf", 429, "x"), Fault::Limited { .. }));
        let deactivated = "Account is not valid, has status \"deactivated\"";
        assert_eq!(of("unauthorized", 403, deactivated), Fault::AccountGone);
    }

    /// RFC 8555 §6.7 and bare statuses: how far each answer reaches, by the resource that gave it.
    #[test]
    fn an_answer_about_one_order_never_stops_the_ca() {
        use Resource::{Common, NewOrder, Order};
        let of = |kind: &str, status, resource| {
            let text = format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","status":{status}}}"#);
            of_problem(&text, status, resource)
        };
        // With a problem document; the columns: of what is common, of `newOrder`, of an order.
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
                let fault = of(kind, status, resource);
                assert_eq!(name(&fault), expected, "{kind} {status} of {resource:?}");
            }
        }
        // Without one: a gateway in between, or a CA that says no more.
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
        // On the way there.
        let transport = |error: fn() -> TransportError, resource| {
            name(&Fault::of(Error::Other(Box::new(error())), &Answered::default(), resource))
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
        // A nonce is no order's own.
        let answered = Answered { status: 404, is_of_nonce: true, ..Answered::default() };
        assert_eq!(name(&Fault::of(Error::Str("no nonce"), &answered, Order)), "down");
    }

    #[test]
    fn an_order_that_may_not_be_read_is_lost() {
        for (kind, status) in [("unauthorized", 403), ("malformed", 400), ("orderNotReady", 403)] {
            assert_eq!(name(&of(kind, status, "x").of_reading()), "order lost", "{kind}");
        }
        assert_eq!(name(&of("serverInternal", 500, "x").of_reading()), "order failed");
    }

    #[test]
    fn says_what_the_ca_said_and_what_to_do() {
        let problem = problem(
            r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"Policy forbids it",
                "subproblems":[{"identifier":{"type":"dns","value":"bad.example"},"detail":"blocked"}]}"#,
        );
        let answered = Answered { status: 400, ..Answered::default() };
        let fault = Fault::of_problem(&problem, &answered, Resource::NewOrder);
        let text = fault.to_string();
        assert!(
            text.starts_with("the CA says: Policy forbids it. bad.example: blocked. The CA does not issue"),
            "{text}"
        );
    }

    #[test]
    fn shows_no_text_of_the_ca_that_could_forge_a_log() {
        let fault = of("connection", 400, &format!("a\nb\u{202e}c{}", "x".repeat(10_000)));
        let text = fault.to_string();
        assert!(!text.contains(['\n', '\u{202e}']) && text.len() < 1000, "{text}");
    }

    #[test]
    fn takes_nonsense_for_an_outage() {
        let error = || Error::Json(serde_json::from_str::<Problem>("<html>").unwrap_err());
        let of = |status, retry_after| {
            Fault::of(error(), &Answered { status, retry_after, is_of_nonce: false }, Resource::Common)
        };
        let wait = Some(Duration::from_secs(7));
        assert_eq!(
            of(503, wait),
            Fault::Down { why: "the CA answered with status 503".into(), retry_after: wait }
        );
        assert!(matches!(of(429, wait), Fault::Limited { retry_after, .. } if retry_after == wait));
        assert!(matches!(of(200, None), Fault::Down { .. }));
    }
}
