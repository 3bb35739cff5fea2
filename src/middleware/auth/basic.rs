//! Method `basic`: names and passwords (RFC 7617).

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ringway_model::{BasicAuth, CredentialSource};

use super::Verdict;
use super::reason::Reason;
use crate::credentials::Credentials;
use crate::identity::{Identity, SharedIdentity};
use crate::limits;
use crate::request::RequestCtx;

/// The method.
#[derive(Debug)]
pub(crate) struct BasicMethod {
    spec: BasicAuth,
    source: CredentialSource,
}

/// Name and password of a request.
pub(crate) struct Login {
    pub(crate) name: String,
    pub(crate) password: Box<[u8]>,
}

impl BasicMethod {
    pub(crate) fn new(spec: &BasicAuth) -> Self {
        Self { spec: spec.clone(), source: CredentialSource::Users(spec.users_file.clone()) }
    }

    /// A password that was verified lately is good at once; any other has to be verified on another thread.
    pub(crate) fn judge(&self, request: &RequestCtx<'_>) -> Verdict {
        let login = match login(request) {
            Ok(Some(login)) => login,
            Ok(None) => return Verdict::Absent,
            Err(reason) => return Verdict::Bad(reason),
        };
        let services = request.services;
        let users = services.credentials(&self.source);
        let passwords = services.core().passwords.borrow();
        if users.is_some_and(|users| passwords.has(users, &login.name, &login.password, services.now())) {
            return Verdict::Good(identity(&login.name));
        }
        match services.core().failures.borrow().is_throttled(request.client(), services.now_micros()) {
            true => Verdict::Throttled,
            false => Verdict::Waits,
        }
    }

    pub(crate) async fn judge_waiting(&self, request: &RequestCtx<'_>) -> Verdict {
        let Ok(Some(login)) = login(request) else { return Verdict::Absent };
        let services = request.services;
        let users = match services.credentials(&self.source) {
            Some(users) => Some(users.clone()),
            None => services.refresh(&self.source).await,
        };
        let Some(users) = users else {
            return Verdict::Unavailable(Reason::NoUsers);
        };
        let Credentials::Users(known) = &*users else { return Verdict::Unavailable(Reason::NoUsers) };
        let (own, dummy) = known.hash(&login.name);
        // An unknown name takes as long as a wrong password.
        let Some(hash) = own.or(dummy) else { return Verdict::Bad(Reason::Password) };
        match services.verify_password(hash.clone(), login.password.clone()).await {
            None => Verdict::Unavailable(Reason::PasswordsBusy),
            Some(true) if own.is_some() => {
                let mut passwords = services.core().passwords.borrow_mut();
                passwords.put(&users, &login.name, &login.password, services.now());
                Verdict::Good(identity(&login.name))
            }
            Some(_) => Verdict::Bad(Reason::Password),
        }
    }

    pub(crate) fn admit(&self, identity: &SharedIdentity, request: &mut RequestCtx<'_>) {
        request.remove("authorization");
        if let Some(header) = &self.spec.user_header {
            super::assert_field(request, header, &identity.user);
        }
    }

    pub(crate) fn challenge(&self) -> String {
        let realm: String = self.spec.realm.chars().filter(|char| !matches!(char, '"' | '\\')).collect();
        format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")
    }

    pub(crate) fn asserted(&self) -> impl Iterator<Item = &Arc<str>> {
        self.spec.user_header.iter()
    }
}

fn identity(name: &str) -> SharedIdentity {
    Arc::new(Identity { user: name.into(), ..Identity::default() })
}

/// Name and password of a request, if it has one pair of them.
fn login(request: &RequestCtx<'_>) -> Result<Option<Login>, Reason> {
    let coded = match super::authorization(request.view)? {
        Some((scheme, coded)) if scheme.eq_ignore_ascii_case(b"basic") => coded,
        _ => return Ok(None),
    };
    decode(coded).map(Some)
}

/// Decodes a pair of name and password.
pub(crate) fn decode(coded: &[u8]) -> Result<Login, Reason> {
    let malformed = Reason::MalformedLogin;
    if coded.len() > limits::LOGIN_BYTES_MAX {
        return Err(malformed);
    }
    let pair = BASE64_STANDARD.decode(coded).map_err(|_| malformed)?;
    let colon = pair.iter().position(|byte| *byte == b':').ok_or(malformed)?;
    let name = String::from_utf8(pair[..colon].to_vec()).map_err(|_| malformed)?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(malformed);
    }
    Ok(Login { name, password: pair[colon + 1..].into() })
}

#[cfg(test)]
#[path = "basic_tests.rs"]
mod tests;
