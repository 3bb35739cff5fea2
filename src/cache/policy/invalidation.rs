//! Invalidation by unsafe methods (RFC 9111 §4.4) and by groups (RFC 9875 §3).

use ringway_wire::message::Method;

use crate::fields::FieldSource;
use crate::tags::{read_groups, tag_hash};

/// Target of a request, against which locations are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestTarget<'a> {
    /// Scheme: https, or http.
    pub is_https: bool,
    /// Normalised host.
    pub host: &'a str,
    /// Port of the request, or the scheme's.
    pub port: u16,
    /// Path and query as sent to the origin.
    pub target: &'a str,
}

/// Entries that a response makes invalid: of the request's scope and host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invalidation {
    /// Targets: the request's own, and those of `Location` and `Content-Location` of the same origin.
    pub targets: Vec<String>,
    /// Hashes of groups, of [`tag_hash`].
    pub groups: Vec<u64>,
}

impl Invalidation {
    /// Returns the invalidation of a response, if it is one: of a method that is not known to be safe, with a
    /// status of 2xx or 3xx. Allocates; unsafe methods are rare beside reads.
    pub fn of<'a>(
        method: Method,
        status: u16,
        request: &RequestTarget<'_>,
        response: impl FieldSource<'a>,
    ) -> Option<Self> {
        if method.is_safe() || !(200..400).contains(&status) {
            return None;
        }
        let mut targets = vec![request.target.to_owned()];
        for name in ["location", "content-location"] {
            for value in response.values(name) {
                let target = std::str::from_utf8(value).ok().and_then(|value| request.resolve(value));
                if let Some(target) = target.filter(|target| !targets.contains(target)) {
                    targets.push(target);
                }
            }
        }
        let mut groups = Vec::new();
        read_groups(response.values("cache-group-invalidation"), |group| groups.push(tag_hash(group)));
        Some(Self { targets, groups })
    }
}

impl RequestTarget<'_> {
    /// Resolves a reference (RFC 3986 §5.2) to path and query; `None` for another origin, which must not be
    /// able to invalidate this one's entries.
    fn resolve(&self, reference: &str) -> Option<String> {
        let reference = reference.split('#').next().unwrap_or_default();
        let scheme = if self.is_https { "https:" } else { "http:" };
        let has_scheme = reference.split_once(':').is_some_and(|(name, _)| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        });
        let rest = if has_scheme {
            let (start, rest) = reference.split_at_checked(scheme.len())?;
            start.eq_ignore_ascii_case(scheme).then_some(rest)?
        } else {
            reference
        };
        if let Some(rest) = rest.strip_prefix("//") {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            let (authority, target) = rest.split_at(end);
            if !self.is_authority(authority) {
                return None;
            }
            return Some(if target.starts_with('/') { normal(target) } else { format!("/{target}") });
        }
        if has_scheme {
            return None;
        }
        let (own_path, _) = self.target.split_once('?').unwrap_or((self.target, ""));
        Some(match rest.as_bytes().first() {
            None => self.target.to_owned(),
            Some(b'/') => normal(rest),
            Some(b'?') => format!("{own_path}{rest}"),
            Some(_) => {
                let folder = &own_path[..=own_path.rfind('/')?];
                normal(&format!("{folder}{rest}"))
            }
        })
    }

    fn is_authority(&self, authority: &str) -> bool {
        let default = if self.is_https { 443 } else { 80 };
        let bracket = authority.rfind(']').unwrap_or(0);
        let (host, port) = match authority[bracket..].rfind(':') {
            Some(at) => (&authority[..bracket + at], authority[bracket + at + 1..].parse().ok()),
            None => (authority, Some(default)),
        };
        host.trim_end_matches('.').eq_ignore_ascii_case(self.host) && port == Some(self.port)
    }
}

/// Removes the dot segments of a path (RFC 3986 §5.2.4); the query stays as it is.
fn normal(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.split('/').skip(1) {
        ends_open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    if ends_open {
        segments.push("");
    }
    format!("/{}{query}", segments.join("/"))
}

#[cfg(test)]
#[path = "invalidation_tests.rs"]
mod tests;
