//! Response side: facts of a response head.

use ringway_model::Timestamp;

use crate::control::{Directive, Directives, parse_age, parse_http_date};
use crate::fields::FieldSource;
use crate::settings::Settings;
use crate::vary::Vary;

/// Facts of a response head, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseFacts {
    /// The status.
    pub status: u16,
    /// Directives that apply to this cache: of the first valid field of `targets`, else of `Cache-Control`.
    pub directives: Directives,
    /// Field that they are of.
    pub control: Control,
    /// `Date`, in seconds since the epoch; `None` if absent or invalid.
    pub date: Option<i64>,
    /// `Expires`; absent for a response with a field of `targets` (RFC 9213 §2.2).
    pub expires: Expires,
    /// `Age` in seconds; 0 if absent or invalid.
    pub age: u32,
    /// `Last-Modified`, in seconds since the epoch; `None` if absent or invalid.
    pub last_modified: Option<i64>,
    /// Whether there is an `ETag` that is not empty.
    pub has_etag: bool,
    /// Whether there is a `Set-Cookie`.
    pub has_set_cookie: bool,
    /// Whether `Surrogate-Control` has `no-store`, as origins of other reverse proxies say it.
    pub forbids_surrogates: bool,
    /// `Vary`.
    pub vary: Vary,
    /// `Content-Length`, if it is a number.
    pub content_length: Option<u64>,
}

/// Field that the directives of a response are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// `Cache-Control`, present or not.
    #[default]
    CacheControl,
    /// A field that targets this cache: its place in `targets`.
    Targeted(usize),
}

/// `Expires` of a response (RFC 9111 §5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expires {
    /// Not sent.
    #[default]
    Absent,
    /// No date, or sent twice: already expired.
    Invalid,
    /// Seconds since the epoch.
    At(i64),
}

impl ResponseFacts {
    /// Reads the head as it was received.
    ///
    /// Cost: some walks over the fields; allocates for the names of `Vary`.
    pub fn read<'a>(
        settings: &Settings,
        status: u16,
        source: impl FieldSource<'a>,
        received_at: Timestamp,
    ) -> Self {
        let targeted = settings
            .targets
            .iter()
            .enumerate()
            .find_map(|(index, name)| Some((index, Directives::parse_targeted(source.values(name))?)));
        let (control, directives) = match targeted {
            Some((index, directives)) => (Control::Targeted(index), directives),
            None => (Control::CacheControl, Directives::parse(source.values("cache-control"))),
        };
        let mut expires = source.values("expires");
        let expires = match (&control, expires.next(), expires.next()) {
            (Control::Targeted(_), ..) | (_, None, _) => Expires::Absent,
            (_, Some(value), None) => {
                parse_http_date(value, received_at).map_or(Expires::Invalid, Expires::At)
            }
            (_, Some(_), Some(_)) => Expires::Invalid,
        };
        let single_date = |name: &str| {
            let mut values = source.values(name);
            let value = values.next()?;
            values.next().is_none().then(|| parse_http_date(value, received_at))?
        };
        Self {
            status,
            directives,
            control,
            date: single_date("date"),
            expires,
            age: parse_age(source.values("age")).unwrap_or(0),
            last_modified: single_date("last-modified"),
            has_etag: source.values("etag").next().is_some_and(|tag| !tag.is_empty()),
            has_set_cookie: source.values("set-cookie").next().is_some(),
            forbids_surrogates: Directives::parse(source.values("surrogate-control")).has(Directive::NoStore),
            vary: Vary::parse(source.values("vary")),
            content_length: source
                .values("content-length")
                .next()
                .and_then(|value| std::str::from_utf8(value).ok()?.parse().ok()),
        }
    }

    /// Returns whether a directive applies.
    pub fn has(&self, directive: Directive) -> bool {
        self.directives.has(directive)
    }

    /// Returns whether the origin can be asked whether the response is still valid.
    pub fn has_validator(&self) -> bool {
        self.has_etag || self.last_modified.is_some()
    }

    /// Name of the field that the directives are of.
    pub(crate) fn control_name<'a>(&self, settings: &'a Settings) -> &'a str {
        match self.control {
            Control::CacheControl => "cache-control",
            Control::Targeted(index) => settings.targets.get(index).map_or("cache-control", |name| name),
        }
    }
}
