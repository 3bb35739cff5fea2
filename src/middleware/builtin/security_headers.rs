//! `security_headers`: fields that protect browsers, where the response has none of the name.

use ringway_model::{FrameOptions, SecurityHeaders as Spec};

use crate::response::ResponseCtx;

/// The stage.
#[derive(Debug)]
pub(crate) struct SecurityHeaders(Box<[Field]>);

/// Name and value, and whether it is for https only.
type Field = (&'static str, Box<[u8]>, bool);

impl SecurityHeaders {
    pub(crate) fn new(spec: &Spec) -> Self {
        let mut fields: Vec<Field> = Vec::new();
        let mut add = |name, value: &str, needs_tls| fields.push((name, value.as_bytes().into(), needs_tls));
        if let Some(hsts) = &spec.hsts {
            let mut value = format!("max-age={}", hsts.max_age.as_secs());
            if hsts.include_subdomains {
                value.push_str("; includeSubDomains");
            }
            if hsts.preload {
                value.push_str("; preload");
            }
            // RFC 6797 §7.2: not over plain http.
            add("Strict-Transport-Security", &value, true);
        }
        if spec.nosniff {
            add("X-Content-Type-Options", "nosniff", false);
        }
        match spec.frame_options {
            Some(FrameOptions::Deny) => add("X-Frame-Options", "DENY", false),
            Some(FrameOptions::Sameorigin) => add("X-Frame-Options", "SAMEORIGIN", false),
            None => {}
        }
        for (name, value) in [
            ("Content-Security-Policy", &spec.content_security_policy),
            ("Referrer-Policy", &spec.referrer_policy),
            ("Permissions-Policy", &spec.permissions_policy),
        ] {
            if let Some(value) = value {
                add(name, value, false);
            }
        }
        Self(fields.into())
    }

    pub(crate) fn on_response(&self, response: &mut ResponseCtx<'_>) {
        let is_secure = response.request.parts.is_secure;
        for (name, value, needs_tls) in &self.0 {
            let is_due = is_secure || !needs_tls;
            if is_due && !response.has(name) {
                // Values were checked with the document.
                let _ = response.append(name, value);
            }
        }
    }
}

#[cfg(test)]
#[path = "security_headers_tests.rs"]
mod tests;
