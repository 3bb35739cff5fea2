//! Method `jwt`: tokens of an identity provider.

use std::sync::Arc;

use ringway_model::{ClaimField, CredentialSource, JwtAuth, JwtKeys, TokenPlace};

use super::reason::Reason;
use super::token::Token;
use super::token_cache::Entry;
use super::{Verdict, claims};
use crate::credentials::{Credentials, KnownCredentials};
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
            // Junk, and tokens of other issuers, need no keys to be refused.
            None => match self.check(token, request.services.now()) {
                Ok(_) => Verdict::Waits,
                Err(error) => refused(error),
            },
            Some(keys) => self.verify(token, keys, request),
        }
    }

    /// Loads keys, newer ones for a token with an unknown key, and judges again.
    pub(crate) async fn judge_waiting(&self, request: &RequestCtx<'_>) -> Verdict {
        let Ok(Some(token)) = self.token(request) else { return Verdict::Absent };
        let mut known = KnownCredentials(request.services.credentials(&self.source).cloned());
        loop {
            let Some(keys) = request.services.refresh(&self.source).await else {
                return Verdict::Unavailable(Reason::NoTokenKeys);
            };
            match self.verify(token, &keys, request) {
                Verdict::Waits => {}
                verdict => return verdict,
            }
            // Newer keys may have been on their way already, and older than the token: one more load may have
            // its key.
            let newest = KnownCredentials(Some(keys));
            if newest == known {
                return Verdict::Bad(Reason::UnknownKey);
            }
            known = newest;
        }
    }

    /// Checks what needs no keys.
    fn check<'t>(&self, text: &'t [u8], now: u64) -> Result<Token<'t>, Reason> {
        let token = Token::parse(text)?;
        token.check_claims(&self.spec, now)?;
        Ok(token)
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
        let Credentials::Keys(set) = &**keys else { return Verdict::Unavailable(Reason::NoTokenKeys) };
        let token = self.check(text, now).and_then(|token| token.verify(set).map(|()| token));
        let token = match token {
            Ok(token) => token,
            Err(error) => return refused(error),
        };
        let expiry = token.expiry().saturating_add(self.spec.leeway.as_secs());
        let entry = Entry {
            identity: Arc::new(claims::identity(token.claims(), &self.spec.claims)),
            rules: token.check_rules(&self.spec),
            until: expiry.min(now + limits::TOKEN_CACHED_SECONDS),
            spec: self.spec.clone(),
            keys: keys.clone(),
        };
        let verdict = verdict(&entry);
        cache.put(text, entry);
        verdict
    }

    /// The token of a request; more than one is refused, because the endpoint might take the other.
    pub(crate) fn token<'r>(&'r self, request: &RequestCtx<'r>) -> Result<Option<&'r [u8]>, Reason> {
        let view = request.view;
        let (first, second) = match &self.spec.token {
            TokenPlace::Bearer => {
                return Ok(super::authorization(view)?
                    .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER))
                    .map(|(_, token)| token));
            }
            TokenPlace::Header(name) => two(view.fields(name)),
            TokenPlace::Cookie(name) => two(view.cookies(name)),
        };
        match second {
            None => Ok(first),
            Some(_) => Err(Reason::SeveralTokens),
        }
    }

    /// Place of its tokens.
    pub(crate) fn place(&self) -> &TokenPlace {
        &self.spec.token
    }

    /// Claims that the endpoint gets.
    pub(crate) fn claim_fields(&self) -> &[ClaimField] {
        &self.spec.claims
    }

    /// Cookie with the token.
    pub(crate) fn cookie(&self) -> Option<&str> {
        match &self.spec.token {
            TokenPlace::Cookie(name) => Some(name),
            TokenPlace::Bearer | TokenPlace::Header(_) => None,
        }
    }

    /// Whether the endpoint gets the token.
    pub(crate) fn is_forwarded(&self) -> bool {
        self.spec.forward
    }

    /// Removes a token that was not verified. One in a field of its own is an asserted field.
    pub(crate) fn remove_credentials(&self, request: &mut RequestCtx<'_>) {
        if self.spec.token == TokenPlace::Bearer {
            super::remove_authorization(request, BEARER);
        }
    }

    pub(crate) fn admit(&self, identity: &SharedIdentity, request: &mut RequestCtx<'_>) {
        for field in &self.spec.claims {
            if let Some(claim) = identity.claim(&field.claim) {
                super::assert_field(request, &field.header, claim);
            }
        }
        match &self.spec.token {
            TokenPlace::Bearer if !self.spec.forward => request.remove("authorization"),
            // The client's fields of this name are removed in all spellings; this one was verified.
            TokenPlace::Header(name) if self.spec.forward => {
                let token = self.token(request).ok().flatten().map(<[u8]>::to_vec);
                // A received value can stand in a head.
                let _ = token.map(|token| request.set(name, &token));
            }
            TokenPlace::Bearer | TokenPlace::Header(_) | TokenPlace::Cookie(_) => {}
        }
    }

    pub(crate) fn asserted(&self) -> impl Iterator<Item = &Arc<str>> {
        let own = match &self.spec.token {
            TokenPlace::Header(name) => Some(name),
            TokenPlace::Bearer | TokenPlace::Cookie(_) => None,
        };
        self.spec.claims.iter().map(|field| &field.header).chain(own)
    }
}

fn refused(error: Reason) -> Verdict {
    match error {
        Reason::UnknownKey => Verdict::Waits,
        Reason::Issuer => Verdict::Foreign(error),
        _ => Verdict::Bad(error),
    }
}

fn verdict(entry: &Entry) -> Verdict {
    match entry.rules {
        Ok(()) => Verdict::Good(entry.identity.clone()),
        Err(error) => Verdict::Forbidden(error),
    }
}

/// Scheme of tokens (RFC 6750 §2.1).
const BEARER: &[u8] = b"bearer";

/// The first two values.
fn two<'v>(mut values: impl Iterator<Item = &'v [u8]>) -> (Option<&'v [u8]>, Option<&'v [u8]>) {
    (values.next(), values.next())
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
