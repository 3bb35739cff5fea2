//! Request side: facts of a request head, and whether it may use the cache.

use ringway_model::{CacheMode, Timestamp};
use ringway_wire::message::Method;

use crate::control::{Directive, Directives, RangeRequest, parse_http_date};
use crate::fields::FieldSource;
use crate::settings::Settings;

/// Facts of a request that its head alone does not show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestTraits {
    /// Whether a body follows the head, even an empty chunked one.
    pub has_body: bool,
    /// Whether it asks for another protocol (`Upgrade`, CONNECT).
    pub upgrades: bool,
    /// Whether the origin is sent the client's certificate.
    pub passes_certificate: bool,
    /// Whether a trusted proxy names another host in `X-Forwarded-Host`, which the origin is sent.
    pub names_other_host: bool,
}

/// Facts of a request head, read once. `Copy`, without a borrow: valid after the head's buffer was reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestFacts {
    /// The method.
    pub method: Method,
    /// Directives of `Cache-Control`; `Pragma: no-cache` without that field is `no-cache` (RFC 9111 §5.4).
    pub directives: Directives,
    /// `Range`.
    pub range: RangeRequest,
    /// `If-Modified-Since`, in seconds since the epoch; `None` if absent, invalid or sent twice.
    pub if_modified_since: Option<i64>,
    traits: RequestTraits,
    fields: Fields,
    asks_for_no_cache: bool,
}

/// Fields that are present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fields {
    authorization: bool,
    cookie: bool,
    if_none_match: bool,
    if_modified_since: bool,
    if_range: bool,
    range: bool,
    upgrade: bool,
    /// `If-Match` or `If-Unmodified-Since`
    precondition: bool,
    method_override: bool,
    url_override: bool,
}

/// Use of the cache that a request may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Looks up; the response to a miss may be stored.
    ReadWrite,
    /// Looks up; the response to a miss is passed on only: HEAD, `Range`, `no-store`.
    Read,
}

/// Reason for which a request neither reads nor writes the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bypass {
    /// A method other than GET and HEAD.
    Method,
    /// A body: origins may answer by it, and it is no part of the key.
    Body,
    /// `Authorization`, where the settings are not aware of it.
    Authorization,
    /// Another protocol is asked for.
    Upgrade,
    /// `If-Match` or `If-Unmodified-Since`, which only the origin can decide.
    Precondition,
    /// The origin is sent the client's certificate.
    Certificate,
    /// A field that some origins take for the method.
    MethodOverride,
    /// A field that some origins take for the target.
    UrlOverride,
    /// A trusted proxy names another host than the one of the key.
    HostOverride,
    /// Target and varying fields exceed the size of a key.
    KeyTooLong,
}

impl Bypass {
    /// Name for logs, metrics and `Cache-Status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Body => "body",
            Self::Authorization => "authorization",
            Self::Upgrade => "upgrade",
            Self::Precondition => "precondition",
            Self::Certificate => "certificate",
            Self::MethodOverride => "method-override",
            Self::UrlOverride => "url-override",
            Self::HostOverride => "host-override",
            Self::KeyTooLong => "key-too-long",
        }
    }
}

