//! Runs HTTP/1.1 requests: sends the bytes, compares what arrived at each side, and sends two more requests.

use std::collections::BTreeSet;

use super::*;
use crate::kit::http::Reader;
use crate::kit::*;

/// Origin whose responses name their request by the id that the proxy added.
pub(crate) fn naming() -> Origin {
    Origin::http(move |request, connection| {
        let id = request.field("x-request-id").unwrap_or_default();
        let body = request.target();
        let sent = if request.method() == "HEAD" { "" } else { body };
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nX-Asked: {id}\r\nContent-Length: {}\r\n\r\n{sent}",
            body.len()
        ));
        After::Keep
    })
}

/// Runs a table of requests.
pub(crate) fn requests(driver: Driver, cases: &[Case]) {
    let origin = naming();
    let proxy = Proxy::on(driver).env("PROXY_VIA", "edge").start();
    proxy.serve("app", "app.test", &origin);
    all(
        cases,
        |case| format!("{}, {}: sent {}", case.section, case.name, shown(&case.sent)),
        |number, case| run(&proxy, &origin, number, case),
    );
    audit(&origin, cases);
}

fn run(proxy: &Proxy, origin: &Origin, number: usize, case: &Case) -> Result<(), String> {
    let before = origin.request_count();
    let mut client = proxy.client();
    // The proxy may answer and close before it has read everything.
    let _ = client.try_send(&case.sent);
    if case.is_cut {
        client.finish();
    }
    let wanted = case.outcomes.iter().map(|outcome| match outcome {
        Outcome::Forwarded(seen) => seen.len(),
        _ => 1,
    });
    let wanted = wanted.max().unwrap_or(1);
    let method = case.sent.split(|byte| *byte == b' ').next().unwrap_or_default();
    let method = if method == b"HEAD" { "HEAD" } else { "GET" };
    let mut answers = Vec::new();
    let mut fault = None;
    while answers.len() < wanted && fault.is_none() {
        match client.try_response(method) {
            Ok(answer) => {
                let closes = answer.closes();
                answers.push(answer);
                if closes {
                    break;
                }
            }
            Err(error) => fault = Some(error),
        }
    }
    let is_closed = fault.is_some() || answers.last().is_some_and(Message::closes) || case.is_cut;
    if is_closed && fault.is_none() {
        let rest = client.try_rest();
        if !rest.as_ref().is_ok_and(Vec::is_empty) {
            return Err(format!("{answers:?}, and then {rest:?} instead of a close"));
        }
    }
    let arrived = origin.requests().split_off(before);
    let said = || format!("the client got {answers:?} {fault:?}; the origin {}", brief(&arrived));
    if matches!(fault, Some(Fault::Deadline | Fault::Malformed(_) | Fault::Socket(_))) {
        return Err(said());
    }
    let faults: Vec<String> = case
        .outcomes
        .iter()
        .filter_map(|outcome| is(outcome, &answers, fault.as_ref(), is_closed, &arrived).err())
        .collect();
    if faults.len() == case.outcomes.len() {
        return Err(format!("{}; {}", faults.join("; "), said()));
    }

    if is_closed {
        client = proxy.client();
    }
    for turn in 0..2 {
        let target = format!("/clean/{number}/{turn}");
        client
            .try_send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"))
            .map_err(|error| format!("a clean request could not be sent: {error}"))?;
        let answer = client
            .try_response("GET")
            .map_err(|fault| format!("a clean request got {fault:?}; before, {}", said()))?;
        if answer.status() != 200 || answer.text() != target {
            return Err(format!("a clean request got {answer:?}; before, {}", said()));
        }
    }
    let count = origin.request_count();
    if count != before + arrived.len() + 2 {
        return Err(format!("{} requests too many; {}", count - before - arrived.len() - 2, said()));
    }
    Ok(())
}

