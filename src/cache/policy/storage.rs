//! Storing: whether a response may be stored (RFC 9111 §3), and its stored head.

use ringway_model::{CacheMode, SetCookiePolicy, Timestamp};
use ringway_wire::headers::{FieldKind, HOP_BY_HOP, list_elements};
use ringway_wire::message::Method;

use super::freshness::{Freshness, LifetimeSource, seconds_of};
use super::request::RequestFacts;
use super::response::ResponseFacts;
use crate::control::{Directive, is_named_by_no_cache};
use crate::fields::FieldSource;
use crate::settings::Settings;
use crate::stored_head::StoredHead;
use crate::tags::read_tags;
use crate::vary::Vary;

/// Times of an exchange with the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Moment at which the request was sent.
    pub asked_at: Timestamp,
    /// Moment at which the response head arrived.
    pub received_at: Timestamp,
}

/// Reason for which a response is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotStored {
    /// The request was none that fills the cache: its method, `Range`, or `no-store`.
    Request,
    /// Interim, partial, 304, or 416: no complete response.
    Incomplete,
    /// A status that the settings do not list, and that has no lifetime of its own in the mode `rfc9111`.
    Status,
    /// `must-understand` with a status of unknown meaning.
    NotUnderstood,
    /// `no-store`
    NoStore,
    /// `private`
    Private,
    /// `Set-Cookie`
    SetCookie,
    /// The request had `Authorization`, and the response does not say that it is for others, too.
    Authorization,
    /// `Vary: *`
    VaryAnything,
    /// `Vary` with too many names.
    VaryUnusable,
    /// No time of use: neither a lifetime nor a validator.
    NoLifetime,
    /// Content without an end, without a lifetime of its own.
    Endless,
    /// Stored for requests without `Cookie`, which this one has.
    Cookie,
    /// Longer than the route's `max_object`.
    TooLarge,
}

impl NotStored {
    /// Name for logs, metrics and `Cache-Status`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Incomplete => "incomplete",
            Self::Status => "status",
            Self::NotUnderstood => "must-understand",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::Authorization => "authorization",
            Self::VaryAnything => "vary-any",
            Self::VaryUnusable => "vary-too-many",
            Self::NoLifetime => "no-lifetime",
            Self::Endless => "endless",
            Self::Cookie => "cookie",
            Self::TooLarge => "too-large",
        }
    }
}

/// Response with what decides about storing it beside its facts.
#[derive(Clone, Copy, Debug)]
pub struct ResponseSource<'a> {
    /// Path and query as sent to the origin.
    pub path: &'a [u8],
    content_type: Option<&'a [u8]>,
    /// Whether `Content-Location` names the target of the request.
    is_own_location: bool,
}

impl<'a> ResponseSource<'a> {
    /// Returns the source of a response to a request for `path`.
    pub fn new(path: &'a [u8], response: impl FieldSource<'a>) -> Self {
        let mut locations = response.values("content-location");
        let is_own_location = locations.next() == Some(path) && locations.next().is_none();
        Self { path, content_type: response.values("content-type").next(), is_own_location }
    }

    pub(super) fn content_type(&self) -> Option<&'a [u8]> {
        self.content_type
    }

    /// Whether the type is one of streams, whose content has no end or is one of a call.
    fn is_endless(&self) -> bool {
        let value = self.content_type.unwrap_or_default();
        let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let begins = |known: &str| {
            kind.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known.as_bytes()))
        };
        ENDLESS.iter().any(|known| kind.eq_ignore_ascii_case(known.as_bytes())) || begins("application/grpc")
    }
}

/// Types of streams, beside those of gRPC.
const ENDLESS: [&str; 2] = ["text/event-stream", "multipart/x-mixed-replace"];

/// Statuses whose requirements this cache fulfils (RFC 9111 §5.2.2.3).
const UNDERSTOOD: [u16; 22] = [
    200, 203, 204, 300, 301, 302, 303, 307, 308, 400, 401, 403, 404, 405, 410, 414, 451, 500, 501, 502, 503,
    504,
];

