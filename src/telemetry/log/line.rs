//! Formatting of an exchange as an access-log line.

use std::io::Write;
use std::net::IpAddr;

use crate::limits;
use ringway_model::Timestamp;

use super::escape::{GROWTH, write_escaped};
use super::fields::LogFields;
use crate::event::{Compression, Exchange, FilterFailure};
use crate::request_id::hex;

/// Format of access-log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// One JSON object per line. Keys without a value are absent.
    #[default]
    Json,
    /// Human-readable: time, client, request, status, duration, then `key=value`.
    Text,
}

/// Returns the most bytes of one line: a block with this much room takes any line without reallocation.
pub(crate) const fn line_bytes_max(fields: LogFields) -> usize {
    let chosen = fields.query as usize + fields.referer as usize;
    LINE_BYTES_MAX + chosen * (CHOSEN_BYTES_MAX + GROWTH * limits::LOG_FIELD_BYTES_MAX)
}

/// Most bytes of a line without query and referer.
const LINE_BYTES_MAX: usize = FIXED_BYTES_MAX
    + GROWTH
        * (2 * limits::LOG_FIELD_BYTES_MAX
            + ringway_model::limits::HOST_BYTES_MAX
            + METHOD_BYTES_MAX
            + FAILURE_BYTES_MAX
            + ringway_model::limits::UPSTREAM_ERROR_BYTES_MAX
            + ringway_model::limits::REQUEST_ID_BYTES_MAX
            + 3 * ringway_model::limits::ID_BYTES_MAX
            + LIMITED_BY_BYTES_MAX);

/// Most bytes of a method: `wire` rejects longer ones, but the bound of a line must not depend on it.
const METHOD_BYTES_MAX: usize = 32;
/// Most bytes of the name of a policy that refused a request: the rest of a longer one is left out.
const LIMITED_BY_BYTES_MAX: usize = 72;
/// Most bytes of a failure code.
const FAILURE_BYTES_MAX: usize = 48;
/// Bytes of keys, punctuation, numbers, time and address.
const FIXED_BYTES_MAX: usize = 1_060;
/// Bytes of key and punctuation of a query or a referer.
const CHOSEN_BYTES_MAX: usize = 16;
const ALL_FIELDS: LogFields =
    LogFields { client_ip: true, user_agent: true, tenant: true, query: true, referer: true };
const _: () =
    assert!(line_bytes_max(ALL_FIELDS) * 2 < limits::LOG_BLOCK_BYTES, "a block must take several lines");

/// Appends a line with its line feed: at most [`line_bytes_max`] bytes.
pub(crate) fn write_line(
    out: &mut Vec<u8>,
    format: LogFormat,
    fields: LogFields,
    clock: &mut ClockText,
    event: &Exchange<'_>,
) {
    match format {
        LogFormat::Json => write_json(out, fields, clock, event),
        LogFormat::Text => write_text(out, fields, clock, event),
    }
}

