//! Explanation of a chain for people: the verdict of each of its stages about a described request.
//!
//! The stages themselves judge. Those that wait for an answer that is not at hand, and those of an embedder,
//! which may do anything, are not judged; the explanation goes on as if they let the request pass.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ringway_model::StageSpec;
use ringway_wire::h1::{Limits, Parse, RequestHead, ResponseHead};
use ringway_wire::headers::is_field_value;
use ringway_wire::message::Method;

use crate::auth::Auth;
use crate::auth::explain::{CredentialKind, MethodExplanation, Place, ready};
use crate::auth::reason::Reason;
use crate::chain::{Chain, Run, Stage};
use crate::edits::{self, Edits};
use crate::request::{RequestCtx, RequestParts, RequestView};
use crate::response::{ResponseCtx, ResponseHeadView};
use crate::{Flow, LocalReply, ReplyBody, Services};

/// Explanation of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainExplanation {
    /// Fields of the request that are removed before all stages, because only stages may set them.
    pub stripped: Vec<String>,
    /// The stages, in the order of requests.
    pub stages: Vec<StageExplanation>,
    /// Reply of the stage that ends the request.
    pub reply: Option<LocalReply>,
}

/// Explanation of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageExplanation {
    /// Its configuration; `None` for a stage of an embedder.
    pub spec: Option<StageSpec>,
    /// The verdict.
    pub verdict: StageVerdict,
    /// Methods of authentication, in order.
    pub methods: Vec<MethodExplanation>,
    /// Changes of the request's fields.
    pub request: FieldChanges,
    /// Changes of the response's fields.
    pub response: FieldChanges,
}

/// Verdict of a stage about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StageVerdict {
    /// Lets the request pass.
    Passes,
    /// Ends the request with the reply of the [`ChainExplanation`].
    Replies,
    /// Counts it against the rate limit with this number.
    Limits(usize),
    /// Cannot be judged here: the words say by what it is decided.
    Undecided(&'static str),
    /// Does not get the request.
    NotReached,
}

/// Changes of header fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldChanges {
    /// Names of removed fields.
    pub removed: Vec<String>,
    /// Names and values of added lines.
    pub added: Vec<(String, String)>,
}

/// Explains a chain for a request of a client, and for the response of an endpoint without any fields. Stages
/// that judge the client's address are not judged without one.
pub fn explain(
    chain: &Chain,
    request: RequestParts<'_>,
    client: Option<IpAddr>,
    services: &dyn Services,
) -> ChainExplanation {
    let client_or_none = client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let view = RequestView::new(RequestParts { client: client_or_none, ..request });
    let mut run = Run::default();
    let mut explanation = ChainExplanation::default();
    {
        let mut request = RequestCtx::new(view, services, &mut run);
        chain.remove_asserted(&mut request);
        explanation.stripped = request.run.edits.removed().map(str::to_owned).collect();
    }
    for stage in chain.stages() {
        let mut explained = StageExplanation {
            spec: stage.spec().cloned(),
            verdict: StageVerdict::NotReached,
            methods: Vec::new(),
            request: FieldChanges::default(),
            response: FieldChanges::default(),
        };
        if explanation.reply.is_none() {
            let before = run.edits.clone();
            let mut request = RequestCtx::new(view, services, &mut run);
            if let Some(auth) = auth_of(stage) {
                explained.methods = auth.explain(&request);
            }
            let judged = match client {
                None if judges_client(stage) => {
                    Judged::Verdict(StageVerdict::Undecided("the client's address, which is not given"))
                }
                _ => judge(stage, &mut request),
            };
            explained.verdict = match judged {
                Judged::Verdict(verdict) => verdict,
                Judged::Reply(reply) => {
                    explanation.reply = Some(reply);
                    StageVerdict::Replies
                }
            };
            if explained.verdict != StageVerdict::Replies {
                run.pass();
            }
            explained.request = FieldChanges::between(&before, &run.edits);
        }
        explanation.stages.push(explained);
    }
    explain_response(chain, view, &mut run, &mut explanation);
    explanation
}

