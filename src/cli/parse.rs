//! Parsers of setting values; each error describes the accepted form.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ringway::{HttpMode, NoPseudonym, PublicHealthError, Via};
use ringway_model::{Cidr, Target, limits};
use ringway_net::DriverChoice;
use ringway_telemetry::{LogFieldsError, LogFormat};
use tracing_subscriber::filter::Targets;

use super::resolver::ResolverUrlError;

/// Invalid value, described by the accepted form. Never repeats the text, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ValueError {
    /// Not a port number.
    Port,
    /// Not a list of IP addresses.
    Addresses,
    /// Not a list of networks; position of the invalid one, from 1.
    Network(usize, ringway_model::CidrError),
    /// Not a time.
    Time,
    /// A time outside of its bounds.
    TimeRange(Duration, Duration),
    /// Not a number of bytes.
    Bytes,
    /// A number of bytes outside of its bounds.
    BytesRange(u64, u64),
    /// Not a whole number within these bounds.
    Count(usize, usize),
    /// Not a destination of a log.
    Output,
    /// Not a list of fields of the access log.
    LogFields(LogFieldsError),
    /// Not one of these words.
    Word(&'static [&'static str]),
    /// Not an `https` URL.
    Url,
    /// Not an e-mail address.
    Email,
    /// Not an address with a port.
    SocketAddress,
    /// Not an address and a port to listen on.
    ListenAddress,
    /// Not the URL of a backend.
    Backend,
    /// Not a URL for a webhook.
    Webhook(ringway_model::WebhookUrlError),
    /// Not the URL of a resolver.
    ResolverUrl(ResolverUrlError),
    /// Not a name for `Via`.
    Via(NoPseudonym),
    /// Not a list of health endpoints.
    PublicHealth(PublicHealthError),
    /// Not the secret of a webhook.
    Secret,
    /// Not a filter of log levels.
    Levels,
    /// Empty.
    Empty,
    /// Not text in UTF-8.
    Unicode,
}

/// Destination of log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
    File(PathBuf),
}

/// Kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    Fjall,
    Memory,
}

/// Behaviour of a start with a configuration that has mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnBadConfig {
    /// The start fails.
    Fail,
    /// The last configuration that was applied is used.
    LastGood,
}

impl fmt::Display for OnBadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fail => "fail",
            Self::LastGood => "last_good",
        })
    }
}

pub(crate) fn port(text: &str) -> Result<u16, ValueError> {
    // `parse` alone would take a plus sign.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(ValueError::Port)
}

pub(crate) fn addresses(text: &str) -> Result<Vec<IpAddr>, ValueError> {
    let mut found = Vec::new();
    for item in text.split(',') {
        let item = item.trim();
        let item = item.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(item);
        let address: IpAddr = match item {
            "localhost" => IpAddr::from([127, 0, 0, 1]),
            _ => item.parse().map_err(|_| ValueError::Addresses)?,
        };
        if !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}

/// Parses `host:port`; without a host, as in `:8080`, all addresses of both families.
pub(crate) fn listen_addresses(text: &str) -> Result<Vec<SocketAddr>, ValueError> {
    let (host, number) = text.trim().rsplit_once(':').ok_or(ValueError::ListenAddress)?;
    // An IPv6 address without brackets has colons of its own.
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err(ValueError::ListenAddress);
    }
    let number = port(number).map_err(|_| ValueError::ListenAddress)?;
    let hosts = if host.is_empty() { "::,0.0.0.0" } else { host };
    let hosts = addresses(hosts).map_err(|_| ValueError::ListenAddress)?;
    Ok(hosts.into_iter().map(|host| SocketAddr::new(host, number)).collect())
}

pub(crate) fn on_bad_config(text: &str) -> Result<OnBadConfig, ValueError> {
    match text {
        "fail" => Ok(OnBadConfig::Fail),
        "last_good" => Ok(OnBadConfig::LastGood),
        _ => Err(ValueError::Word(&["fail", "last_good"])),
    }
}

pub(crate) fn networks(text: &str) -> Result<Vec<Cidr>, ValueError> {
    let items = text.split(',').map(str::trim).enumerate().filter(|(_, item)| !item.is_empty());
    items.map(|(at, item)| item.parse().map_err(|error| ValueError::Network(at + 1, error))).collect()
}