fn write_json(out: &mut Vec<u8>, fields: LogFields, clock: &mut ClockText, event: &Exchange<'_>) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    clock.write(out, event.time);
    string(
        out,
        "\",\"request_id\":\"",
        event.request_id.as_bytes(),
        ringway_model::limits::REQUEST_ID_BYTES_MAX,
    );
    if fields.client_ip {
        out.extend_from_slice(b"\",\"client_ip\":\"");
        write_ip(out, event.client_ip);
    }
    string(out, "\",\"method\":\"", event.method, METHOD_BYTES_MAX);
    string(out, "\",\"host\":\"", event.host, ringway_model::limits::HOST_BYTES_MAX);
    string(out, "\",\"path\":\"", event.path, limits::LOG_FIELD_BYTES_MAX);
    out.extend_from_slice(b"\",\"protocol\":\"");
    out.extend_from_slice(event.protocol.as_str().as_bytes());
    number(out, "\",\"status\":", u64::from(event.status));
    out.extend_from_slice(b",\"duration_ms\":");
    write_millis(out, event.duration_us);
    if let Some(upstream_us) = event.upstream_us {
        out.extend_from_slice(b",\"upstream_ms\":");
        write_millis(out, upstream_us);
    }
    number(out, ",\"bytes_in\":", event.bytes_in);
    number(out, ",\"bytes_out\":", event.bytes_out);
    number(out, ",\"attempts\":", u64::from(event.attempts));
    if event.retries() > 0 {
        number(out, ",\"retries\":", u64::from(event.retries()));
    }
    if event.is_hedged() {
        out.extend_from_slice(b",\"is_hedged\":true");
    }
    if let Some(queue_us) = event.queue_us {
        out.extend_from_slice(b",\"queue_ms\":");
        write_millis(out, queue_us);
    }
    if event.stages_us > 0 {
        out.extend_from_slice(b",\"middleware_ms\":");
        write_millis(out, event.stages_us);
    }
    if let Some(used) = event.cache {
        out.extend_from_slice(b",\"cache\":\"");
        out.extend_from_slice(used.status.as_bytes());
        out.extend_from_slice(if used.is_hit() {
            b"\",\"cache_hit\":true"
        } else {
            b"\",\"cache_hit\":false"
        });
    }
    for (key, value, bytes_max) in optional_strings(fields, event) {
        if let Some(value) = value {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(key.as_bytes());
            string(out, "\":\"", value, bytes_max);
            out.push(b'"');
        }
    }
    if let Some(tenant) = event.tenant.filter(|_| fields.tenant) {
        out.extend_from_slice(b",\"tenant\":\"");
        out.extend_from_slice(&hex(tenant.0));
        out.push(b'"');
    }
    out.extend_from_slice(b"}\n");
}

fn write_text(out: &mut Vec<u8>, fields: LogFields, clock: &mut ClockText, event: &Exchange<'_>) {
    clock.write(out, event.time);
    out.push(b' ');
    match fields.client_ip {
        true => write_ip(out, event.client_ip),
        false => out.push(b'-'),
    }
    string(out, " \"", event.method, METHOD_BYTES_MAX);
    string(out, " ", event.host, ringway_model::limits::HOST_BYTES_MAX);
    string(out, "", event.path, limits::LOG_FIELD_BYTES_MAX);
    out.push(b' ');
    out.extend_from_slice(event.protocol.as_str().as_bytes());
    number(out, "\" ", u64::from(event.status));
    out.push(b' ');
    write_millis(out, event.duration_us);
    out.extend_from_slice(b"ms");
    string(out, " request_id=\"", event.request_id.as_bytes(), ringway_model::limits::REQUEST_ID_BYTES_MAX);
    out.push(b'"');
    if let Some(upstream_us) = event.upstream_us {
        out.extend_from_slice(b" upstream_ms=");
        write_millis(out, upstream_us);
    }
    number(out, " bytes_in=", event.bytes_in);
    number(out, " bytes_out=", event.bytes_out);
    number(out, " attempts=", u64::from(event.attempts));
    if event.retries() > 0 {
        number(out, " retries=", u64::from(event.retries()));
    }
    if event.is_hedged() {
        out.extend_from_slice(b" is_hedged=true");
    }
    if let Some(queue_us) = event.queue_us {
        out.extend_from_slice(b" queue_ms=");
        write_millis(out, queue_us);
    }
    if event.stages_us > 0 {
        out.extend_from_slice(b" middleware_ms=");
        write_millis(out, event.stages_us);
    }
    if let Some(used) = event.cache {
        out.extend_from_slice(b" cache=");
        out.extend_from_slice(used.status.as_bytes());
        out.extend_from_slice(if used.is_hit() { b" cache_hit=true" } else { b" cache_hit=false" });
    }
    for (key, value, bytes_max) in optional_strings(fields, event) {
        if let Some(value) = value {
            out.push(b' ');
            out.extend_from_slice(key.as_bytes());
            string(out, "=\"", value, bytes_max);
            out.push(b'"');
        }
    }
    if let Some(tenant) = event.tenant.filter(|_| fields.tenant) {
        out.extend_from_slice(b" tenant=");
        out.extend_from_slice(&hex(tenant.0));
    }
    out.push(b'\n');
}