/// Compares the outcome with the expected one; returns the difference.
fn is(
    outcome: &Outcome,
    answers: &[Message],
    fault: Option<&Fault>,
    is_closed: bool,
    arrived: &[Message],
) -> Result<(), String> {
    let own = |statuses: &[u16]| match answers {
        [answer] if !answer.all("x-asked").is_empty() => Err("it is the origin's answer".to_owned()),
        [answer] if statuses.contains(&answer.status()) => Ok(()),
        [answer] => Err(format!("{} is none of {statuses:?}", answer.status())),
        _ => Err(format!("not one answer of {statuses:?}")),
    };
    match outcome {
        Outcome::Refused(_) | Outcome::Answered(_) | Outcome::Broken(_) if !arrived.is_empty() => {
            Err("a request arrived".to_owned())
        }
        Outcome::Refused(_) if !is_closed => Err("the connection is open".to_owned()),
        Outcome::Refused(statuses) | Outcome::Answered(statuses) => own(statuses),
        Outcome::Broken(_) if !is_closed => Err("the connection is open".to_owned()),
        Outcome::Broken(_) if answers.is_empty() && fault.is_some() => Ok(()),
        Outcome::Broken(statuses) => own(statuses),
        Outcome::Forwarded(seen) => {
            if arrived.len() != seen.len() || answers.len() != seen.len() {
                return Err(format!("not {} requests and answers", seen.len()));
            }
            for (at, ((seen, request), answer)) in seen.iter().zip(arrived).zip(answers).enumerate() {
                looks_like(request, seen)?;
                if answer.status() != 200 || answer.field("x-asked") != request.field("x-request-id") {
                    return Err(format!("answer {at} is not that of request {at}"));
                }
            }
            Ok(())
        }
    }
}

/// Hop-by-hop fields (RFC 9110 §7.6.1), and unexpected ones.
const HOP: &[&str] = &[
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "upgrade",
    "http2-settings",
    "proxy-authorization",
    "proxy-authenticate",
    "expect",
];

/// Returns whether a request at the origin is the expected one.
pub(crate) fn looks_like(request: &Message, seen: &Seen) -> Result<(), String> {
    let wrong = |what: String| Err(what);
    if request.first_line != seen.line {
        return wrong(format!("the line {:?} is not {:?}", request.first_line, seen.line));
    }
    let host = request.all("host");
    if host != [seen.host] {
        return wrong(format!("Host {host:?} is not {:?}", seen.host));
    }
    for (name, values) in &seen.fields {
        if &request.all(name) != values {
            return wrong(format!("{name} is {:?} and not {values:?}", request.all(name)));
        }
    }
    for name in HOP {
        let is_told = seen.fields.iter().any(|(told, _)| told == name);
        if !is_told && !request.all(name).is_empty() {
            return wrong(format!("{name} passed: {:?}", request.all(name)));
        }
    }
    if request.body != seen.body {
        return wrong(format!("the body {} is not {}", shown(&request.body), shown(&seen.body)));
    }
    let trailers: Vec<(&str, &str)> =
        request.trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    if trailers != seen.trailers {
        return wrong(format!("the trailers {trailers:?} are not {:?}", seen.trailers));
    }
    Ok(())
}

fn brief(arrived: &[Message]) -> String {
    let all: Vec<String> =
        arrived.iter().map(|request| shown(&[request.head.as_slice(), &request.body].concat())).collect();
    all.join(" and ")
}

/// Once more over every byte that any connection to the origin carried: nothing but whole requests, and of
/// those that were cut only such as a case allows.
pub(crate) fn audit(origin: &Origin, cases: &[Case]) {
    let may_break = |case: &&Case| case.outcomes.iter().any(|outcome| matches!(outcome, Outcome::Broken(_)));
    let breaking: BTreeSet<&str> = cases
        .iter()
        .filter(may_break)
        .filter_map(|case| std::str::from_utf8(&case.sent).ok()?.split(' ').nth(1))
        .collect();
    let mut whole = 0;
    for connection in origin.connections() {
        let bytes = connection.bytes();
        let mut reader = Reader::new(bytes.as_slice());
        loop {
            let head = match reader.request_head() {
                Ok(head) => head,
                Err(Fault::Closed) => break,
                Err(fault) => panic!("{fault:?} in what the origin got: {}", shown(&bytes)),
            };
            let mut request = head.clone();
            match reader.body(&mut request) {
                Ok(()) => whole += usize::from(request.target() != "/health"),
                Err(Fault::Cut(_)) if breaking.contains(request.target()) => break,
                Err(fault) => panic!("{fault:?} in what the origin got: {}", shown(&bytes)),
            }
        }
    }
    assert_eq!(whole, origin.request_count());
}