/// Decides whether the response to a request that [may fill](super::Access::ReadWrite) the cache is stored.
/// After a question of the cache's own, `request` is the client's
/// [without conditions](RequestFacts::without_conditions).
/// In the mode `rfc9111`, also the response to a POST that names its own target in `Content-Location`, which
/// later GET requests get (RFC 9110 §9.3.3).
///
/// # Errors
/// The reason not to.
pub fn storable(
    settings: &Settings,
    request: &RequestFacts,
    response: &ResponseFacts,
    source: &ResponseSource<'_>,
    times: Times,
) -> Result<Freshness, NotStored> {
    let is_post = request.method == Method::Post;
    let may_fill = match request.method {
        Method::Get => !request.is_ranged() && !request.directives.has(Directive::NoStore),
        Method::Post => {
            settings.mode == CacheMode::Rfc9111
                && response.status == 200
                && source.is_own_location
                && !request.directives.has(Directive::NoStore)
        }
        _ => false,
    };
    if !may_fill {
        return Err(NotStored::Request);
    }
    let status = response.status;
    if status < 200 || [206, 304, 416].contains(&status) {
        return Err(NotStored::Incomplete);
    }
    if response.has(Directive::MustUnderstand) {
        // `no-store` is for caches that do not know this directive.
        if !UNDERSTOOD.contains(&status) {
            return Err(NotStored::NotUnderstood);
        }
    } else if response.has(Directive::NoStore) || response.forbids_surrogates {
        return Err(NotStored::NoStore);
    }
    if response.has(Directive::Private) {
        return Err(NotStored::Private);
    }
    if response.has_set_cookie && settings.set_cookies == SetCookiePolicy::Bypass {
        return Err(NotStored::SetCookie);
    }
    match response.vary {
        Vary::Anything => return Err(NotStored::VaryAnything),
        Vary::Unusable => return Err(NotStored::VaryUnusable),
        Vary::Nothing | Vary::Names(_) => {}
    }
    let is_keyed =
        settings.is_auth_aware && settings.vary_headers.iter().any(|name| **name == *"authorization");
    if request.has_authorization() && !is_keyed && !is_for_others(settings, response) {
        return Err(NotStored::Authorization);
    }
    let freshness = Freshness::of(settings, request, response, source, times);
    if is_post && freshness.source != LifetimeSource::Explicit {
        return Err(NotStored::NoLifetime);
    }
    if freshness.source != LifetimeSource::Explicit && source.is_endless() {
        return Err(NotStored::Endless);
    }
    let is_status_allowed = settings.statuses.contains(&status)
        || (settings.mode == CacheMode::Rfc9111
            && matches!(freshness.source, LifetimeSource::Explicit | LifetimeSource::Heuristic));
    if !is_status_allowed {
        return Err(NotStored::Status);
    }
    if !is_of_use(settings, response, freshness) {
        return Err(NotStored::NoLifetime);
    }
    if response.content_length.is_some_and(|length| length > settings.object_bytes_max) {
        return Err(NotStored::TooLarge);
    }
    Ok(freshness)
}

/// Directives with which a response to a request with `Authorization` may be shared (RFC 9111 §3.5).
fn is_for_others(settings: &Settings, response: &ResponseFacts) -> bool {
    settings.mode == CacheMode::Rfc9111
        && (response.has(Directive::Public)
            || response.has(Directive::MustRevalidate)
            || response.directives.s_maxage.is_some())
}

/// Returns whether a stored response could ever be used: fresh, past its lifetime, or confirmed by the
/// origin.
fn is_of_use(settings: &Settings, response: &ResponseFacts, freshness: Freshness) -> bool {
    let needs_confirmation = must_confirm(settings, response, freshness);
    if response.has_validator() {
        // A response without any lifetime is kept only if it is a usual one.
        return freshness.source != LifetimeSource::Unknown || response.status == 200 || needs_confirmation;
    }
    let windows = StaleWindows::of(settings, response, freshness);
    let longest = windows.while_revalidate.max(windows.if_error).max(windows.on_disconnect);
    let is_ever_served = freshness.initial_age < freshness.lifetime.saturating_add(longest);
    !needs_confirmation && is_ever_served
}

/// Returns whether each use needs a confirmation. A configured lifetime that comes before the headers comes
/// before `no-cache`, too.
fn must_confirm(settings: &Settings, response: &ResponseFacts, freshness: Freshness) -> bool {
    let is_overridden = !settings.respects_headers && freshness.source == LifetimeSource::Configured;
    response.has(Directive::NoCache) && !is_overridden
}

/// Seconds past the lifetime during which a response is served.
struct StaleWindows {
    while_revalidate: u32,
    if_error: u32,
    on_disconnect: u32,
    is_forbidden: bool,
}

impl StaleWindows {
    fn of(settings: &Settings, response: &ResponseFacts, freshness: Freshness) -> Self {
        let directives = &response.directives;
        let is_strict = must_confirm(settings, response, freshness)
            || response.has(Directive::MustRevalidate)
            || response.has(Directive::ProxyRevalidate);
        if is_strict {
            return Self { while_revalidate: 0, if_error: 0, on_disconnect: 0, is_forbidden: true };
        }
        // A response without a lifetime may be personal: only its own word lets others see it.
        let has_defaults = directives.s_maxage.is_none() && freshness.lifetime > 0;
        let default = |seconds: u32| if has_defaults { seconds } else { 0 };
        Self {
            while_revalidate: directives
                .stale_while_revalidate
                .unwrap_or(default(settings.stale_while_revalidate)),
            if_error: directives.stale_if_error.unwrap_or(default(settings.stale_if_error)),
            on_disconnect: default(settings.stale_on_disconnect),
            is_forbidden: directives.s_maxage.is_some(),
        }
    }
}