impl RequestFacts {
    /// Reads the head as it is sent to the origin, before conditions of the cache are added.
    ///
    /// Cost: one walk over the fields; no allocation.
    pub fn read<'a>(
        method: Method,
        traits: RequestTraits,
        source: impl FieldSource<'a>,
        now: Timestamp,
    ) -> Self {
        let mut facts = Self {
            method,
            directives: Directives::default(),
            range: RangeRequest::None,
            if_modified_since: None,
            traits,
            fields: Fields::default(),
            asks_for_no_cache: false,
        };
        let mut has_pragma = false;
        for (name, value) in source.lines() {
            let fields = &mut facts.fields;
            match RequestField::of(name) {
                None => {}
                Some(RequestField::CacheControl) => facts.directives.add_line(value),
                Some(RequestField::Pragma) => {
                    has_pragma |=
                        crate::control::elements(value).any(|one| one.eq_ignore_ascii_case(b"no-cache"));
                }
                Some(RequestField::Range) => {
                    // Two lines are no valid field: the whole body is a correct answer.
                    facts.range =
                        if fields.range { RangeRequest::Several } else { RangeRequest::parse(value) };
                    fields.range = true;
                }
                Some(RequestField::IfModifiedSince) => {
                    let date = parse_http_date(value, now);
                    facts.if_modified_since = if fields.if_modified_since { None } else { date };
                    fields.if_modified_since = true;
                }
                Some(RequestField::Authorization) => fields.authorization = true,
                Some(RequestField::Cookie) => fields.cookie = true,
                Some(RequestField::IfNoneMatch) => fields.if_none_match = true,
                Some(RequestField::IfRange) => fields.if_range = true,
                Some(RequestField::Upgrade) => fields.upgrade = true,
                Some(RequestField::Precondition) => fields.precondition = true,
                Some(RequestField::MethodOverride) => fields.method_override = true,
                Some(RequestField::UrlOverride) => fields.url_override = true,
            }
        }
        facts.asks_for_no_cache = facts.directives.has(Directive::NoCache)
            || facts.directives.has(Directive::NoCacheFields)
            || (has_pragma && !facts.directives.is_present);
        facts
    }

    /// Facts of a refresh for this request: a GET of the whole response, without conditions and credentials.
    pub fn of_refresh(&self) -> Self {
        Self {
            method: Method::Get,
            directives: Directives::default(),
            range: RangeRequest::None,
            if_modified_since: None,
            traits: self.traits,
            fields: Fields::default(),
            asks_for_no_cache: false,
        }
    }

    /// Decides whether the request may use the cache.
    ///
    /// # Errors
    /// The reason to bypass it.
    pub fn access(&self, settings: &Settings) -> Result<Access, Bypass> {
        if !matches!(self.method, Method::Get | Method::Head) {
            return Err(Bypass::Method);
        }
        let fields = self.fields;
        let bypasses = [
            (self.traits.has_body, Bypass::Body),
            (self.traits.upgrades || fields.upgrade, Bypass::Upgrade),
            (self.traits.passes_certificate, Bypass::Certificate),
            (fields.precondition, Bypass::Precondition),
            (fields.method_override, Bypass::MethodOverride),
            (fields.url_override, Bypass::UrlOverride),
            (self.traits.names_other_host, Bypass::HostOverride),
            (fields.authorization && !self.may_authorize(settings), Bypass::Authorization),
        ];
        if let Some((_, bypass)) = bypasses.into_iter().find(|(applies, _)| *applies) {
            return Err(bypass);
        }
        let only_reads =
            self.method == Method::Head || fields.range || self.directives.has(Directive::NoStore);
        Ok(if only_reads { Access::Read } else { Access::ReadWrite })
    }

    /// Returns whether the response to a POST may be stored for later GET requests (RFC 9110 §9.3.3), as far
    /// as its request decides.
    pub fn may_fill_by_post(&self, settings: &Settings) -> bool {
        let fields = self.fields;
        self.method == Method::Post
            && settings.mode == CacheMode::Rfc9111
            && !(self.traits.upgrades || self.traits.passes_certificate || self.traits.names_other_host)
            && !(fields.upgrade || fields.precondition || fields.method_override || fields.url_override)
    }

    /// Returns whether requests with `Authorization` use the cache at all.
    fn may_authorize(&self, settings: &Settings) -> bool {
        settings.is_auth_aware || settings.mode == CacheMode::Rfc9111
    }

    /// Returns whether `Authorization` is present.
    pub fn has_authorization(&self) -> bool {
        self.fields.authorization
    }

    /// Returns whether `Cookie` is present.
    pub fn has_cookie(&self) -> bool {
        self.fields.cookie
    }

    /// Returns whether `If-None-Match` is present.
    pub fn has_if_none_match(&self) -> bool {
        self.fields.if_none_match
    }

    /// Returns whether `If-Range` is present.
    pub fn has_if_range(&self) -> bool {
        self.fields.if_range
    }

    /// Returns whether the response depends on a condition or a range of this client: it may be a 304 or 206
    /// that is of no use to others.
    pub fn is_conditional(&self) -> bool {
        let fields = self.fields;
        fields.if_none_match
            || fields.if_modified_since
            || fields.if_range
            || fields.range
            || fields.precondition
    }

    /// Facts of the request that the cache itself sends about a stored response: a GET without the client's
    /// conditions and range. Its answers are stored and evaluated for all clients.
    #[must_use]
    pub fn without_conditions(mut self) -> Self {
        self.method = Method::Get;
        self.range = RangeRequest::None;
        self.if_modified_since = None;
        let fields = &mut self.fields;
        fields.if_none_match = false;
        fields.if_modified_since = false;
        fields.if_range = false;
        fields.range = false;
        fields.precondition = false;
        self
    }

    /// Returns whether `Range` is present, valid or not.
    pub fn is_ranged(&self) -> bool {
        self.fields.range
    }

    /// Returns whether the client asks that the origin confirms the response: `no-cache`, or `Pragma`.
    pub fn asks_for_no_cache(&self) -> bool {
        self.asks_for_no_cache
    }
}

/// Field that decides about a request.
enum RequestField {
    CacheControl,
    Pragma,
    Range,
    IfModifiedSince,
    IfNoneMatch,
    IfRange,
    Authorization,
    Cookie,
    Upgrade,
    Precondition,
    MethodOverride,
    UrlOverride,
}

impl RequestField {
    /// Classifies a name in any case. Overrides are found with `_` for `-`, too: many origins read both
    /// alike.
    fn of(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let resembles = |known: &str| {
            name.iter()
                .zip(known.bytes())
                .all(|(byte, known)| byte.eq_ignore_ascii_case(&known) || (*byte == b'_' && known == b'-'))
        };
        Some(match name.len() {
            5 if is("range") => Self::Range,
            6 if is("cookie") => Self::Cookie,
            6 if is("pragma") => Self::Pragma,
            7 if is("upgrade") => Self::Upgrade,
            8 if is("if-match") => Self::Precondition,
            8 if is("if-range") => Self::IfRange,
            13 if is("authorization") => Self::Authorization,
            13 if is("cache-control") => Self::CacheControl,
            13 if is("if-none-match") => Self::IfNoneMatch,
            13 if resembles("x-http-method") => Self::MethodOverride,
            13 if resembles("x-rewrite-url") => Self::UrlOverride,
            14 if resembles("x-original-url") => Self::UrlOverride,
            17 if is("if-modified-since") => Self::IfModifiedSince,
            17 if resembles("x-method-override") => Self::MethodOverride,
            19 if is("if-unmodified-since") => Self::Precondition,
            22 if resembles("x-http-method-override") => Self::MethodOverride,
            _ => return None,
        })
    }
}
