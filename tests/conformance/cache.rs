//! Cases of the cache's table through the real proxy, over HTTP/1.1 and over HTTP/2.
//!
//! ```text
//! case ─► a host of its own, whose route has the case's settings
//! line ─► request ─► ringway ─► origin, which gives the line's answer and waits until its connection is closed
//! ```
//! The wall clock of the process stands still (libfaketime) but for the seconds that a case lets pass, so
//! that ages and dates are exact. The origin ends each connection: when ringway has closed it, the response
//! is stored, also one that a refresh asked for in the background.

mod table;

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use super::all;
use crate::kit::h2::H2;
use crate::kit::*;
use table::{Answer, Case, Exchange, Expected, Step, date, with_dates};

/// A case in one of the modes.
struct Run {
    case: Case,
    mode: &'static str,
    host: String,
}

/// Protocol of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

on_both_drivers! {
    fn the_cache_keeps_to_its_table_over_http1(driver) {
        check(driver, Protocol::Http1);
    }

    fn the_cache_keeps_to_its_table_over_http2(driver) {
        check(driver, Protocol::Http2);
    }
}

/// Runs all cases, each in every mode that it applies to.
fn check(driver: Driver, protocol: Protocol) {
    let runs = runs();
    let time = Time::new();
    let exchange = Arc::new(Mutex::new(AtOrigin::default()));
    let origin = origin(time.clone(), exchange.clone());
    let builder = time.0.set_up(Proxy::on(driver));
    let file = builder.folder().join("config.yaml");
    std::fs::write(&file, document(&runs, &origin)).unwrap();
    let builder = builder
        .env("PROXY_CONFIG", file.to_str().unwrap())
        .env("PROXY_WORKERS", "1")
        .env("PROXY_HANDSHAKE_RATE", "0");
    let proxy = h2::secure(builder);
    let name = |run: &Run| format!("{}, {} ({}, {protocol:?})", run.case.section, run.case.name, run.mode);
    all(&runs, name, |_, run| {
        let mut client = Asking { protocol, proxy: &proxy, time: &time, exchange: &exchange, answers: 0 };
        run.case.steps.iter().try_for_each(|step| match step {
            Step::Wait(seconds) => {
                time.pass(*seconds);
                Ok(())
            }
            Step::Exchange(exchange) => {
                client.ask(run, exchange).map_err(|fault| format!("{fault}\n    in: {}", exchange.line))
            }
        })
    });
}

fn runs() -> Vec<Run> {
    let mut runs = Vec::new();
    for case in table::cases() {
        for mode in ["safe", "rfc9111"] {
            if case.mode.as_deref().is_none_or(|only| only == mode) {
                let host = format!("c{}.test", runs.len());
                runs.push(Run { case: case.clone(), mode, host });
            }
        }
    }
    runs
}

/// A route for each run, on a host of its own.
fn document(runs: &[Run], origin: &Origin) -> String {
    let mut text = String::from("version: v1\nroutes:\n");
    for (number, run) in runs.iter().enumerate() {
        let settings: String = run.case.settings.iter().map(|(key, value)| setting(key, value)).collect();
        let (host, mode) = (&run.host, run.mode);
        let _ = writeln!(
            text,
            "  - {{id: c{number}, host: {host}, path_prefix: /, pool: one, cache: {{mode: {mode}{settings}}}}}"
        );
    }
    let _ = writeln!(text, "pools:\n  - id: one\n    endpoints:\n      - address: \"{}\"", origin.address());
    text
}

/// A setting of the table as a member of the document.
fn setting(key: &str, value: &str) -> String {
    let value = match key {
        "ttl" | "stale_while_revalidate" | "stale_if_error" | "stale_on_disconnect" => format!("{value}s"),
        "vary_headers" | "targets" | "patterns" | "ignore_params" | "statuses" => {
            let items: Vec<String> = value
                .split(' ')
                .filter(|item| !item.is_empty())
                .map(|item| if key == "statuses" { item.to_owned() } else { format!("\"{item}\"") })
                .collect();
            format!("[{}]", items.join(", "))
        }
        _ => value.to_owned(),
    };
    format!(", {key}: {value}")
}

/// Wall clock of the process, which stands still but for the seconds that a case lets pass.
#[derive(Clone)]
struct Time(Clock, Arc<Mutex<i64>>);

