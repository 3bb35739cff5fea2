//! `auth`: admits authenticated requests only.
//!
//! ```text
//! methods in order: the first whose credentials the request has decides
//!   none ─► 401 (or goes on, where authentication is optional)
//!   good ─► identity; asserted fields are set, unverified credentials and those for us alone are removed
//!   bad  ─► 401     good, but without a claim ─► 403     no keys yet ─► 503     too many bad ones ─► 429
//! ```
//! Verification that needs no waiting runs at once; [`Auth::wait`] runs all methods again with waiting.

use std::ops::ControlFlow;
use std::sync::Arc;

use ringway_model::{AuthMethod, AuthStage};

use crate::external::{Decision, External, Failed, apply};
use crate::identity::SharedIdentity;
use crate::reply::LocalReply;
use crate::request::{RequestCtx, RequestView, cookie_value};
use crate::{Flow, Pending};

mod api_key;
mod basic;
pub(crate) mod claims;
pub(crate) mod explain;
pub(crate) mod failures;
pub(crate) mod json;
mod jwt;
pub(crate) mod keys;
pub(crate) mod password_cache;
pub(crate) mod proxy_login;
pub(crate) mod reason;
#[cfg(test)]
mod testing;
pub(crate) mod token;
pub(crate) mod token_cache;
pub(crate) mod users;

use api_key::ApiKeyMethod;
use basic::BasicMethod;
use jwt::JwtMethod;
use reason::Reason;

/// The stage.
#[derive(Debug)]
pub(crate) struct Auth {
    methods: Box<[Method]>,
    is_optional: bool,
}

/// Compiled method.
#[derive(Debug)]
enum Method {
    Jwt(JwtMethod),
    Basic(BasicMethod),
    ApiKey(ApiKeyMethod),
    ClientCertificate,
    /// Asks a service, which decides about every request: a method behind it has no say.
    Forward(External),
}

/// Result of one method.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The request has no credentials for the method.
    Absent,
    /// They are good.
    Good(SharedIdentity),
    /// They are bad.
    Bad(Reason),
    /// They are of another issuer: bad, unless a later method knows it.
    Foreign(Reason),
    /// They are good, and not for this route.
    Forbidden(Reason),
    /// They cannot be judged now.
    Unavailable(Reason),
    /// A service has given no decision.
    Undecided(Failed),
    /// The client has sent too many bad ones.
    Throttled,
    /// They can only be judged with waiting.
    Waits,
    /// A service has decided.
    Decided(Decision),
}

impl Auth {
    pub(crate) fn new(spec: &AuthStage) -> Self {
        let methods = spec.any_of.iter().map(|method| match method {
            AuthMethod::Jwt(spec) => Method::Jwt(JwtMethod::new(spec)),
            AuthMethod::Basic(spec) => Method::Basic(BasicMethod::new(spec)),
            AuthMethod::ApiKey(spec) => Method::ApiKey(ApiKeyMethod::new(spec)),
            AuthMethod::ClientCertificate {} => Method::ClientCertificate,
            AuthMethod::Forward(filter) => Method::Forward(External::closed(filter)),
        });
        Self { methods: methods.collect(), is_optional: spec.optional }
    }