/// Returns the optional strings of an exchange, with their keys and most bytes.
fn optional_strings<'a>(
    fields: LogFields,
    event: &Exchange<'a>,
) -> [(&'static str, Option<&'a [u8]>, usize); 18] {
    let (filter_result, filter_failure) =
        event.filter_failure.map(|FilterFailure { result, reason }| (result, reason)).unzip();
    let upstream_error = event.upstream_error.map(|error| error.text.as_bytes());
    let referer = event.referer.filter(|_| fields.referer).map(|referer| match fields.query {
        true => referer,
        false => referer.split(|byte| *byte == b'?').next().unwrap_or_default(),
    });
    [
        ("route", event.route_id.map(str::as_bytes), ringway_model::limits::ID_BYTES_MAX),
        ("app", event.app.map(str::as_bytes), ringway_model::limits::ID_BYTES_MAX),
        ("instance", event.instance.map(str::as_bytes), ringway_model::limits::ID_BYTES_MAX),
        ("failure", event.failure.map(str::as_bytes), FAILURE_BYTES_MAX),
        ("upstream_error", upstream_error, ringway_model::limits::UPSTREAM_ERROR_BYTES_MAX),
        (
            "request_error",
            event.request_error.map(str::as_bytes),
            ringway_model::limits::UPSTREAM_ERROR_BYTES_MAX,
        ),
        ("limited_by", event.limited_by.map(str::as_bytes), LIMITED_BY_BYTES_MAX),
        ("canary_variant", event.variant.map(|variant| variant.as_str().as_bytes()), FAILURE_BYTES_MAX),
        ("breaker_state", event.breaker.map(str::as_bytes), FAILURE_BYTES_MAX),
        ("middleware", event.middleware.map(str::as_bytes), FAILURE_BYTES_MAX),
        ("filter_result", filter_result.map(str::as_bytes), FAILURE_BYTES_MAX),
        ("filter_failure", filter_failure.map(str::as_bytes), FAILURE_BYTES_MAX),
        ("coding", event.compression.and_then(Compression::coding).map(str::as_bytes), FAILURE_BYTES_MAX),
        ("upgrade", event.upgrade.map(|kind| kind.as_str().as_bytes()), FAILURE_BYTES_MAX),
        ("tls", event.tls.map(str::as_bytes), FAILURE_BYTES_MAX),
        ("user_agent", event.user_agent.filter(|_| fields.user_agent), limits::LOG_FIELD_BYTES_MAX),
        ("query", event.query.filter(|_| fields.query), limits::LOG_FIELD_BYTES_MAX),
        ("referer", referer, limits::LOG_FIELD_BYTES_MAX),
    ]
}

fn string(out: &mut Vec<u8>, before: &str, value: &[u8], bytes_max: usize) {
    out.extend_from_slice(before.as_bytes());
    write_escaped(out, value, bytes_max);
}

fn number(out: &mut Vec<u8>, before: &str, value: u64) {
    out.extend_from_slice(before.as_bytes());
    write_decimal(out, value);
}

fn write_decimal(out: &mut Vec<u8>, value: u64) {
    if value < 1000 {
        // The common case: statuses, octets, milliseconds, counts.
        let (digits, zeros) = THREE_DIGITS[value as usize];
        return out.extend_from_slice(&digits[usize::from(zeros)..]);
    }
    write_decimal(out, value / 1000);
    out.extend_from_slice(&THREE_DIGITS[(value % 1000) as usize].0);
}

/// Numbers below 1000 as three digits, with the number of leading zeros.
static THREE_DIGITS: [([u8; 3], u8); 1000] = {
    let mut table = [([b'0'; 3], 0); 1000];
    let mut value = 0;
    while value < 1000 {
        table[value].0 =
            [b'0' + (value / 100) as u8, b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8];
        table[value].1 = if value < 10 {
            2
        } else if value < 100 {
            1
        } else {
            0
        };
        value += 1;
    }
    table
};