/// Makes the stored head of a response that is [`storable`]. `request` are the fields that were sent to the
/// origin, `reason` the reason phrase. Allocates the head.
pub fn store<'a, 'b>(
    settings: &Settings,
    request: impl FieldSource<'a>,
    response: &ResponseFacts,
    source: impl FieldSource<'b>,
    reason: &[u8],
    freshness: Freshness,
    times: Times,
) -> StoredHead {
    let mut text = Vec::with_capacity(512);
    text.extend_from_slice(response.status.to_string().as_bytes());
    text.push(b' ');
    // A reason is at most a line of a head, which has a limit; a longer one is cut.
    text.extend_from_slice(&reason[..reason.len().min(REASON_BYTES_MAX)]);
    text.extend_from_slice(b"\r\n");
    let lines_start = u16::try_from(text.len()).unwrap_or(u16::MAX);

    let (mut etag, mut last_modified, mut has_date) = (0..0, 0..0, false);
    for (name, value) in source.lines() {
        let is_dropped = is_never_stored(name)
            || is_nominated(source, name)
            || is_personal(settings, response, source, name);
        if is_dropped {
            continue;
        }
        text.extend_from_slice(name);
        text.extend_from_slice(b": ");
        let start = text.len();
        text.extend_from_slice(value);
        let span = || u32::try_from(start).unwrap_or(0)..u32::try_from(start + value.len()).unwrap_or(0);
        if name.eq_ignore_ascii_case(b"etag") && etag.is_empty() {
            etag = span();
        } else if name.eq_ignore_ascii_case(b"last-modified") && response.last_modified.is_some() {
            last_modified = span();
        } else if name.eq_ignore_ascii_case(b"date") {
            has_date = true;
        }
        text.extend_from_slice(b"\r\n");
    }
    if !has_date {
        // RFC 9110 §6.6.1: a recipient with a clock adds the time of receipt.
        text.extend_from_slice(format!("Date: {}\r\n", times.received_at.to_http_date()).as_bytes());
    }
    let windows = StaleWindows::of(settings, response, freshness);
    StoredHead {
        text: text.into(),
        lines_start,
        status: response.status,
        must_confirm: must_confirm(settings, response, freshness),
        forbids_stale: windows.is_forbidden,
        is_anonymous: settings.mode == CacheMode::Safe
            && freshness.source == LifetimeSource::Configured
            && !settings.vary_headers.iter().any(|name| **name == *"cookie"),
        lifetime: freshness.lifetime,
        initial_age: freshness.initial_age,
        received_at: times.received_at,
        stale_while_revalidate: windows.while_revalidate,
        stale_if_error: windows.if_error,
        stale_on_disconnect: windows.on_disconnect,
        etag,
        last_modified,
        last_modified_at: response.last_modified,
        date_at: response.date.unwrap_or(seconds_of(times.received_at)),
        selecting: selecting_lines(&response.vary, request),
        tags: read_tags(source),
    }
}

/// Appends the field lines of a response that are for the client of its request only: those that [`store`]
/// leaves out because others must not get them.
pub fn write_personal_fields<'a>(
    out: &mut Vec<u8>,
    settings: &Settings,
    response: &ResponseFacts,
    source: impl FieldSource<'a>,
) {
    if !response.has_set_cookie && !response.has(Directive::NoCacheFields) {
        return;
    }
    for (name, value) in source.lines() {
        let is_for_client = is_personal(settings, response, source, name)
            && !is_never_stored(name)
            && !is_nominated(source, name);
        if is_for_client {
            for part in [name, b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
    }
}

/// Returns whether a field is for the client of the request only: a cookie, or one that `no-cache` lists
/// (RFC 9111 §5.2.2.4).
fn is_personal<'b>(
    settings: &Settings,
    response: &ResponseFacts,
    source: impl FieldSource<'b>,
    name: &[u8],
) -> bool {
    (settings.set_cookies != SetCookiePolicy::Store && name.eq_ignore_ascii_case(b"set-cookie"))
        || (response.has(Directive::NoCacheFields)
            && is_named_by_no_cache(source.values(response.control_name(settings)), name))
}

/// Bytes of a stored reason phrase: every registered one is shorter, and its place has 16 bits.
const REASON_BYTES_MAX: usize = 256;

/// Fields that belong to one connection or one exchange, and those that this cache writes itself. The order
/// of a stored body is fixed, so that trailers are not kept, nor announced.
fn is_never_stored(name: &[u8]) -> bool {
    let kind = FieldKind::of(name);
    HOP_BY_HOP.has(kind)
        || kind == FieldKind::Trailer
        || name.eq_ignore_ascii_case(b"age")
        || name.eq_ignore_ascii_case(b"x-cache-status")
}

/// Returns whether `Connection` lists the field (RFC 9110 §7.6.1).
fn is_nominated<'b>(source: impl FieldSource<'b>, name: &[u8]) -> bool {
    source.values("connection").flat_map(list_elements).any(|option| option.eq_ignore_ascii_case(name))
}

/// Lines of the request fields that `Vary` lists.
fn selecting_lines<'a>(vary: &Vary, request: impl FieldSource<'a>) -> Box<[u8]> {
    let Vary::Names(names) = vary else { return [].into() };
    let mut lines = Vec::new();
    for (name, value) in request.lines() {
        if names.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
            for part in [name, b": ", value, b"\r\n"] {
                lines.extend_from_slice(part);
            }
        }
    }
    lines.into()
}
