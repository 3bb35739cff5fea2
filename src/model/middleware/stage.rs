//! Stages of a chain, as configured.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::auth::AuthStage;
use super::template::Template;
use crate::serde_text::duration;
use crate::{Cidr, FailMode, PluginId, PolicyId};

/// Stage of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "config", rename_all = "snake_case")]
pub enum StageSpec {
    /// Sends the request's id to the client.
    RequestId(RequestIdStage),
    /// Decides about the lines of the access log.
    AccessLog(AccessLogStage),
    /// Continues the trace of the client, or begins one.
    Tracing(TracingStage),
    /// Adds, replaces and removes header fields.
    HeaderTransform(HeaderTransform),
    /// Admits pages of other origins.
    Cors(Cors),
    /// Adds header fields that protect browsers.
    SecurityHeaders(SecurityHeaders),
    /// Admits authenticated requests only.
    Auth(AuthStage),
    /// Admits and refuses client addresses.
    IpAcl(IpAcl),
    /// Counts requests against the rate limit of a policy.
    RateLimit(RateLimitRef),
    /// Redirects requests for a path.
    Redirect(PathRedirect),
    /// Changes the path before the request is forwarded.
    Rewrite(RewriteStage),
    /// Redirects requests for other hosts to one host.
    CanonicalHost(CanonicalHost),
    /// Answers all requests with 503.
    Maintenance(Maintenance),
    /// Limits the size of request bodies.
    BodyLimit(BodyLimit),
    /// Compresses responses.
    Compress(Compress),
    /// Runs a plugin.
    Plugin(PluginRef),
    /// Runs the hooks of a script.
    Lua(LuaStage),
    /// Replaces the content of errors.
    ErrorPages(ErrorPages),
}

impl StageSpec {
    /// The policy that it counts requests against.
    pub fn policy(&self) -> Option<&PolicyId> {
        match self {
            Self::RateLimit(limit) => Some(&limit.policy_ref),
            _ => None,
        }
    }

    /// The name of its type in documents.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::RequestId(_) => "request_id",
            Self::AccessLog(_) => "access_log",
            Self::Tracing(_) => "tracing",
            Self::HeaderTransform(_) => "header_transform",
            Self::Cors(_) => "cors",
            Self::SecurityHeaders(_) => "security_headers",
            Self::Auth(_) => "auth",
            Self::IpAcl(_) => "ip_acl",
            Self::RateLimit(_) => "rate_limit",
            Self::Redirect(_) => "redirect",
            Self::Rewrite(_) => "rewrite",
            Self::CanonicalHost(_) => "canonical_host",
            Self::Maintenance(_) => "maintenance",
            Self::BodyLimit(_) => "body_limit",
            Self::Compress(_) => "compress",
            Self::Plugin(_) => "plugin",
            Self::Lua(_) => "lua",
            Self::ErrorPages(_) => "error_pages",
        }
    }
}

/// Settings of the stage `lua`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LuaStage {
    /// Id of the script.
    pub script: Arc<str>,
    /// Treatment of requests when a hook fails.
    pub fail_mode: FailMode,
    /// Fields that its hooks set: those of a client are removed.
    pub asserts: Box<[Arc<str>]>,
}

/// Settings of the stage `request_id`. Endpoints get the id in any case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestIdStage {
    /// Field of the response that contains it.
    pub header: Arc<str>,
}

/// Settings of the stage `access_log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLogStage {
    /// Whether requests are logged.
    pub enabled: bool,
}

/// Settings of the stage `tracing`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracingStage {
    /// Whether a client's `traceparent` is continued; else each request begins a trace.
    pub trust_client: bool,
}

/// Settings of the stage `header_transform`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderTransform {
    /// Changes of the forwarded request.
    #[serde(flatten)]
    pub request: HeaderEdits,
    /// Changes of the response, also of local replies.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub response: HeaderEdits,
}

/// Changes of a head: first removals, then replacements, then additions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderEdits {
    /// Fields that are added to those of the same name.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty", with = "fields")]
    pub add: Box<[(Arc<str>, Template)]>,
    /// Fields that replace those of the same name.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty", with = "fields")]
    pub set: Box<[(Arc<str>, Template)]>,
    /// Names of fields that are removed.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub remove: Box<[Arc<str>]>,
}

impl HeaderEdits {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.set.is_empty() && self.remove.is_empty()
    }
}

/// Settings of the stage `cors` (Fetch standard).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cors {
    /// Origins, `*` for all, or `https://*.example.com` for one label.
    pub allow_origins: Box<[Arc<str>]>,
    /// Methods of preflights.
    pub allow_methods: Box<[Arc<str>]>,
    /// Fields of preflights; empty: those that are asked for.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub allow_headers: Box<[Arc<str>]>,
    /// Fields of responses that pages may read.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub expose_headers: Box<[Arc<str>]>,
    /// Whether cookies and credentials are admitted.
    pub allow_credentials: bool,
    /// Time that a preflight holds.
    #[serde(with = "duration")]
    pub max_age: Duration,
}

/// Settings of the stage `security_headers`: fields that are added where the response has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecurityHeaders {
    /// `Strict-Transport-Security`, over TLS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hsts: Option<Hsts>,
    /// `X-Content-Type-Options: nosniff`.
    pub nosniff: bool,
    /// `X-Frame-Options`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_options: Option<FrameOptions>,
    /// `Content-Security-Policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_security_policy: Option<Arc<str>>,
    /// `Referrer-Policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub referrer_policy: Option<Arc<str>>,
    /// `Permissions-Policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions_policy: Option<Arc<str>>,
}

