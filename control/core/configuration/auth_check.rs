//! Check of a credential by the authentication of a route, as an operator asks for it.

use std::fmt;
use std::sync::Arc;

use ringway_middleware::{AuthCheck, Chain, CheckError, CredentialKind, check_auth};
use ringway_model::{AuthMethod, StageSpec};
use ringway_traffic::snapshot::Snapshot;

use super::error::ConfigError;
use super::stage_services::{Passwords, QuestionServices};

/// A credential to check.
#[derive(Clone)]
pub struct AuthCheckRequest {
    /// Id of the route.
    pub route: Arc<str>,
    /// The credential: a token, a key, or `name:password`.
    pub credential: Box<str>,
    /// Its kind; that of the route's first method when absent.
    pub kind: Option<CredentialKind>,
}

impl fmt::Debug for AuthCheckRequest {
    /// Omits the credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { route, credential: _, kind } = self;
        f.debug_struct("AuthCheckRequest").field("route", route).field("kind", kind).finish_non_exhaustive()
    }
}

/// Verdict about a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthChecked {
    /// The verdict.
    pub check: AuthCheck,
    /// Sources of the credentials that the methods of the route compare with.
    pub sources: Vec<CheckedSource>,
}

/// Source of credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedSource {
    /// The source in words.
    pub name: String,
    /// Number of its keys or users; `None` while it was never loaded.
    pub entries: Option<usize>,
}

/// Checks a credential by the configuration in force.
pub(super) fn check(request: &AuthCheckRequest, snapshot: &Snapshot) -> Result<AuthChecked, ConfigError> {
    let rules = snapshot.virtual_hosts().flat_map(|host| host.rules.iter());
    let rule = rules
        .filter(|rule| rule.route_id().is_some())
        .find(|rule| rule.name == request.route)
        .ok_or_else(|| ConfigError::UnknownRoute(request.route.clone()))?;
    let refused = |why| ConfigError::NotCheckable { route: request.route.clone(), why };
    let chain = rule.stages.as_deref().ok_or_else(|| refused(CheckError::NoAuth))?;
    let services = QuestionServices::new(snapshot, Passwords::Verified);
    let check = check_auth(chain, &request.credential, request.kind, &request.route, &services);
    Ok(AuthChecked { check: check.map_err(refused)?, sources: sources(chain, snapshot) })
}

fn sources(chain: &Chain, snapshot: &Snapshot) -> Vec<CheckedSource> {
    let auths = chain.stages().iter().filter_map(|stage| match stage.spec() {
        Some(StageSpec::Auth(auth)) => Some(auth),
        _ => None,
    });
    let mut sources: Vec<_> =
        auths.flat_map(|auth| auth.any_of.iter().filter_map(AuthMethod::source)).collect();
    sources.sort_unstable();
    sources.dedup();
    let checked = |source| CheckedSource {
        name: format!("{source}"),
        entries: snapshot.credentials(&source).map(|known| known.len()),
    };
    sources.into_iter().map(checked).collect()
}
