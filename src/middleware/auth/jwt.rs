//! Method `jwt`: tokens of an identity provider.

use std::sync::Arc;

use ringway_model::{CredentialSource, JwtAuth, JwtKeys, TokenPlace};

use super::token::{Token, TokenError};
use super::token_cache::Entry;
use super::{Verdict, claims};
use crate::credentials::Credentials;
use crate::identity::SharedIdentity;
use crate::limits;
use crate::request::RequestCtx;

/// The method.
#[derive(Debug)]
pub(crate) struct JwtMethod {
    spec: Arc<JwtAuth>,
    source: CredentialSource,
}

impl JwtMethod {
    pub(crate) fn new(spec: &JwtAuth) -> Self {
        let source = match &spec.keys {
            JwtKeys::Discovery => CredentialSource::Discovery(spec.issuer.clone()),
            JwtKeys::Jwks(url) => CredentialSource::Jwks(url.clone()),
            JwtKeys::File(path) => CredentialSource::JwkFile(path.clone()),
        };
        Self { spec: Arc::new(spec.clone()), source }
    }

    pub(crate) fn judge(&self, request: &RequestCtx<'_>) -> Verdict {
        let token = match self.token(request) {
            Ok(Some(token)) => token,
            Ok(None) => return Verdict::Absent,
            Err(reason) => return Verdict::Bad(reason),
        };
        match request.services.credentials(&self.source) {
            None => Verdict::Waits,
            Some(keys) => self.verify(token, keys, request),
        }
    }

    /// Loads keys, newer ones for a token with an unknown key, and judges again.
    pub(crate) async fn judge_waiting(&self, request: &RequestCtx<'_>) -> Verdict {
        let Ok(Some(token)) = self.token(request) else { return Verdict::Absent };
        match request.services.refresh(&self.source).await {
            None => Verdict::Unavailable("the keys of the identity provider could not be loaded yet"),
            Some(keys) => match self.verify(token, &keys, request) {
                Verdict::Waits => Verdict::Bad(TokenError::UnknownKey.as_str()),
                verdict => verdict,
            },
        }
    }

    /// Judges a token by the keys; waits for newer ones where it has an unknown key.
    fn verify(&self, text: &[u8], keys: &Arc<Credentials>, request: &RequestCtx<'_>) -> Verdict {
        let (services, now) = (request.services, request.services.now());
        let mut cache = services.core().tokens.borrow_mut();
        if let Some(entry) = cache.get(text, &self.spec, keys, now) {
            return verdict(entry);
        }
        if services.core().failures.borrow().is_throttled(request.client(), services.now_micros()) {
            return Verdict::Throttled;
        }
        let Credentials::Keys(set) = &**keys else { return Verdict::Unavailable("no keys") };
        let token = match Token::parse(text).and_then(|token| {
            token.check_claims(&self.spec, now)?;
            token.verify(set)?;
            Ok(token)
        }) {
            Ok(token) => token,
            Err(TokenError::UnknownKey) => return Verdict::Waits,
            Err(error) => return Verdict::Bad(error.as_str()),
        };
        let expiry = token.expiry().saturating_add(self.spec.leeway.as_secs());
        let entry = Entry {
            identity: Arc::new(claims::identity(token.claims())),
            rules: token.check_rules(&self.spec),
            until: expiry.min(now + limits::TOKEN_CACHED_SECONDS),
            spec: self.spec.clone(),
            keys: keys.clone(),
        };
        let verdict = verdict(&entry);
        cache.put(text.into(), entry);
        verdict
    }

    /// The token of a request; more than one is refused, because the endpoint might take the other.
    fn token<'r>(&'r self, request: &RequestCtx<'r>) -> Result<Option<&'r [u8]>, &'static str> {
        let view = request.view;
        let (name, is_bearer) = match &self.spec.token {
            TokenPlace::Bearer => ("authorization", true),
            TokenPlace::Header(name) => (&**name, false),
            TokenPlace::Cookie(name) => {
                let mut tokens = view.cookies(name);
                return match (tokens.next(), tokens.next()) {
                    (token, None) => Ok(token),
                    _ => Err("the request has more than one token"),
                };
            }
        };
        let mut found = None;
        for field in view.fields(name) {
            let token = if is_bearer { bearer(field) } else { Some(field) };
            if let Some(token) = token
                && found.replace(token).is_some()
            {
                return Err("the request has more than one token");
            }
        }
        Ok(found)
    }

    pub(crate) fn admit(&self, identity: &SharedIdentity, request: &mut RequestCtx<'_>) {
        for field in &self.spec.claims {
            if let Some(claim) = identity.claim(&field.claim) {
                super::assert_field(request, &field.header, claim);
            }
        }
        if !self.spec.forward {
            match &self.spec.token {
                TokenPlace::Bearer => request.remove("authorization"),
                TokenPlace::Header(name) => request.remove(name),
                // A cookie stays: the endpoint's own stand in the same field.
                TokenPlace::Cookie(_) => {}
            }
        }
    }

    pub(crate) fn asserted(&self) -> impl Iterator<Item = &Arc<str>> {
        self.spec.claims.iter().map(|field| &field.header)
    }
}

fn verdict(entry: &Entry) -> Verdict {
    match entry.rules {
        Ok(()) => Verdict::Good(entry.identity.clone()),
        Err(error) => Verdict::Forbidden(error.as_str()),
    }
}

/// The token of a value of `Authorization` (RFC 6750 §2.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