/// Parses `10s`, `500ms`, `1m 30s`; a bare number is seconds.
pub(crate) fn time(text: &str, least: Duration, most: Duration) -> Result<Duration, ValueError> {
    let text = text.trim();
    let time = match text.parse::<u64>() {
        Ok(seconds) if !text.starts_with('+') => Duration::from_secs(seconds),
        _ => humantime::parse_duration(text).map_err(|_| ValueError::Time)?,
    };
    if time < least || time > most { Err(ValueError::TimeRange(least, most)) } else { Ok(time) }
}

/// Parses `1048576`, `1MiB`, `1MB`, `64k`; suffixes without `i` are powers of 1000. Zero is no limit.
pub(crate) fn bytes_max(text: &str) -> Result<Option<u64>, ValueError> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let count: u64 = text[..digits].parse().map_err(|_| ValueError::Bytes)?;
    let suffix = text[digits..].trim().to_ascii_lowercase();
    let unit: u64 = match suffix.as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        _ => return Err(ValueError::Bytes),
    };
    let bytes = count.checked_mul(unit).ok_or(ValueError::Bytes)?;
    Ok((bytes > 0).then_some(bytes))
}

/// Parses a number of bytes within bounds.
pub(crate) fn bytes(text: &str, least: u64, most: u64) -> Result<usize, ValueError> {
    let bytes = bytes_max(text)?.unwrap_or(0);
    match usize::try_from(bytes) {
        Ok(count) if (least..=most).contains(&bytes) => Ok(count),
        _ => Err(ValueError::BytesRange(least, most)),
    }
}

/// Parses the URL of a backend.
pub(crate) fn backend(text: &str) -> Result<Target, ValueError> {
    Target::parse(text).map_err(|_| ValueError::Backend)
}

pub(crate) fn count(text: &str, least: usize, most: usize) -> Result<usize, ValueError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let count = text.parse().ok().filter(|count| digits && (least..=most).contains(count));
    count.ok_or(ValueError::Count(least, most))
}

pub(crate) fn http_mode(text: &str) -> Result<HttpMode, ValueError> {
    match text {
        "plain" => Ok(HttpMode::Plain),
        "redirect" => Ok(HttpMode::Redirect),
        "https_only" => Ok(HttpMode::HttpsOnly),
        _ => Err(ValueError::Word(&["redirect", "https_only", "plain"])),
    }
}

/// Name of a mode, as [`http_mode`] parses it.
pub(crate) fn http_mode_word(mode: &HttpMode) -> &'static str {
    match mode {
        HttpMode::Redirect => "redirect",
        HttpMode::HttpsOnly => "https_only",
        HttpMode::Plain => "plain",
    }
}

/// Parses a port, or `off`.
pub(crate) fn https_port(text: &str) -> Result<Option<u16>, ValueError> {
    match text {
        _ if text.eq_ignore_ascii_case("off") => Ok(None),
        _ => port(text).map(Some),
    }
}

/// Parses an `https` URL. The part after the host is not checked.
pub(crate) fn url(text: &str) -> Result<String, ValueError> {
    let host = text.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap_or_default();
    let is_clean = text.bytes().all(|byte| byte.is_ascii_graphic()) && !host.contains('@');
    if host.is_empty() || !is_clean { Err(ValueError::Url) } else { Ok(text.to_owned()) }
}

/// Parses an e-mail address that can be a contact at a CA.
pub(crate) fn email(text: &str) -> Result<String, ValueError> {
    let text = text.trim();
    let is_one = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
        && text
            .split_once('@')
            .is_some_and(|(name, host)| !name.is_empty() && host.contains('.') && !host.contains('@'));
    if is_one { Ok(text.to_owned()) } else { Err(ValueError::Email) }
}

/// Parses a word without spaces.
pub(crate) fn word(text: &str) -> Result<String, ValueError> {
    let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_one { Ok(text.to_owned()) } else { Err(ValueError::Empty) }
}

/// Parses a DNS resolver's address; port 53 where none is given.
pub(crate) fn resolver(text: &str) -> Result<SocketAddr, ValueError> {
    let address = text.parse::<SocketAddr>();
    address
        .or_else(|_| text.parse::<IpAddr>().map(|ip| (ip, 53).into()))
        .map_err(|_| ValueError::SocketAddress)
}

pub(crate) fn storage(text: &str) -> Result<Storage, ValueError> {
    match text {
        "fjall" => Ok(Storage::Fjall),
        "memory" => Ok(Storage::Memory),
        _ => Err(ValueError::Word(&["fjall", "memory"])),
    }
}

