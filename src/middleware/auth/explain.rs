//! Explanation of the stage `auth` for people: the judgement of each method about a request.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::reason::Reason;
use super::token::Token;
use super::{Auth, Method, Verdict, claims};
use crate::external::Decision;
use crate::identity::Identity;
use crate::request::RequestCtx;
use ringway_model::TokenPlace;

/// Kind of credentials that are one text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// A token.
    Token,
    /// A key of a client.
    ApiKey,
    /// Name and password with a colon between them.
    Password,
}

impl CredentialKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Token, Self::ApiKey, Self::Password];

    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::ApiKey => "api_key",
            Self::Password => "password",
        }
    }
}

/// Place in which a method looks for credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// `Authorization` with this scheme.
    Authorization(&'static str),
    Field(String),
    Cookie(String),
    Handshake,
    /// All fields that the service of this pool gets.
    Service(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authorization(scheme) => write!(f, "Authorization: {scheme}"),
            Self::Field(name) => write!(f, "field {name}"),
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::Handshake => f.write_str("client certificate of the handshake"),
            Self::Service(pool) => write!(f, "the request, by the service {pool}"),
        }
    }
}

/// Judgement of a method about a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MethodExplanation {
    /// The method: its name in documents.
    pub method: &'static str,
    /// Place in which it looks for credentials.
    pub place: String,
    /// The judgement.
    pub outcome: Outcome,
}

/// Outcome of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An earlier method decides.
    NotAsked,
    /// The request has no credentials for it.
    Absent,
    /// It admits the request.
    Admits,
    /// It refuses the request.
    Refuses(Reason),
    /// The token is of another issuer, which a later method may know.
    Foreign,
    /// It needs an answer that is not at hand.
    Undecided,
}

impl Outcome {
    /// The name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAsked => "not_asked",
            Self::Absent => "absent",
            Self::Admits => "admits",
            Self::Refuses(_) => "refuses",
            Self::Foreign => "foreign",
            Self::Undecided => "undecided",
        }
    }

    /// Whether later methods are not asked.
    fn decides(self) -> bool {
        matches!(self, Self::Admits | Self::Refuses(_) | Self::Undecided)
    }
}

impl Auth {
    /// The judgements of all methods, in order.
    pub(crate) fn explain(&self, request: &RequestCtx<'_>) -> Vec<MethodExplanation> {
        let mut is_decided = false;
        let explain = |method: &Method| {
            let outcome = if is_decided { Outcome::NotAsked } else { method.outcome(request) };
            is_decided |= outcome.decides();
            MethodExplanation { method: method.name(), place: method.place().to_string(), outcome }
        };
        self.methods.iter().map(explain).collect()
    }

    /// Kinds of credentials that its methods take, with their places, in the order of the methods.
    pub(crate) fn places(&self) -> impl Iterator<Item = (CredentialKind, Place)> {
        self.methods.iter().filter_map(|method| Some((method.kind()?, method.place())))
    }

    /// Claims of the token that a request brings, whether or not it is good.
    pub(crate) fn claims(&self, request: &RequestCtx<'_>) -> Option<Identity> {
        self.methods.iter().find_map(|method| match method {
            Method::Jwt(jwt) => {
                let token = Token::parse(jwt.token(request).ok()??).ok()?;
                Some(claims::identity(token.claims(), jwt.claim_fields()))
            }
            _ => None,
        })
    }
}

impl Method {
    fn outcome(&self, request: &RequestCtx<'_>) -> Outcome {
        let verdict = match self.judge(request) {
            Verdict::Waits => match ready(Box::pin(self.judge_waiting(request))) {
                Some(verdict) => verdict,
                None => return Outcome::Undecided,
            },
            verdict => verdict,
        };
        match verdict {
            Verdict::Absent => Outcome::Absent,
            Verdict::Good(_) | Verdict::Decided(Decision::Allowed(_)) => Outcome::Admits,
            Verdict::Decided(Decision::Denied(_)) => Outcome::Refuses(Reason::Denied),
            Verdict::Undecided(_) => Outcome::Refuses(Reason::NoDecision),
            Verdict::Bad(reason) | Verdict::Forbidden(reason) | Verdict::Unavailable(reason) => {
                Outcome::Refuses(reason)
            }
            Verdict::Foreign(_) => Outcome::Foreign,
            Verdict::Throttled => Outcome::Refuses(Reason::Throttled),
            Verdict::Waits => Outcome::Undecided,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Jwt(_) => "jwt",
            Self::Basic(_) => "basic",
            Self::ApiKey(_) => "api_key",
            Self::ClientCertificate => "client_certificate",
            Self::Forward(_) => "forward",
        }
    }

    fn kind(&self) -> Option<CredentialKind> {
        match self {
            Self::Jwt(_) => Some(CredentialKind::Token),
            Self::Basic(_) => Some(CredentialKind::Password),
            Self::ApiKey(_) => Some(CredentialKind::ApiKey),
            Self::ClientCertificate | Self::Forward(_) => None,
        }
    }

    fn place(&self) -> Place {
        match self {
            Self::Jwt(jwt) => match jwt.place() {
                TokenPlace::Bearer => Place::Authorization("Bearer"),
                TokenPlace::Header(name) => Place::Field(name.to_string()),
                TokenPlace::Cookie(name) => Place::Cookie(name.to_string()),
            },
            Self::Basic(_) => Place::Authorization("Basic"),
            Self::ApiKey(keys) => Place::Field(keys.header().to_owned()),
            Self::ClientCertificate => Place::Handshake,
            Self::Forward(external) => Place::Service(external.filter().pool.to_string()),
        }
    }
}

/// The output of a future that needs no waiting.
pub(crate) fn ready<T>(mut future: Pin<Box<dyn Future<Output = T> + '_>>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[cfg(test)]
#[path = "explain_tests.rs"]
mod tests;
