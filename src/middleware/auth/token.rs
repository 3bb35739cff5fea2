//! Tokens: JWS in compact form (RFC 7515 §7.1) with claims (RFC 7519 §4).

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ringway_model::JwtAuth;
use serde_json::Value;

use super::claims;
use super::json;
use super::keys::{Algorithm, KeySet};
use super::reason::Reason;
use crate::limits;

/// Parsed token, not verified.
#[derive(Debug)]
pub(crate) struct Token<'t> {
    /// The part that is signed.
    signed: &'t [u8],
    signature: Vec<u8>,
    algorithm: Algorithm,
    key_id: Option<Box<str>>,
    claims: Value,
}

impl<'t> Token<'t> {
    /// Parses a token. Costs no cryptography.
    ///
    /// # Errors
    /// `Malformed` or `Header`.
    pub(crate) fn parse(text: &'t [u8]) -> Result<Self, Reason> {
        if text.len() > limits::TOKEN_BYTES_MAX {
            return Err(Reason::Malformed);
        }
        let end = text.iter().rposition(|byte| *byte == b'.').ok_or(Reason::Malformed)?;
        let (signed, signature) = (&text[..end], decode(&text[end + 1..])?);
        let dot = signed.iter().position(|byte| *byte == b'.').ok_or(Reason::Malformed)?;
        let header = json::parse(&decode(&signed[..dot])?).ok_or(Reason::Malformed)?;
        // A third dot is no character of base64: a token with five parts is refused here.
        let claims = json::parse(&decode(&signed[dot + 1..])?).ok_or(Reason::Malformed)?;
        let header = header.as_object().ok_or(Reason::Malformed)?;
        if !claims.is_object() {
            return Err(Reason::Malformed);
        }
        // Keys in the token prove nothing, and extensions that must be understood are not.
        let is_foreign =
            |name: &String| matches!(&**name, "jwk" | "jku" | "x5u" | "x5c" | "crit" | "b64" | "enc" | "zip");
        if header.keys().any(is_foreign) {
            return Err(Reason::Header);
        }
        let text_of = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(&**text)),
            Some(_) => Err(Reason::Malformed),
        };
        if let Some(kind) = text_of("typ")? {
            let kind = kind.to_ascii_lowercase();
            if !matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt") {
                return Err(Reason::Header);
            }
        }
        let algorithm = text_of("alg")?.and_then(Algorithm::parse).ok_or(Reason::Header)?;
        let key_id = text_of("kid")?.map(Into::into);
        Ok(Self { signed, signature, algorithm, key_id, claims })
    }

    /// Checks issuer, audience and times, which costs no cryptography: so that junk costs none.
    ///
    /// # Errors
    /// The first claim that is wrong; issuer, audience and expiry are required.
    pub(crate) fn check_claims(&self, spec: &JwtAuth, now: u64) -> Result<(), Reason> {
        let issuer = self.claims.get("iss").and_then(Value::as_str);
        if issuer != Some(&*spec.issuer) {
            return Err(Reason::Issuer);
        }
        let is_ours = |audience: &Value| {
            audience.as_str().is_some_and(|audience| spec.audience.iter().any(|ours| **ours == *audience))
        };
        let is_for_us = match self.claims.get("aud") {
            Some(Value::Array(audiences)) => audiences.iter().any(is_ours),
            Some(audience) => is_ours(audience),
            None => false,
        };
        if !is_for_us {
            return Err(Reason::Audience);
        }
        let leeway = spec.leeway.as_secs();
        match self.time("exp")? {
            Some(expiry) if now < expiry.saturating_add(leeway) => {}
            _ => return Err(Reason::Expired),
        }
        for name in ["nbf", "iat"] {
            if self.time(name)?.is_some_and(|from| from > now.saturating_add(leeway)) {
                return Err(Reason::NotYetValid);
            }
        }
        Ok(())
    }

    /// Verifies the signature with the keys of the issuer.
    ///
    /// # Errors
    /// `UnknownKey` where a newer set may have the key, which a token without an id may always need; `Header`
    /// for another algorithm than its key's, or `Signature`.
    pub(crate) fn verify(&self, keys: &KeySet) -> Result<(), Reason> {
        let id = self.key_id.as_deref();
        if let Some(id) = id
            && !keys.has(id)
        {
            return Err(Reason::UnknownKey);
        }
        let mut candidates = keys.candidates(id, self.algorithm).peekable();
        if candidates.peek().is_none() {
            return Err(Reason::Header);
        }
        let mut tried = candidates.take(limits::KEYS_TRIED_MAX);
        match tried.any(|key| key.verifies(self.signed, &self.signature)) {
            true => Ok(()),
            false if id.is_none() => Err(Reason::UnknownKey),
            false => Err(Reason::Signature),
        }
    }

    /// Checks the further claims that the route needs; the token is verified.
    ///
    /// # Errors
    /// `Claim`.
    pub(crate) fn check_rules(&self, spec: &JwtAuth) -> Result<(), Reason> {
        let is_met = |rule: &ringway_model::ClaimRule| {
            claims::find(&self.claims, &rule.claim).is_some_and(|claim| claims::has(claim, &rule.values))
        };
        if spec.require.iter().all(is_met) { Ok(()) } else { Err(Reason::Claim) }
    }

    /// All claims.
    pub(crate) fn claims(&self) -> &Value {
        &self.claims
    }

    /// Time of expiry, in seconds since 1970.
    pub(crate) fn expiry(&self) -> u64 {
        self.time("exp").ok().flatten().unwrap_or(0)
    }

    /// A claim that is a time: a number, maybe with a fraction (RFC 7519 §2).
    fn time(&self, name: &str) -> Result<Option<u64>, Reason> {
        match self.claims.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) => {
                let seconds = number.as_u64().or_else(|| {
                    let seconds = number.as_f64()?;
                    (0.0..=TIME_MAX).contains(&seconds).then_some(seconds as u64)
                });
                seconds.filter(|seconds| *seconds as f64 <= TIME_MAX).map(Some).ok_or(Reason::Malformed)
            }
            Some(_) => Err(Reason::Malformed),
        }
    }
}

/// Latest time: the year 9999.
const TIME_MAX: f64 = 253_402_300_799.0;

fn decode(part: &[u8]) -> Result<Vec<u8>, Reason> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::Malformed)
}