    /// Judges the request without waiting, or asks to wait.
    pub(crate) fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        let mut foreign = None;
        for method in &self.methods {
            match method.judge(request) {
                Verdict::Absent => {}
                Verdict::Foreign(reason) => foreign = foreign.or(Some((method, reason))),
                Verdict::Waits => return Flow::Wait,
                verdict => return self.end(method, verdict, request).into(),
            }
        }
        self.undecided(foreign, request).into()
    }

    /// Judges the request, with waiting.
    pub(crate) fn wait<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> Pending<'a> {
        Box::pin(async move {
            let mut foreign = None;
            for method in &self.methods {
                let verdict = match method.judge(request) {
                    Verdict::Waits => method.judge_waiting(request).await,
                    verdict => verdict,
                };
                match verdict {
                    Verdict::Absent => {}
                    Verdict::Foreign(reason) => foreign = foreign.or(Some((method, reason))),
                    verdict => return self.end(method, verdict, request),
                }
            }
            self.undecided(foreign, request)
        })
    }

    /// Ends the stage where no method has decided.
    fn undecided(
        &self,
        foreign: Option<(&Method, Reason)>,
        request: &mut RequestCtx<'_>,
    ) -> ControlFlow<LocalReply> {
        match foreign {
            Some((method, reason)) => self.end(method, Verdict::Bad(reason), request),
            None => self.without_credentials(request),
        }
    }

    /// Ends the stage with the verdict of the method that decides.
    fn end(
        &self,
        method: &Method,
        verdict: Verdict,
        request: &mut RequestCtx<'_>,
    ) -> ControlFlow<LocalReply> {
        match verdict {
            Verdict::Good(identity) => {
                // Those of other methods are not verified, and the endpoint may trust them.
                let unverified = self.methods.iter().filter(|other| !other.shares_place(method));
                unverified.clone().for_each(|other| other.remove_credentials(request));
                let cookies = unverified.filter_map(Method::cookie).chain(method.cookie_for_us());
                remove_cookies(request, &cookies.collect::<Vec<_>>());
                method.admit(&identity, request);
                request.run.identity = Some(identity);
                ControlFlow::Continue(())
            }
            Verdict::Decided(decision) => {
                if matches!(decision, Decision::Denied(_)) {
                    request.run.refusal = Some(Reason::Denied);
                }
                apply(decision, request)
            }
            Verdict::Absent => self.without_credentials(request),
            Verdict::Bad(reason) | Verdict::Foreign(reason) => {
                let client = request.client();
                request.services.core().failures.borrow_mut().note(client, request.services.now_micros());
                request.run.refusal = Some(reason);
                ControlFlow::Break(self.challenge("invalid_credentials", reason, method.error()))
            }
            Verdict::Forbidden(reason) => {
                request.run.refusal = Some(reason);
                let reply = LocalReply::refusal(403, "forbidden", reason.text());
                let challenge = method.challenge(Some("insufficient_scope")).unwrap_or_default();
                ControlFlow::Break(with(reply, "WWW-Authenticate", challenge.as_bytes()))
            }
            Verdict::Unavailable(reason) => ControlFlow::Break(unavailable(reason, None, request)),
            Verdict::Undecided(failed) => {
                let retry_after = failed.retry_after_seconds();
                ControlFlow::Break(unavailable(Reason::NoDecision, retry_after, request))
            }
            Verdict::Throttled | Verdict::Waits => {
                request.run.refusal = Some(Reason::Throttled);
                let reply = LocalReply::refusal(429, "too_many_failures", Reason::Throttled.text());
                ControlFlow::Break(with(reply, "Retry-After", b"1"))
            }
        }
    }

    fn without_credentials(&self, request: &mut RequestCtx<'_>) -> ControlFlow<LocalReply> {
        match self.is_optional {
            true => ControlFlow::Continue(()),
            false => {
                request.run.refusal = Some(Reason::Absent);
                ControlFlow::Break(self.challenge("unauthenticated", Reason::Absent, None))
            }
        }
    }

    /// A 401 with the challenges of all methods (RFC 9110 §11.6.1), each once. A 403 where no field of a
    /// request can authenticate it.
    fn challenge(&self, code: &'static str, reason: Reason, error: Option<&str>) -> LocalReply {
        let mut challenges: Vec<String> = Vec::new();
        for challenge in self.methods.iter().filter_map(|method| method.challenge(error)) {
            if !challenges.contains(&challenge) {
                challenges.push(challenge);
            }
        }
        if self.methods.iter().all(|method| matches!(method, Method::ClientCertificate)) {
            let message = "this route needs a client certificate";
            return LocalReply::refusal(403, "client_certificate_required", message);
        }
        let reply = LocalReply::refusal(401, code, reason.text());
        challenges
            .iter()
            .fold(reply, |reply, challenge| with(reply, "WWW-Authenticate", challenge.as_bytes()))
    }

    /// Names of fields that only this stage may set.
    pub(crate) fn asserted(&self) -> impl Iterator<Item = &Arc<str>> {
        self.methods.iter().flat_map(Method::asserted)
    }
}