impl Time {
    fn new() -> Self {
        // 2026-11-30T12:00:00Z
        let time = Self(Clock::new(), Arc::new(Mutex::new(1_796_040_000)));
        time.pass(0);
        time
    }

    /// Seconds since 1970.
    fn now(&self) -> i64 {
        *self.1.lock().unwrap()
    }

    fn pass(&self, seconds: u64) {
        let mut now = self.1.lock().unwrap();
        *now += i64::try_from(seconds).unwrap();
        let date = table::date("date", *now);
        let parts: Vec<&str> = date.split(' ').collect();
        let [_, day, month, year, time, _] = parts[..] else { panic!("{date}") };
        let month = 1 + "JanFebMarAprMayJunJulAugSepOctNovDec".find(month).unwrap() / 3;
        self.0.set(&format!("{year}-{month:02}-{day} {time}"));
    }
}

/// The exchange under way as the origin sees it.
#[derive(Default)]
struct AtOrigin {
    answer: Option<Answer>,
    /// Number of the answer, for its body.
    number: usize,
    asked: Vec<Message>,
    /// Connections on which a request has come, and that ringway has not closed.
    open: usize,
}

/// An origin that gives the answer of the exchange under way, and ends its connection.
fn origin(time: Time, exchange: Arc<Mutex<AtOrigin>>) -> Origin {
    Origin::http(move |request, connection| {
        let (answer, number) = {
            let mut exchange = exchange.lock().unwrap();
            exchange.asked.push(request.clone());
            exchange.open += 1;
            (exchange.answer.clone(), exchange.number)
        };
        match answer {
            Some(Answer::Cut) => {}
            Some(Answer::Response { status, fields, body, delay }) => {
                time.pass(delay);
                let body = body.unwrap_or_else(|| format!("answer {number}"));
                connection.send(response(request.method(), status, &fields, &body));
                connection.until_closed();
            }
            None => connection.reply(500, b"it was not to be asked"),
        }
        exchange.lock().unwrap().open -= 1;
        After::Close
    })
}

fn response(method: &str, status: u16, fields: &[(String, String)], body: &str) -> String {
    let mut text = format!("HTTP/1.1 {status} Reason\r\nConnection: close\r\n");
    for (name, value) in fields {
        let _ = write!(text, "{name}: {value}\r\n");
    }
    let is_bodiless = matches!(status, 204 | 304);
    if !is_bodiless && !fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        let _ = write!(text, "Content-Length: {}\r\n", body.len());
    }
    text.push_str("\r\n");
    if !is_bodiless && method != "HEAD" {
        text.push_str(body);
    }
    text
}

/// Response as the client got it.
struct Got {
    status: u16,
    fields: Vec<(String, String)>,
    body: String,
}

impl Got {
    /// Values of a field, joined.
    fn value(&self, wanted: &str) -> Option<String> {
        let named = self.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
        let values: Vec<&str> = named.map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }
}

/// Client of one run.
struct Asking<'a> {
    protocol: Protocol,
    proxy: &'a h2::Secure,
    time: &'a Time,
    exchange: &'a Mutex<AtOrigin>,
    /// Answers that the origin gave.
    answers: usize,
}