/// Appends microseconds as milliseconds with three decimals.
fn write_millis(out: &mut Vec<u8>, us: u64) {
    write_decimal(out, us / 1000);
    out.push(b'.');
    out.extend_from_slice(&THREE_DIGITS[(us % 1000) as usize].0);
}

fn write_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            for (at, octet) in ip.octets().into_iter().enumerate() {
                number(out, if at == 0 { "" } else { "." }, u64::from(octet));
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// Cache of the last second as text, which most lines share: about 2 ns per line instead of 40.
#[derive(Debug)]
pub(crate) struct ClockText {
    second: u64,
    text: [u8; 20],
}

impl ClockText {
    pub(crate) fn new() -> Self {
        Self { second: 0, text: *b"1970-01-01T00:00:00." }
    }

    /// Appends a time as RFC 3339, UTC, with milliseconds: `2026-01-20T10:30:45.007Z`.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, time: Timestamp) {
        // RFC 3339 has four digits for the year; the time of a broken clock beyond them is capped.
        let millis = time.0.min(YEAR_9999_END_MS);
        let second = millis / 1000;
        if second != self.second {
            self.second = second;
            self.text = format_second(second);
        }
        out.extend_from_slice(&self.text);
        out.extend_from_slice(&THREE_DIGITS[(millis % 1000) as usize].0);
        out.push(b'Z');
    }
}

/// Last millisecond of the year 9999.
const YEAR_9999_END_MS: u64 = 253_402_300_799_999;

/// Formats a date and time up to the dot before the milliseconds.
fn format_second(second: u64) -> [u8; 20] {
    let civil = Timestamp(second * 1000).civil();
    let mut text = *b"0000-00-00T00:00:00.";
    text[0..4].copy_from_slice(&digits::<4>(civil.year));
    text[5..7].copy_from_slice(&digits::<2>(civil.month.into()));
    text[8..10].copy_from_slice(&digits::<2>(civil.day.into()));
    text[11..13].copy_from_slice(&digits::<2>(civil.hour.into()));
    text[14..16].copy_from_slice(&digits::<2>(civil.minute.into()));
    text[17..19].copy_from_slice(&digits::<2>(civil.second.into()));
    text
}