impl From<ControlFlow<LocalReply>> for Flow {
    fn from(flow: ControlFlow<LocalReply>) -> Self {
        match flow {
            ControlFlow::Continue(()) => Self::Continue,
            ControlFlow::Break(reply) => Self::Reply(reply),
        }
    }
}

impl Method {
    fn judge(&self, request: &RequestCtx<'_>) -> Verdict {
        match self {
            Self::Jwt(jwt) => jwt.judge(request),
            Self::Basic(basic) => basic.judge(request),
            Self::ApiKey(keys) => keys.judge(request),
            Self::ClientCertificate => match request.view.parts.certificate {
                Some(subject) => Verdict::Good(Arc::new(crate::Identity {
                    user: subject.into(),
                    ..crate::Identity::default()
                })),
                None => Verdict::Absent,
            },
            Self::Forward(external) => external.cached(request).map_or(Verdict::Waits, Verdict::Decided),
        }
    }

    async fn judge_waiting(&self, request: &RequestCtx<'_>) -> Verdict {
        match self {
            Self::Jwt(jwt) => jwt.judge_waiting(request).await,
            Self::Basic(basic) => basic.judge_waiting(request).await,
            Self::ApiKey(keys) => keys.judge_waiting(request).await,
            Self::ClientCertificate => Verdict::Absent,
            Self::Forward(external) => match external.ask(request).await {
                Ok(decision) => Verdict::Decided(decision),
                Err(failed) => Verdict::Undecided(failed),
            },
        }
    }

    /// Sets the fields that the endpoint gets, and removes credentials that are not for it.
    fn admit(&self, identity: &SharedIdentity, request: &mut RequestCtx<'_>) {
        match self {
            Self::Jwt(jwt) => jwt.admit(identity, request),
            Self::Basic(basic) => basic.admit(identity, request),
            Self::ApiKey(keys) => keys.admit(identity, request),
            Self::ClientCertificate | Self::Forward(_) => {}
        }
    }

    /// Whether both have their credentials in the same place, where a request has one of them.
    fn shares_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Jwt(one), Self::Jwt(two)) => one.place() == two.place(),
            (Self::Basic(_), Self::Basic(_)) => true,
            (Self::ApiKey(one), Self::ApiKey(two)) => one.header() == two.header(),
            _ => false,
        }
    }

    /// The cookie of its credentials.
    fn cookie(&self) -> Option<&str> {
        match self {
            Self::Jwt(jwt) => jwt.cookie(),
            Self::Basic(_) | Self::ApiKey(_) | Self::ClientCertificate | Self::Forward(_) => None,
        }
    }

    /// The same where the endpoint does not get it.
    fn cookie_for_us(&self) -> Option<&str> {
        match self {
            Self::Jwt(jwt) if !jwt.is_forwarded() => jwt.cookie(),
            _ => None,
        }
    }

    /// Removes credentials that another method's decision leaves unverified; those in cookies are removed
    /// together.
    fn remove_credentials(&self, request: &mut RequestCtx<'_>) {
        match self {
            Self::Jwt(jwt) => jwt.remove_credentials(request),
            Self::Basic(_) => remove_authorization(request, b"basic"),
            // Clients' keys never reach an endpoint: their field is an asserted one.
            Self::ApiKey(_) | Self::ClientCertificate | Self::Forward(_) => {}
        }
    }

    fn challenge(&self, error: Option<&str>) -> Option<String> {
        match self {
            // RFC 6750 §3: a challenge has at least one parameter.
            Self::Jwt(_) => Some(match error {
                Some(error) => format!("Bearer realm=\"{REALM}\", error=\"{error}\""),
                None => format!("Bearer realm=\"{REALM}\""),
            }),
            Self::Basic(basic) => Some(basic.challenge()),
            // No registered scheme has keys of clients, and a 401 needs a challenge (RFC 9110 §15.5.2).
            Self::ApiKey(_) => Some(format!("ApiKey realm=\"{REALM}\"")),
            Self::ClientCertificate | Self::Forward(_) => None,
        }
    }

    /// The error of RFC 6750 §3.1 for bad credentials.
    fn error(&self) -> Option<&'static str> {
        matches!(self, Self::Jwt(_)).then_some("invalid_token")
    }

    fn asserted(&self) -> Box<dyn Iterator<Item = &Arc<str>> + '_> {
        match self {
            Self::Jwt(jwt) => Box::new(jwt.asserted()),
            Self::Basic(basic) => Box::new(basic.asserted()),
            Self::ApiKey(keys) => Box::new(keys.asserted()),
            Self::ClientCertificate => Box::new(std::iter::empty()),
            Self::Forward(external) => Box::new(external.asserted()),
        }
    }
}