impl Asking<'_> {
    /// Runs an exchange.
    fn ask(&mut self, run: &Run, exchange: &Exchange) -> Result<(), String> {
        let now = self.time.now();
        let value = |text: &str| {
            of_host(self.protocol, run, &with_dates(text, |form, offset| date(form, now + offset)))
        };
        let fields = |fields: &[(String, String)]| -> Vec<(String, String)> {
            fields.iter().map(|(name, text)| (name.clone(), value(text))).collect()
        };
        let answer = exchange.answer.clone().map(|answer| match answer {
            Answer::Cut => Answer::Cut,
            Answer::Response { status, fields: of_answer, body, delay } => {
                Answer::Response { status, fields: fields(&of_answer), body, delay }
            }
        });
        let is_expected = answer.is_some();
        *self.exchange.lock().unwrap() = AtOrigin { answer, number: self.answers + 1, ..AtOrigin::default() };
        let got = match self.protocol {
            Protocol::Http1 => self.over_http1(run, exchange, &fields(&exchange.fields)),
            Protocol::Http2 => self.over_http2(run, exchange, &fields(&exchange.fields)),
        };
        // A refresh in the background may come later than the response.
        let is_late = got.value("x-cache-status").is_some_and(|status| status == "STALE");
        if is_expected && !is_late && self.exchange.lock().unwrap().asked.is_empty() {
            return Err(format!("the origin was not asked; {} {:?}", got.status, got.fields));
        }
        let asked = eventually("the origin is done", || {
            let exchange = self.exchange.lock().unwrap();
            let is_done = exchange.open == 0 && (!is_expected || !exchange.asked.is_empty());
            is_done.then(|| exchange.asked.first().cloned())
        });
        if asked.is_some() && !is_expected {
            return Err("the origin was asked, and has no answer".to_owned());
        }
        self.answers += usize::from(asked.is_some());
        exchange.expected.iter().try_for_each(|expected| judge(expected, &got, asked.as_ref(), value))
    }

    fn over_http1(&self, run: &Run, exchange: &Exchange, fields: &[(String, String)]) -> Got {
        let Exchange { method, target, body, .. } = exchange;
        let mut text = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", run.host);
        for (name, value) in fields {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        if let Some(body) = body {
            let _ = write!(text, "Content-Length: {}\r\n", body.len());
        }
        text.push_str("\r\n");
        text.push_str(body.as_deref().unwrap_or_default());
        let mut client = self.proxy.client();
        client.send(text);
        let got = client.response(method);
        Got { status: got.status(), body: got.text(), fields: got.fields }
    }

    fn over_http2(&self, run: &Run, exchange: &Exchange, fields: &[(String, String)]) -> Got {
        let Exchange { method, target, body, .. } = exchange;
        // Without SNI, the connection is for all hosts.
        let stream = self.proxy.tls().without_name().stream(self.proxy.https()).unwrap();
        let mut client = H2::open(Box::new(stream), "https", &[]);
        let fields: Vec<(String, &str)> =
            fields.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.as_str())).collect();
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let fields = client.fields(method, &run.host, target, &fields);
        let stream = client.begin(&fields, body.is_none());
        if let Some(body) = body {
            client.data(stream, body.as_bytes(), true);
        }
        let got = client.response(stream);
        Got { status: got.status(), body: got.text(), fields: got.fields }
    }
}

/// A value of the table with the host and the scheme of the run.
fn of_host(protocol: Protocol, run: &Run, value: &str) -> String {
    let value = value.replace("a.example", &run.host);
    match protocol {
        Protocol::Http1 => value,
        Protocol::Http2 if value.starts_with("http:") => value.replacen("http:", "https:", 1),
        Protocol::Http2 if value.starts_with("https:") => value.replacen("https:", "http:", 1),
        Protocol::Http2 => value.replace(":80/", ":443/"),
    }
}

/// Compares the response, and the request at the origin, with an expectation.
fn judge(
    expected: &Expected,
    got: &Got,
    asked: Option<&Message>,
    dated: impl Fn(&str) -> String,
) -> Result<(), String> {
    let asked = |wanted: &str| Some((*asked?.all(wanted).first()?).to_owned());
    let outcome = || got.value("x-cache-status").unwrap_or_else(|| "LOCAL".to_owned());
    let (subject, is, should) = match expected {
        Expected::Outcome(wanted) => ("X-Cache-Status", Some(outcome()), Some(wanted.clone())),
        Expected::Status(status) => ("status", Some(got.status.to_string()), Some(status.to_string())),
        Expected::Field(name, text) => (name.as_str(), got.value(name), Some(dated(text))),
        Expected::NoField(name) => (name.as_str(), got.value(name), None),
        Expected::Body(body) => ("body", Some(got.body.clone()), Some(body.clone())),
        Expected::From(number) => ("body", Some(got.body.clone()), Some(format!("answer {number}"))),
        Expected::AskedField(name, text) => ("asked", asked(name), Some(dated(text))),
        Expected::AskedNoField(name) => ("asked", asked(name), None),
    };
    if is == should {
        return Ok(());
    }
    let (status, fields) = (got.status, &got.fields);
    Err(format!("{subject} is {is:?}, expected {should:?} ({expected:?}); {status} {fields:?}"))
}