pub(crate) fn driver(text: &str) -> Result<DriverChoice, ValueError> {
    text.parse().map_err(|_| ValueError::Word(&["auto", "io_uring", "epoll"]))
}

pub(crate) fn unavailable_status(text: &str) -> Result<u16, ValueError> {
    match text {
        "502" => Ok(502),
        "503" => Ok(503),
        _ => Err(ValueError::Word(&["502", "503"])),
    }
}

/// Parses the name for `Via`; `off` in any case is none.
pub(crate) fn via(text: &str) -> Result<Option<Via>, ValueError> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    Via::named(text).map(Some).map_err(ValueError::Via)
}

pub(crate) fn log_format(text: &str) -> Result<LogFormat, ValueError> {
    match text {
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err(ValueError::Word(&["json", "text"])),
    }
}

/// Parses the destination of a log; `None` is no log. The path of a file has a `/` or a `.`, which keeps
/// misspelt words from becoming files.
pub(crate) fn output(text: &str) -> Result<Option<Output>, ValueError> {
    match text {
        "" => Err(ValueError::Empty),
        "stdout" => Ok(Some(Output::Stdout)),
        "stderr" => Ok(Some(Output::Stderr)),
        path if path.contains(['/', '.']) => Ok(Some(Output::File(path.into()))),
        word => match boolean(word) {
            Ok(true) => Ok(Some(Output::Stderr)),
            Ok(false) => Ok(None),
            Err(_) => Err(ValueError::Output),
        },
    }
}

/// Name of an output, as [`output`] parses it.
pub(crate) fn output_word(output: &Option<Output>) -> String {
    output.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string)
}

/// Parses yes or no in the usual words.
pub(crate) fn boolean(text: &str) -> Result<bool, ValueError> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(ValueError::Word(&["true", "false"])),
    }
}

pub(crate) fn path(text: &str) -> Result<PathBuf, ValueError> {
    if text.is_empty() { Err(ValueError::Empty) } else { Ok(text.into()) }
}

/// Parses a path, or a word for no file.
pub(crate) fn path_or_off(text: &str) -> Result<Option<PathBuf>, ValueError> {
    match boolean(text) {
        Ok(false) => Ok(None),
        _ => path(text).map(Some),
    }
}

/// Parses a level for all modules, levels for single modules, or both.
pub(crate) fn levels(text: &str) -> Result<Targets, ValueError> {
    let is_level = |word: &str| {
        ["off", "error", "warn", "info", "debug", "trace"]
            .iter()
            .any(|level| word.eq_ignore_ascii_case(level))
    };
    let is_module = |word: &str| {
        !word.is_empty()
            && !is_level(word)
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte))
    };
    let mut everything = None;
    let mut parts = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        // `warning` is the name in other programs.
        let level = |word: &str| match word {
            word if word.eq_ignore_ascii_case("warning") => Ok(tracing::level_filters::LevelFilter::WARN),
            word if is_level(word) => word.parse().map_err(|_| ValueError::Levels),
            _ => Err(ValueError::Levels),
        };
        match item.split_once('=') {
            Some((part, word)) if is_module(part.trim()) => {
                parts.push((part.trim().to_owned(), level(word.trim())?));
            }
            Some(_) => return Err(ValueError::Levels),
            None if everything.is_some() => return Err(ValueError::Levels),
            None => everything = Some(level(item)?),
        }
    }
    if everything.is_none() && parts.is_empty() {
        return Err(ValueError::Levels);
    }
    let everything = everything.unwrap_or(tracing::level_filters::LevelFilter::INFO);
    Ok(Targets::new().with_default(everything).with_targets(parts))
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port => f.write_str("must be a port from 0 to 65535; 0 takes a free one"),
            Self::Addresses => {
                f.write_str("must be IP addresses with commas between them, as in ::,0.0.0.0 or 127.0.0.1")
            }
            Self::Network(at, error) => write!(f, "entry {at} {error}"),
            Self::Time => f.write_str("must be a time, as in 10s, 500ms or 1m; a bare number is seconds"),
            Self::TimeRange(least, most) => write!(
                f,
                "must be a time from {} to {}",
                humantime::format_duration(*least),
                humantime::format_duration(*most)
            ),
            Self::Bytes => {
                f.write_str("must be a number of bytes, as in 1048576, 500KB or 10MiB; 0 is no limit")
            }
            Self::BytesRange(least, most) => {
                write!(f, "must be a number of bytes from {least} to {most}, as in 16384 or 16KiB")
            }
            Self::Count(least, most) => write!(f, "must be a whole number from {least} to {most}"),
            Self::LogFields(error) => error.fmt(f),
            Self::Output => f.write_str(
                "must be stderr, stdout, on (stderr), off, or a file whose path has a / or a . in it, as in ./log",
            ),
            Self::Word(words) => write!(f, "must be {}", list(words)),
            Self::Url => f.write_str("must be an https URL, as in https://acme.example/directory"),
            Self::Email => f.write_str("must be an e-mail address, as in ops@example.com"),
            Self::SocketAddress => f.write_str("must be an address with a port, as in 127.0.0.1:53 or [::1]:53"),
            Self::ListenAddress => f.write_str(
                "must be an address with a port, as in :8080 (all addresses), 127.0.0.1:8080 or [::1]:8080",
            ),
            Self::Backend => f.write_str("must be http://HOST:PORT or https://HOST:PORT, without a path"),
            Self::Webhook(error) => error.fmt(f),
            Self::ResolverUrl(error) => error.fmt(f),
            Self::Via(error) => error.fmt(f),
            Self::PublicHealth(error) => error.fmt(f),
            Self::Secret => ringway_model::WebhookSecretError.fmt(f),
            Self::Levels => f.write_str(
                "must be error, warn, info, debug, trace or off, and levels of single modules, as in info,ringway_health=debug",
            ),
            Self::Empty => f.write_str("must not be empty"),
            Self::Unicode => f.write_str("must be text in UTF-8"),
        }
    }
}

