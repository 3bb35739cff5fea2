//! Parts of the load tests that must be fast: the origin, idle connections, and the churn client. The Python
//! programs beside this crate start them, pin them to CPUs, and evaluate the results.
//!
//! ```text
//! loadtest origin [PORT]                     serve on 127.0.0.0/8 and print the port
//! loadtest hold ADDRESS COUNT                open idle keep-alive connections until standard input ends
//! loadtest churn HTTP API TARGET SECONDS CHANGES_PER_SECOND WEBSOCKETS REQUESTS_PER_SECOND
//! loadtest live HTTP API TARGET CHANGES      time from a change to its first request, on many connections
//! loadtest pingpong ADDRESS HOST CONNECTIONS BYTES SECONDS   WebSockets that wait for each echo
//! loadtest brake                             simulated canaries and their brake, as JSON lines
//! loadtest cache                             hit ratios of the cache beside LRU, and memory of an entry, as JSON lines
//! loadtest busy WORKERS SERVICE_MS [OUTAGE]  a backend of limited capacity; prints its port
//! loadtest open ADDRESS HOST RATE PATIENCE_MS SECONDS        an open load whose clients give up
//! loadtest steady ADDRESS HOST RATE CONNECTIONS SECONDS      requests at a fixed rate, latency from due times
//! ```
#![deny(missing_docs)]

mod brake;
mod busy;
mod cache;
mod churn;
mod client;
mod lines;
mod live;
mod origin;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result =
        match words.as_slice() {
            ["origin"] => origin::run(0),
            ["origin", port] => parse(port).and_then(origin::run),
            ["hold", address, count] => hold(address, count),
            ["churn", http, api, target, rest @ ..] if rest.len() == 4 => churn_of(http, api, target, rest),
            ["live", http, api, target, changes] => live_of(http, api, target, changes),
            ["pingpong", address, host, connections, bytes, seconds] => {
                ping_pong(address, host, [connections, bytes, seconds])
            }
            ["steady", address, host, rate, connections, seconds] => {
                steady(address, host, [rate, connections, seconds])
            }
            ["brake"] => {
                brake::run();
                Ok(())
            }
            ["cache"] => {
                cache::run();
                Ok(())
            }
            ["busy", workers, service, outage @ ..] if outage.len() <= 1 => busy_of(workers, service, outage),
            ["open", address, host, rate, patience, seconds] => {
                open_load(address, host, [rate, patience, seconds])
            }
            _ => Err("usage: loadtest origin|hold|churn|live|pingpong|steady|brake|cache|busy|open …; see the top of src/main.rs"
                .to_owned()),
        };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("loadtest: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("what is {text:?}?"))
}

fn hold(address: &str, count: &str) -> Result<(), String> {
    let address: SocketAddr = parse(address)?;
    let connections = client::idle(address, parse(count)?)?;
    println!("holding {}", connections.len());
    let mut line = String::new();
    while std::io::stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        line.clear();
    }
    Ok(())
}

fn churn_of(http: &str, api: &str, target: &str, rest: &[&str]) -> Result<(), String> {
    churn::run(&churn::Plan {
        http: parse(http)?,
        api: parse(api)?,
        target: target.to_owned(),
        seconds: parse(rest[0])?,
        changes_per_second: parse(rest[1])?,
        websockets: parse(rest[2])?,
        requests_per_second: parse(rest[3])?,
    })
}

fn live_of(http: &str, api: &str, target: &str, changes: &str) -> Result<(), String> {
    live::run(parse(http)?, parse(api)?, target, parse(changes)?)
}

fn busy_of(workers: &str, service: &str, outage: &[&str]) -> Result<(), String> {
    let service = Duration::from_millis(parse(service)?);
    busy::serve(parse(workers)?, service, outage.first().map(|file| (*file).to_owned()))
}

fn open_load(address: &str, host: &str, rest: [&str; 3]) -> Result<(), String> {
    let [rate, patience, seconds] = rest;
    let patience = Duration::from_millis(parse(patience)?);
    busy::open_load(parse(address)?, host, parse(rate)?, patience, parse(seconds)?)
}

fn ping_pong(address: &str, host: &str, rest: [&str; 3]) -> Result<(), String> {
    let [connections, bytes, seconds] = rest;
    lines::ping_pong(parse(address)?, host, parse(connections)?, parse(bytes)?, parse(seconds)?)
}

fn steady(address: &str, host: &str, rest: [&str; 3]) -> Result<(), String> {
    let [rate, connections, seconds] = rest;
    lines::steady(parse(address)?, host, parse(rate)?, parse(connections)?, parse(seconds)?)
}