/// Sets a field that only this stage may set. A value that cannot stand in a field is left out.
pub(crate) fn assert_field(request: &mut RequestCtx<'_>, name: &str, value: &str) {
    if request.set(name, value.as_bytes()).is_err() {
        request.remove(name);
    }
}

/// Scheme and credentials.
type Authorization<'r> = (&'r [u8], &'r [u8]);

/// Reads `Authorization` (RFC 9110 §11.6.2). More than one field is refused: the endpoint
/// might take the other.
fn authorization<'r>(view: RequestView<'r>) -> Result<Option<Authorization<'r>>, Reason> {
    let mut values = view.fields("authorization");
    let Some(value) = values.next() else { return Ok(None) };
    match values.next() {
        Some(_) => Err(Reason::SeveralAuthorizations),
        None => Ok(Some(credentials(value))),
    }
}

/// Scheme and credentials of a value of `Authorization`.
fn credentials(value: &[u8]) -> Authorization<'_> {
    let end = value.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(value.len());
    (&value[..end], value[end..].trim_ascii())
}

/// Removes cookies of these names; the others stay in their order.
fn remove_cookies(request: &mut RequestCtx<'_>, names: &[&str]) {
    let view = request.view;
    let is_removed = |pair: &&[u8]| names.iter().any(|name| cookie_value(pair, name).is_some());
    if names.is_empty() || !view.cookie_pairs().any(|pair| is_removed(&pair)) {
        return;
    }
    let kept: Vec<&[u8]> = view.cookie_pairs().filter(|pair| !is_removed(pair)).collect();
    // Received values can stand in a head.
    if kept.is_empty() || request.set("cookie", &kept.join(&b"; "[..])).is_err() {
        request.remove("cookie");
    }
}

/// Removes all lines of `Authorization` if one has this scheme, in lower case: the endpoint might take any.
fn remove_authorization(request: &mut RequestCtx<'_>, scheme: &[u8]) {
    if request.view.fields("authorization").any(|value| credentials(value).0.eq_ignore_ascii_case(scheme)) {
        request.remove("authorization");
    }
}

/// Realm of challenges whose method has none of its own.
const REALM: &str = "restricted";

/// Reply to a request whose credentials cannot be judged now. Where it is not known when they can be, the
/// client comes back after the time in which most causes pass.
fn unavailable(reason: Reason, retry_after: Option<String>, request: &mut RequestCtx<'_>) -> LocalReply {
    request.run.refusal = Some(reason);
    let reply = LocalReply::refusal(503, "auth_unavailable", reason.text());
    with(reply, "Retry-After", retry_after.as_deref().unwrap_or("5").as_bytes())
}

/// The reply with a field, which is valid.
fn with(reply: LocalReply, name: &str, value: &[u8]) -> LocalReply {
    let status = reply.status();
    reply.with_field(name, value).unwrap_or_else(|_| LocalReply::error(status))
}

#[cfg(test)]
#[path = "auth/auth_tests.rs"]
mod tests;