/// `a`, `a or b`, `a, b or c`.
fn list(words: &[&str]) -> String {
    match words {
        [before @ .., last] if !before.is_empty() => format!("{} or {last}", before.join(", ")),
        _ => words.concat(),
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::Stderr => f.write_str("stderr"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Display for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fjall => "fjall",
            Self::Memory => "memory",
        })
    }
}

/// Longest time of a setting: beyond a day it is a mistake in the unit.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Shortest data-plane timeout: a busy machine needs as much to do anything at all.
pub(crate) const TIME_MIN: Duration = Duration::from_millis(10);
/// Longest time to connect to an instance.
pub(crate) const CONNECT_TIME_MAX: Duration = limits::CONNECT_TIMEOUT;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_are_plain_numbers() {
        assert_eq!(port("0"), Ok(0));
        assert_eq!(port("65535"), Ok(65535));
        for wrong in ["65536", "-1", "+80", "http", "", " 80", "80.0"] {
            assert_eq!(port(wrong), Err(ValueError::Port), "{wrong}");
        }
    }

    #[test]
    fn times_need_units_and_bounds() {
        let parse = |text| time(text, TIME_MIN, TIME_MAX);
        assert_eq!(parse("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("7"), Ok(Duration::from_secs(7)));
        assert_eq!(parse("10ms"), Ok(TIME_MIN));
        assert_eq!(parse("24h"), Ok(TIME_MAX));
        for outside in ["0", "9ms", "86401"] {
            assert_eq!(parse(outside), Err(ValueError::TimeRange(TIME_MIN, TIME_MAX)), "{outside}");
        }
        for wrong in ["-1s", "soon", "", "+5", "10 parsecs", "99999999999999999999s"] {
            assert_eq!(parse(wrong), Err(ValueError::Time), "{wrong}");
        }
    }

    #[test]
    fn bytes_accept_decimal_and_binary_units() {
        assert_eq!(bytes_max("0"), Ok(None));
        assert_eq!(bytes_max("1000"), Ok(Some(1000)));
        assert_eq!(bytes_max("10MiB"), Ok(Some(10 << 20)));
        assert_eq!(bytes_max("10 mb"), Ok(Some(10_000_000)));
        assert_eq!(bytes_max("2g"), Ok(Some(2_000_000_000)));
        for wrong in ["", "MB", "-1", "1.5MB", "1TBX", "18446744073709551615k", "١MB"] {
            assert_eq!(bytes_max(wrong), Err(ValueError::Bytes), "{wrong}");
        }
    }

    #[test]
    fn counts_have_bounds() {
        assert_eq!(count("1", 1, 256), Ok(1));
        assert_eq!(count("256", 1, 256), Ok(256));
        for wrong in ["0", "257", "", "two", "+2", "-1"] {
            assert_eq!(count(wrong, 1, 256), Err(ValueError::Count(1, 256)), "{wrong}");
        }
    }

    #[test]
    fn repeated_addresses_are_listed_once() {
        let found = addresses("::, 0.0.0.0,[::1],localhost,::").unwrap();
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["::", "0.0.0.0", "::1", "127.0.0.1"]
        );
        for wrong in ["", "example.com", "1.2.3", "0.0.0.0,", "0.0.0.0:80"] {
            assert_eq!(addresses(wrong), Err(ValueError::Addresses), "{wrong}");
        }
    }

    #[test]
    fn an_invalid_network_is_reported_by_its_position() {
        assert_eq!(networks("10.0.0.0/8, fd00::/8").unwrap().len(), 2);
        assert_eq!(networks("").unwrap().len(), 0);
        assert!(matches!(networks("10.0.0.0/8,10.0.0.0/33"), Err(ValueError::Network(2, _))));
    }

    #[test]
    fn levels_apply_to_all_modules_or_to_single_ones() {
        use tracing::Level;
        let filter = levels("warn,ringway_control=debug").unwrap();
        assert!(filter.would_enable("ringway_control::plane", &Level::DEBUG));
        assert!(!filter.would_enable("ringway_api", &Level::INFO));
        assert!(filter.would_enable("ringway_api", &Level::WARN));
        // All other modules keep the default level.
        let filter = levels("ringway_control=trace").unwrap();
        assert!(filter.would_enable("ringway_api", &Level::INFO));
        assert!(!filter.would_enable("ringway_api", &Level::DEBUG));
        assert!(levels("INFO").is_ok() && levels("warning").is_ok() && levels("off").is_ok());
        for wrong in ["", "loud", "info,debug", "ringway=loud", "=info", "a b=info", "info=debug"] {
            assert_eq!(levels(wrong).unwrap_err(), ValueError::Levels, "{wrong}");
        }
    }

    #[test]
    fn keywords_are_matched_exactly() {
        assert_eq!(http_mode("plain"), Ok(HttpMode::Plain));
        assert_eq!(http_mode("redirect"), Ok(HttpMode::Redirect));
        assert_eq!(http_mode("https_only"), Ok(HttpMode::HttpsOnly));
        assert_eq!((https_port("off"), https_port("0")), (Ok(None), Ok(Some(0))));
        assert_eq!(url("https://ca.example/directory").as_deref(), Ok("https://ca.example/directory"));
        assert_eq!(url("http://ca.example/directory"), Err(ValueError::Url));
        assert_eq!(url("https://"), Err(ValueError::Url));
        assert_eq!(email("ops@example.com").as_deref(), Ok("ops@example.com"));
        assert!(["ops", "@example.com", "ops@", "a b@c"].iter().all(|text| email(text).is_err()));
        assert_eq!(resolver("127.0.0.1"), Ok(([127, 0, 0, 1], 53).into()));
        assert_eq!(resolver("[::1]:5353"), Ok("[::1]:5353".parse().expect("an address")));
        assert!(resolver("dns.example:53").is_err());
        assert!(http_mode("sometimes").is_err());
        assert_eq!(unavailable_status("503"), Ok(503));
        assert!(unavailable_status("500").is_err());
        assert_eq!((https_port("OFF"), via("OFF").map(|via| via.is_none())), (Ok(None), Ok(true)));
        assert_eq!(storage("memory"), Ok(Storage::Memory));
        assert_eq!(
            ValueError::Word(&["auto", "io_uring", "epoll"]).to_string(),
            "must be auto, io_uring or epoll"
        );
    }

    #[test]
    fn outputs_are_keywords_or_paths() {
        for on in ["on", "ON", "true", "1", "yes", "stderr"] {
            assert_eq!(output(on), Ok(Some(Output::Stderr)), "{on}");
        }
        for off in ["off", "Off", "false", "0", "no"] {
            assert_eq!(output(off), Ok(None), "{off}");
        }
        assert_eq!(output("stdout"), Ok(Some(Output::Stdout)));
        for path in ["/var/log/x", "./on", "logs/on", "access.log"] {
            assert_eq!(output(path), Ok(Some(Output::File(path.into()))), "{path}");
        }
        for wrong in ["console", "json", "access", "enabled"] {
            assert_eq!(output(wrong), Err(ValueError::Output), "{wrong}");
        }
    }
}