/// Returns the last `N` decimal digits.
fn digits<const N: usize>(mut value: u64) -> [u8; N] {
    let mut text = [b'0'; N];
    for digit in text.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{CacheResult, CacheUse, HedgeOutcome, Protocol, Upgrade, UpstreamError};
    use ringway_model::{TenantHash, Variant};

    fn full() -> Exchange<'static> {
        Exchange {
            time: Timestamp(1_768_905_045_007),
            request_id: "abc123",
            client_ip: "203.0.113.7".parse().expect("an address"),
            method: b"GET",
            host: b"shop.example",
            path: b"/v1/users/123",
            query: Some(b"token=hush"),
            protocol: Protocol::Http11,
            status: 200,
            bytes_in: 0,
            bytes_out: 512,
            duration_us: 12_345,
            upstream_us: Some(11_002),
            route: 1,
            pool: 1,
            endpoint: 1,
            route_id: Some("shop-api"),
            app: Some("shop"),
            tenant: Some(TenantHash(0xab)),
            instance: Some("shop-1"),
            attempts: 2,
            failure: Some("upstream_bad_response"),
            upstream_error: Some(UpstreamError {
                reason: "duplicate_transfer_encoding",
                text: "Transfer-Encoding given twice",
            }),
            request_error: None,
            user_agent: Some(b"curl/8"),
            referer: Some(b"https://shop.example/a?token=hush"),
            upgrade: Some(Upgrade::WebSocket),
            tls: Some("TLSv1.3"),
            variant: Some(Variant::Canary),
            queue_us: Some(1_250),
            stages_us: 3_500,
            limited_by: Some("strict"),
            retry: None,
            hedge: None,
            breaker: Some("closed"),
            middleware: Some("auth"),
            filter_failure: Some(FilterFailure { result: "failed_open", reason: "timeout" }),
            compression: Some(Compression::Coded { coding: "gzip", bytes_in: 4_096, bytes_out: 512 }),
            cache: Some(CacheUse {
                status: "revalidated",
                result: CacheResult::Miss,
                stale: None,
                not_stored: None,
                is_coalesced: false,
            }),
            is_logged: true,
        }
    }

    fn bare() -> Exchange<'static> {
        Exchange {
            client_ip: "2001:db8::1".parse().expect("an address"),
            method: b"",
            host: b"",
            path: b"",
            query: None,
            protocol: Protocol::Http10,
            status: 0,
            upstream_us: None,
            route_id: None,
            app: None,
            tenant: None,
            instance: None,
            attempts: 0,
            failure: None,
            upstream_error: None,
            user_agent: None,
            referer: None,
            upgrade: None,
            tls: None,
            variant: None,
            queue_us: None,
            stages_us: 0,
            limited_by: None,
            breaker: None,
            middleware: None,
            filter_failure: None,
            compression: None,
            cache: None,
            is_logged: true,
            ..full()
        }
    }

    fn line(format: LogFormat, event: &Exchange<'_>) -> String {
        line_with(LogFields::default(), format, event)
    }

    fn line_with(fields: LogFields, format: LogFormat, event: &Exchange<'_>) -> String {
        let mut out = Vec::new();
        write_line(&mut out, format, fields, &mut ClockText::new(), event);
        assert!(out.len() <= line_bytes_max(fields));
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn json_has_all_fields_and_omits_absent_ones() {
        assert_eq!(
            line(LogFormat::Json, &full()),
            concat!(
                r#"{"timestamp":"2026-01-20T10:30:45.007Z","request_id":"abc123","client_ip":"203.0.113.7","#,
                r#""method":"GET","host":"shop.example","path":"/v1/users/123","protocol":"HTTP/1.1","status":200,"#,
                r#""duration_ms":12.345,"upstream_ms":11.002,"bytes_in":0,"bytes_out":512,"attempts":2,"retries":1,"queue_ms":1.250,"middleware_ms":3.500,"cache":"revalidated","cache_hit":false,"#,
                r#""route":"shop-api","app":"shop","instance":"shop-1","failure":"upstream_bad_response","#,
                r#""upstream_error":"Transfer-Encoding given twice","limited_by":"strict","canary_variant":"canary","breaker_state":"closed","middleware":"auth","filter_result":"failed_open","filter_failure":"timeout","coding":"gzip","upgrade":"websocket","tls":"TLSv1.3","#,
                r#""user_agent":"curl/8","tenant":"00000000000000ab"}"#,
                "\n"
            )
        );
        assert_eq!(
            line(LogFormat::Json, &bare()),
            concat!(
                r#"{"timestamp":"2026-01-20T10:30:45.007Z","request_id":"abc123","client_ip":"2001:db8::1","#,
                r#""method":"","host":"","path":"","protocol":"HTTP/1.0","status":0,"#,
                r#""duration_ms":12.345,"bytes_in":0,"bytes_out":512,"attempts":0}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_hedged_attempt_is_no_retry() {
        let hedged = Exchange { hedge: Some(HedgeOutcome::Lost), ..full() };
        for (format, field) in
            [(LogFormat::Json, ",\"is_hedged\":true,"), (LogFormat::Text, " is_hedged=true ")]
        {
            let line = line(format, &hedged);
            assert!(line.contains(field) && !line.contains("retries"), "{line}");
        }
        let refused = Exchange { hedge: Some(HedgeOutcome::Budget), ..full() };
        assert!(!line(LogFormat::Json, &refused).contains("is_hedged"));
    }

    #[test]
    fn text_has_all_fields() {
        assert_eq!(
            line(LogFormat::Text, &full()),
            concat!(
                r#"2026-01-20T10:30:45.007Z 203.0.113.7 "GET shop.example/v1/users/123 HTTP/1.1" 200 12.345ms "#,
                r#"request_id="abc123" upstream_ms=11.002 bytes_in=0 bytes_out=512 attempts=2 retries=1 queue_ms=1.250 middleware_ms=3.500 cache=revalidated cache_hit=false route="shop-api" "#,
                r#"app="shop" instance="shop-1" failure="upstream_bad_response" upstream_error="Transfer-Encoding given twice" "#,
                r#"limited_by="strict" canary_variant="canary" breaker_state="closed" middleware="auth" filter_result="failed_open" filter_failure="timeout" coding="gzip" upgrade="websocket" tls="TLSv1.3" user_agent="curl/8" "#,
                "tenant=00000000000000ab\n"
            )
        );
    }

    #[test]
    fn optional_fields_follow_the_configuration() {
        let fields = |text: &str| text.parse::<LogFields>().expect("fields");
        for format in [LogFormat::Json, LogFormat::Text] {
            assert!(!line(format, &full()).contains("hush"), "secrets in queries are dropped unless chosen");
            let referer = line_with(fields("+referer"), format, &full());
            assert!(referer.contains("https://shop.example/a\"") && !referer.contains("hush"), "{referer}");
            let all = line_with(fields("+query,+referer"), format, &full());
            assert_eq!(all.matches("token=hush").count(), 2, "{all}");
            let few = line_with(fields("-client_ip,-user_agent,-tenant"), format, &full());
            assert!(!few.contains("203.0.113.7") && !few.contains("curl") && !few.contains("00ab"), "{few}");
        }
    }

    #[test]
    fn a_client_cannot_forge_a_line() {
        let event = Exchange {
            path: b"/\"}\n{\"status\":200",
            user_agent: Some("\u{202e}\r\nx".as_bytes()),
            ..full()
        };
        for format in [LogFormat::Json, LogFormat::Text] {
            let line = line(format, &event);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(line.contains(r#"/\"}\u000a{\"status\":200"#), "{line}");
            assert!(line.contains(r"\u202e\u000d\u000ax"), "{line}");
        }
    }

    #[test]
    fn the_longest_line_is_within_its_bound() {
        let worst = [0u8; 4096];
        let id = "\0".repeat(4096);
        let event = Exchange {
            time: Timestamp(u64::MAX),
            request_id: &id,
            client_ip: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().expect("an address"),
            method: &worst,
            host: &worst,
            path: &worst,
            status: u16::MAX,
            bytes_in: u64::MAX,
            bytes_out: u64::MAX,
            duration_us: u64::MAX,
            upstream_us: Some(u64::MAX),
            route_id: Some(&id),
            app: Some(&id),
            instance: Some(&id),
            limited_by: Some(&id),
            queue_us: Some(u64::MAX),
            stages_us: u64::MAX,
            attempts: u32::MAX,
            failure: Some(id.clone().leak()),
            upstream_error: Some(UpstreamError { reason: "", text: &id }),
            user_agent: Some(&worst),
            query: Some(&worst),
            referer: Some(&worst),
            ..full()
        };
        for (format, fields) in [
            (LogFormat::Json, LogFields::default()),
            (LogFormat::Text, LogFields::default()),
            (LogFormat::Json, ALL_FIELDS),
            (LogFormat::Text, ALL_FIELDS),
        ] {
            let line = line_with(fields, format, &event);
            assert!(
                line.len() > line_bytes_max(fields) - FIXED_BYTES_MAX,
                "the bound is not tight: {}",
                line.len()
            );
        }
    }

    #[test]
    fn numbers_equal_the_formatter_of_std() {
        for value in (0..2_000).chain([9_999, 10_000, 1_000_000, 1_000_007, 123_456_789_012, u64::MAX]) {
            let mut out = Vec::new();
            write_decimal(&mut out, value);
            assert_eq!(String::from_utf8(out).expect("ASCII"), value.to_string());
        }
    }

    #[test]
    fn dates_are_correct_at_leap_days_and_limits() {
        let mut clock = ClockText::new();
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (YEAR_9999_END_MS, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
            (0, "1970-01-01T00:00:00.000Z"),
        ] {
            let mut out = Vec::new();
            clock.write(&mut out, Timestamp(millis));
            assert_eq!(String::from_utf8(out).expect("ASCII"), expected);
        }
    }
}
