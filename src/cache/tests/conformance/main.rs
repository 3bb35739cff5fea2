//! Runs the conformance table of `tests/conformance/cache` against a model of a cache that consists of this
//! crate's decisions and of maps, on a virtual clock.
#![allow(clippy::unwrap_used)]
#![forbid(unsafe_code)]

mod model;
#[path = "../../../../tests/conformance/cache/table.rs"]
mod table;

use std::collections::BTreeMap;

use ringway_cache::Settings;
use ringway_model::{CacheMode, Timestamp};

use model::{Asked, Model, OriginAnswer};
use table::{Answer, Case, Exchange, Expected, Step, cases, date, with_dates};

/// Fewest cases of the table, those that run in both modes counted once.
const CASES_MIN: usize = 250;

#[test]
fn the_table_holds_in_every_mode() {
    let cases = cases();
    let (mut wrong, mut sections) = (Vec::new(), BTreeMap::new());
    let mut runs = 0;
    for case in &cases {
        *sections.entry(case.section.as_str()).or_insert(0) += 1;
        for (name, mode) in [("safe", CacheMode::Safe), ("rfc9111", CacheMode::Rfc9111)] {
            if case.mode.as_deref().is_none_or(|only| only == name) {
                runs += 1;
                if let Err(fault) = run(case, mode) {
                    wrong.push(format!("{} ({name}): {}\n    {fault}", case.section, case.name));
                }
            }
        }
    }
    for (section, count) in &sections {
        println!("{section}: {count}");
    }
    println!("{} cases, {runs} runs", cases.len());
    assert!(wrong.is_empty(), "{} of {runs} runs failed:\n  {}", wrong.len(), wrong.join("\n  "));
    assert!(cases.len() >= CASES_MIN, "only {} cases", cases.len());
}

/// A case whose expectations cannot fail would show nothing.
#[test]
fn a_wrong_expectation_is_found() {
    for (line, expected) in [
        ("GET / <- 200 | Cache-Control: max-age=60 => HIT", "X-Cache-Status"),
        ("GET / <- 200 => MISS | status 304", "status"),
        ("GET / <- 200 | X-A: 1 => MISS | X-A: 2", "X-A"),
        ("GET / <- 200 | X-A: 1 => MISS | !X-A", "X-A"),
        ("GET / <- 200 => MISS | from 2", "body"),
        ("GET / <- 200 => MISS | asks X-A: 1", "asked"),
        ("GET / | X-A: 1 <- 200 => MISS | asks !X-A", "asked"),
        ("GET / => MISS", "no answer"),
    ] {
        let case = table::parse("here", &format!("\n## RFC 0 §0: one\n{line}")).remove(0);
        let fault = run(&case, CacheMode::Safe).unwrap_err();
        assert!(fault.contains(expected), "{line}: {fault}");
    }
}

fn run(case: &Case, mode: CacheMode) -> Result<(), String> {
    let mut settings = Settings::of_mode(mode);
    for (key, value) in &case.settings {
        set(&mut settings, key, value);
    }
    // 2026-11-30T12:00:00Z
    let mut model = Model::new(settings, Timestamp(1_796_040_000_000));
    let mut answers = 0;
    for step in &case.steps {
        match step {
            Step::Wait(seconds) => model.wait(*seconds),
            Step::Exchange(exchange) => run_exchange(&mut model, exchange, &mut answers)
                .map_err(|fault| format!("{}\n    {fault}", exchange.line))?,
        }
    }
    Ok(())
}

fn set(settings: &mut Settings, key: &str, value: &str) {
    let list = || value.split(' ').filter(|one| !one.is_empty()).map(Into::into).collect();
    match key {
        "ttl" => settings.ttl = Some(value.parse().unwrap()),
        "respect_cache_headers" => settings.respects_headers = value.parse().unwrap(),
        "auth_aware" => settings.is_auth_aware = value.parse().unwrap(),
        "vary_headers" => settings.vary_headers = list(),
        "targets" => settings.targets = list(),
        "patterns" => settings.patterns = list(),
        "ignore_params" => settings.ignored_params = list(),
        "sort_query" => settings.sorts_query = value.parse().unwrap(),
        "statuses" => settings.statuses = value.split(' ').map(|one| one.parse().unwrap()).collect(),
        "stale_while_revalidate" => settings.stale_while_revalidate = value.parse().unwrap(),
        "stale_if_error" => settings.stale_if_error = value.parse().unwrap(),
        "stale_on_disconnect" => settings.stale_on_disconnect = value.parse().unwrap(),
        "max_object" => settings.object_bytes_max = value.parse().unwrap(),
        "set_cookie" => {
            settings.set_cookies = match value {
                "bypass" => ringway_model::SetCookiePolicy::Bypass,
                "strip" => ringway_model::SetCookiePolicy::Strip,
                "store" => ringway_model::SetCookiePolicy::Store,
                _ => panic!("{value} is no treatment of cookies"),
            }
        }
        _ => panic!("{key} is no setting"),
    }
}

fn run_exchange(model: &mut Model, exchange: &Exchange, answers: &mut usize) -> Result<(), String> {
    let now = i64::try_from(model.now().0 / 1_000).unwrap();
    let dated = |fields: &[(String, String)]| -> Vec<(String, String)> {
        let value = |value: &str| with_dates(value, |kind, offset| date(kind, now + offset));
        fields.iter().map(|(name, text)| (name.clone(), value(text))).collect()
    };
    let answer = exchange.answer.as_ref().map(|answer| match answer {
        Answer::Cut => OriginAnswer::Cut,
        Answer::Response { status, fields, body, delay } => {
            let body = body.clone().unwrap_or_else(|| format!("answer {}", *answers + 1));
            OriginAnswer::Response { status: *status, fields: dated(fields), body, delay: *delay }
        }
    });
    let request = Asked {
        method: exchange.method.clone(),
        target: exchange.target.clone(),
        fields: dated(&exchange.fields),
        body: exchange.body.clone(),
    };
    let (response, asked) = model.exchange(&request, answer)?;
    *answers += usize::from(asked.is_some());
    for expected in &exchange.expected {
        let value = |wanted: &str| {
            let values: Vec<&str> = response
                .fields
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.as_str())
                .collect();
            (!values.is_empty()).then(|| values.join(", "))
        };
        let asked_value = |wanted: &str| {
            let fields = &asked.as_ref()?.fields;
            let field = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
            Some(field.1.clone())
        };
        let dated = |value: &String| Some(with_dates(value, |kind, offset| date(kind, now + offset)));
        let (subject, is, should) = match expected {
            Expected::Outcome(outcome) => {
                ("X-Cache-Status", Some(response.outcome.clone()), Some(outcome.clone()))
            }
            Expected::Status(status) => {
                ("status", Some(response.status.to_string()), Some(status.to_string()))
            }
            Expected::Field(name, text) => (name.as_str(), value(name), dated(text)),
            Expected::NoField(name) => (name.as_str(), value(name), None),
            Expected::Body(body) => ("body", Some(response.body.clone()), Some(body.clone())),
            Expected::From(number) => ("body", Some(response.body.clone()), Some(format!("answer {number}"))),
            Expected::AskedField(name, text) => ("asked", asked_value(name), dated(text)),
            Expected::AskedNoField(name) => ("asked", asked_value(name), None),
        };
        if is != should {
            return Err(format!("{subject} is {is:?}, expected {should:?} ({expected:?})"));
        }
    }
    Ok(())
}