/// Runs the response stages over the reply, or over the response of an endpoint.
fn explain_response(chain: &Chain, view: RequestView<'_>, run: &mut Run, explanation: &mut ChainExplanation) {
    let (mut head, buf) = (ResponseHead::default(), &b"HTTP/1.1 200 OK\r\n\r\n"[..]);
    // The sample is valid.
    let _ = head.parse(buf, Method::Get, &Limits::default());
    let of = match &explanation.reply {
        None => ResponseHeadView::Endpoint(&head, buf),
        Some(reply) => ResponseHeadView::Local {
            status: reply.status(),
            lines: reply.lines(),
            is_error: matches!(reply.body(), ReplyBody::Error { .. }),
        },
    };
    let mut edits = Edits::default();
    let passed = run.passed;
    for index in (0..passed).rev() {
        let (Some(stage), Some(explained)) = (chain.stages().get(index), explanation.stages.get_mut(index))
        else {
            continue;
        };
        if matches!(stage, Stage::Custom(_)) {
            continue;
        }
        run.passed = index;
        let before = edits.clone();
        stage.on_response(&mut ResponseCtx::new(view, of, &mut edits, run));
        explained.response = FieldChanges::between(&before, &edits);
    }
    run.passed = passed;
}

enum Judged {
    Verdict(StageVerdict),
    Reply(LocalReply),
}

fn judge(stage: &Stage, request: &mut RequestCtx<'_>) -> Judged {
    if matches!(stage, Stage::Custom(_)) {
        return Judged::Verdict(StageVerdict::Undecided("the program that ringway is part of"));
    }
    match stage.on_request(request) {
        Flow::Continue => Judged::Verdict(StageVerdict::Passes),
        Flow::Reply(reply) => Judged::Reply(reply),
        Flow::Limit(limit) => Judged::Verdict(StageVerdict::Limits(limit)),
        Flow::Script => Judged::Verdict(StageVerdict::Undecided("a script")),
        // An external service is not asked: it could count the request.
        Flow::Wait if auth_of(stage).is_none() => {
            Judged::Verdict(StageVerdict::Undecided("the service, which is not asked here"))
        }
        Flow::Wait => match ready(stage.wait(request)) {
            Some(ControlFlow::Continue(())) => Judged::Verdict(StageVerdict::Passes),
            Some(ControlFlow::Break(reply)) => Judged::Reply(reply),
            None => Judged::Verdict(StageVerdict::Undecided("a service or a password, neither judged here")),
        },
    }
}

fn judges_client(stage: &Stage) -> bool {
    match stage.spec() {
        Some(StageSpec::IpAcl(_)) => true,
        Some(StageSpec::Maintenance(of)) => !of.bypass.is_empty(),
        _ => false,
    }
}

fn auth_of(stage: &Stage) -> Option<&Auth> {
    match stage {
        Stage::Builtin(stage) => stage.auth(),
        Stage::Custom(_) => None,
    }
}

impl FieldChanges {
    fn between(before: &Edits, after: &Edits) -> Self {
        // A line of an earlier stage may be replaced.
        let mut earlier: Vec<_> = edits::fields(before.lines()).collect();
        let is_new = |line: &(&[u8], &[u8])| match earlier.iter().position(|known| known == line) {
            Some(index) => {
                earlier.swap_remove(index);
                false
            }
            None => true,
        };
        let lines: Vec<_> = edits::fields(after.lines()).filter(is_new).collect();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            removed: after.removed().skip(before.removed().count()).map(str::to_owned).collect(),
            added: lines.into_iter().map(|(name, value)| (text(name), text(value))).collect(),
        }
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }
}

/// Verdict of a chain's authentication about one credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthCheck {
    /// Kind of the credential.
    pub kind: CredentialKind,
    /// Place of the request in which it was judged.
    pub place: String,
    /// Whether it admits a request; `None` where a service decides.
    pub is_admitted: Option<bool>,
    /// Reply to a request with it, if it is refused.
    pub reply: Option<LocalReply>,
    /// Reason of the refusal.
    pub reason: Option<Reason>,
    /// The user, once verified.
    pub user: Option<String>,
    /// Claims as text, by name.
    pub claims: Vec<(String, String)>,
    /// Whether the claims were verified.
    pub is_verified: bool,
    /// Judgements of the methods, in order.
    pub methods: Vec<MethodExplanation>,
    /// Changes of the request's fields. The credential itself stands there as `<credential>`.
    pub request: FieldChanges,
}