/// `Strict-Transport-Security` (RFC 6797).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hsts {
    /// Time that browsers keep it.
    #[serde(with = "duration")]
    pub max_age: Duration,
    /// Whether it holds for all names below.
    #[serde(default)]
    pub include_subdomains: bool,
    /// Whether browsers may list it.
    #[serde(default)]
    pub preload: bool,
}

/// `X-Frame-Options` (RFC 7034).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameOptions {
    /// `DENY`.
    Deny,
    /// `SAMEORIGIN`.
    Sameorigin,
}

/// Settings of the stage `ip_acl`: denied networks first; then, where there are admitted ones, no others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IpAcl {
    /// Networks that are admitted; all when empty.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub allow: Box<[Cidr]>,
    /// Networks that are refused.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub deny: Box<[Cidr]>,
}

/// Settings of the stage `rate_limit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitRef {
    /// The policy with the limit; counted here instead of before the stages.
    pub policy_ref: PolicyId,
}

/// Settings of the stage `redirect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathRedirect {
    /// The path, or with a final `/*` all paths below.
    pub from: Arc<str>,
    /// An absolute URL, or a path on the same host; a final `*` stands for the rest of the path.
    pub to: Arc<str>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// Settings of the stage `rewrite`: at most one of them for a route, instead of the route's own change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewriteStage {
    /// Removes a prefix, by whole segments.
    StripPrefix(Arc<str>),
    /// Adds a prefix.
    AddPrefix(Arc<str>),
    /// Replaces the whole path.
    ReplacePath(Arc<str>),
}

/// Settings of the stage `canonical_host`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanonicalHost {
    /// The host.
    pub host: Arc<str>,
    /// 301, 302, 307 or 308.
    pub status: u16,
}

/// Settings of the stage `maintenance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maintenance {
    /// Time after which clients may come again.
    #[serde(with = "duration")]
    pub retry_after: Duration,
    /// Page, in HTML; at most 16 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<Arc<str>>,
    /// Clients that are served all the same.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub bypass: Box<[Cidr]>,
}

/// Settings of the stage `body_limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BodyLimit {
    /// Bytes of a request body.
    pub size: u64,
}

/// Settings of the stage `compress`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compress {
    /// Content codings, best first among those that the client likes equally; at least one, none twice.
    pub codings: Box<[Coding]>,
    /// Level of gzip, from 1 to 9.
    pub gzip_level: u8,
    /// Bytes below which a response of known length is left alone.
    pub min_bytes: u64,
    /// Media types that are compressed: `text/html`, or `text/*` for all of one type; in lower case, at least
    /// one.
    pub types: Box<[Arc<str>]>,
}

/// Content coding (RFC 9110 §8.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coding {
    /// Zstandard (RFC 8878).
    Zstd,
    /// Brotli (RFC 7932).
    Br,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// All codings, best first.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Br, Self::Gzip];

    /// Its name in `Content-Encoding` and in documents.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }
}

impl Default for Compress {
    fn default() -> Self {
        let types = [
            "text/*",
            "application/json",
            "application/*+json",
            "application/javascript",
            "application/xml",
            "application/*+xml",
            "image/svg+xml",
        ];
        Self {
            codings: Coding::ALL.into(),
            gzip_level: 5,
            min_bytes: 1024,
            types: types.map(Arc::from).into(),
        }
    }
}

/// Settings of the stage `plugin`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginRef {
    /// The plugin.
    #[serde(rename = "ref")]
    pub plugin: PluginId,
}

/// Settings of the stage `error_pages`: content of local errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorPages {
    /// Pages, the most specific first.
    pub pages: Box<[ErrorPage]>,
}

/// Page of errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorPage {
    /// The statuses: `503`, `5xx`, `400-499`.
    pub statuses: Arc<str>,
    /// Media type.
    pub content_type: Arc<str>,
    /// Content, at most 16 KiB; `${request_id}` and `${status}` are replaced.
    pub body: Arc<str>,
}

impl ErrorPage {
    /// Parses its statuses: `503`, `5xx` and `400-499`, separated by commas. `None` for others than 400 to
    /// 599.
    pub fn ranges(&self) -> Option<Vec<RangeInclusive<u16>>> {
        let range = |part: &str| {
            let part = part.trim();
            let (first, last) = match (part.split_once('-'), part.strip_suffix("xx")) {
                (Some((first, last)), _) => (first.trim().parse().ok()?, last.trim().parse().ok()?),
                (None, Some(class)) => {
                    let first = class.parse::<u16>().ok()?.checked_mul(100)?;
                    (first, first + 99)
                }
                (None, None) => (part.parse().ok()?, part.parse().ok()?),
            };
            (400 <= first && first <= last && last <= 599).then_some(first..=last)
        };
        self.statuses.split(',').map(range).collect()
    }
}

/// Fields as an object, in their order.
mod fields {
    use std::sync::Arc;

    use serde::de::{MapAccess, Visitor};
    use serde::{Deserializer, Serializer};

    use crate::Template;

    type Fields = Box<[(Arc<str>, Template)]>;

    pub(super) fn serialize<S: Serializer>(fields: &Fields, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Fields, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Fields;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of header fields")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    fields.push(entry);
                }
                Ok(fields.into())
            }
        }

        deserializer.deserialize_map(Entries)
    }
}