/// Reason why nothing can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckError {
    /// The chain has no stage `auth` whose methods can be used now.
    NoAuth,
    /// None of its methods takes such a credential.
    NoMethod,
    /// The credential is empty, or has bytes that cannot stand in a header field.
    Invalid,
}

/// Judges a credential by the stages `auth` of a chain, in each place in which they look for its kind: the
/// verdict that admits, or else the first. Without a kind it is that of the first method.
///
/// # Errors
/// See [`CheckError`]. None repeats the credential.
pub fn check_auth(
    chain: &Chain,
    credential: &str,
    kind: Option<CredentialKind>,
    route: &str,
    services: &dyn Services,
) -> Result<AuthCheck, CheckError> {
    let places: Vec<_> = chain.stages().iter().filter_map(auth_of).flat_map(Auth::places).collect();
    if chain.stages().iter().all(|stage| auth_of(stage).is_none()) {
        return Err(CheckError::NoAuth);
    }
    let kind = kind.or_else(|| Some(places.first()?.0)).ok_or(CheckError::NoMethod)?;
    let mut tried: Vec<&Place> = Vec::new();
    let mut first = None;
    for (_, place) in places.iter().filter(|(of, _)| *of == kind) {
        if tried.contains(&place) {
            continue;
        }
        tried.push(place);
        let check = check_in(chain, credential, (kind, place), route, services)?;
        if check.is_admitted == Some(true) {
            return Ok(check);
        }
        first = first.or(Some(check));
    }
    first.ok_or(CheckError::NoMethod)
}

fn check_in(
    chain: &Chain,
    credential: &str,
    (kind, place): (CredentialKind, &Place),
    route: &str,
    services: &dyn Services,
) -> Result<AuthCheck, CheckError> {
    let coded = match kind {
        CredentialKind::Password => BASE64_STANDARD.encode(credential),
        CredentialKind::Token | CredentialKind::ApiKey => credential.to_owned(),
    };
    if coded.is_empty() || !is_field_value(coded.as_bytes()) {
        return Err(CheckError::Invalid);
    }
    let line = match place {
        Place::Authorization(scheme) => format!("Authorization: {scheme} {coded}"),
        Place::Field(name) => format!("{name}: {coded}"),
        Place::Cookie(name) => format!("Cookie: {name}={coded}"),
        Place::Handshake | Place::Service(_) => return Err(CheckError::NoMethod),
    };
    let buf = format!("GET / HTTP/1.1\r\nHost: ringway.invalid\r\n{line}\r\n\r\n").into_bytes();
    let mut head = RequestHead::default();
    if head.parse(&buf, &Limits::default()) != Ok(Parse::Complete) {
        return Err(CheckError::Invalid);
    }
    let view = RequestView::new(RequestParts {
        head: &head,
        buf: &buf,
        client: IpAddr::from([127, 0, 0, 1]),
        is_secure: true,
        request_id: "",
        route,
        app: "",
        tenant: None,
        certificate: None,
    });
    let mut run = Run::default();
    let mut check = AuthCheck {
        kind,
        place: place.to_string(),
        is_admitted: Some(true),
        reply: None,
        reason: None,
        user: None,
        claims: Vec::new(),
        is_verified: false,
        methods: Vec::new(),
        request: FieldChanges::default(),
    };
    for stage in chain.stages() {
        let Some(auth) = auth_of(stage) else { continue };
        let mut request = RequestCtx::new(view, services, &mut run);
        check.methods.extend(auth.explain(&request));
        if let Some(identity) = auth.claims(&request) {
            check.claims = texts(&identity);
        }
        match judge(stage, &mut request) {
            Judged::Verdict(StageVerdict::Undecided(_)) => check.is_admitted = None,
            Judged::Verdict(_) => {}
            Judged::Reply(reply) => {
                check.is_admitted = Some(false);
                check.reply = Some(reply);
                check.reason = run.refusal();
                break;
            }
        }
    }
    if let Some(identity) = run.identity() {
        check.user = Some(identity.user.to_string());
        check.claims = texts(identity);
        check.is_verified = true;
    }
    check.request = FieldChanges::between(&Edits::default(), &run.edits);
    for (_, value) in &mut check.request.added {
        *value = value.replace(&coded, "<credential>");
    }
    Ok(check)
}

fn texts(identity: &crate::Identity) -> Vec<(String, String)> {
    identity.claims.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
