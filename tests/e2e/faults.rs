//! Misbehaving origins: a catalogue of faults, their permitted effects on a client, and the required state
//! afterwards.
//!
//! Every row runs against its own app. First the fault once: the result of the client, the end of its
//! connection and of the upstream one match the row, and the next two requests get their own responses. Then
//! the fault repeatedly: the circuit breaker opens if the endpoint is at fault, and only then.
//!
//! `loadtest/report/faults.md` shows this table; a test compares the two.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Instant;

mod catalogue;
mod misbehaving;
mod row;
mod visitor;

use self::catalogue::catalogue;
use self::misbehaving::Misbehaving;
use self::row::*;
use self::visitor::{Seen, Visitor};
use crate::kit::h2::H2;
use crate::kit::*;

on_both_drivers! {
    fn every_fault_of_an_origin_has_the_outcome_of_the_catalogue(driver) {
        play(driver, Front::Http1);
    }

    fn every_fault_of_an_origin_is_answered_so_over_http2_too(driver) {
        play(driver, Front::Http2);
    }
}

/// `FAULTS_REPORT=write` rewrites the table.
#[test]
fn the_report_shows_the_catalogue() {
    const BEGIN: &str =
        "<!-- The catalogue: FAULTS_REPORT=write cargo test --test e2e the_report_shows_the_catalogue -->\n";
    const END: &str = "<!-- The catalogue ends. -->";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/report/faults.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let rows = catalogue();
    let mut table = format!(
        "{} ways.\n\n| the origin | request | its client sees | client's connection | upstream | opens the breaker |\n|---|---|---|---|---|---|\n",
        rows.len()
    );
    table.extend(rows.iter().map(Row::line));
    let (before, rest) = text.split_once(BEGIN).expect("the catalogue's place in the report");
    let (shown, after) = rest.split_once(END).expect("the catalogue's end in the report");
    if std::env::var("FAULTS_REPORT").is_ok_and(|wish| wish == "write") {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(shown, table, "the report is older than the catalogue");
    }
    let mut names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|two| two[0] != two[1]), "two rows have the same name");
}

/// Rows that run in parallel: most of them wait.
const PLAYERS: usize = 16;

/// Plays the whole catalogue.
fn play(driver: Driver, front: Front) {
    let authority = Authority::new("faults");
    let names: Vec<String> = (0..catalogue().len()).map(|number| format!("app{number}.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // One worker, so that it is known which connections are pooled; checks that come once, so that only
    // requests blame.
    let start = || {
        let builder = Proxy::on(driver).env("PROXY_WORKERS", "1").env("HEALTH_CHECK_INTERVAL", "300s");
        let (certificate, key) = authority.server(&names).write(builder.folder(), "default");
        builder
            .env("PROXY_HTTPS_PORT", "0")
            .env("PROXY_HANDSHAKE_RATE", "0")
            .env("PROXY_TLS_CERT", certificate.to_str().unwrap())
            .env("PROXY_TLS_KEY", key.to_str().unwrap())
    };
    let usual = start().start();
    let impatient = start().env("PROXY_RESPONSE_TIMEOUT", "2s").env("PROXY_BODY_TIMEOUT", "2s").start();
    let rows = Mutex::new(catalogue().into_iter().enumerate());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                while let Some((number, fault)) = { rows.lock().unwrap().next() } {
                    let proxy = if fault.patience == Patience::Usual { &usual } else { &impatient };
                    let name = fault.name;
                    let target = Misbehaving::new(fault);
                    let (app, host) = (format!("app{number}"), format!("app{number}.test"));
                    proxy.serve(&app, &host, &target.origin);
                    // Same as without a passed health check: whether one has passed by now is random.
                    let always = json!({ "app_id": app, "failures": { "timeouts": "always" } });
                    proxy.api().post("/api/apps/register", &always).is(200);
                    let play = Play { proxy, front, authority: &authority, host, target, number, asked: 0 };
                    // The other rows must be reported, too.
                    let played = catch_unwind(AssertUnwindSafe(|| play.run()));
                    if let Err(what) = played.unwrap_or_else(|_| Err("a panic, see above".into())) {
                        wrong.lock().unwrap().push(format!("{name}: {what}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} rows do not hold:\n{}", wrong.len(), wrong.join("\n"));
}

/// Protocol of a client.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Front {
    Http1,
    Http2,
}

/// One row against one proxy.
struct Play<'a> {
    proxy: &'a Proxy,
    front: Front,
    authority: &'a Authority,
    host: String,
    target: Misbehaving,
    number: usize,
    asked: usize,
}

impl Play<'_> {
    fn fault(&self) -> &Row {
        &self.target.shared.fault
    }

    fn visitor(&self) -> Visitor {
        match self.front {
            Front::Http1 => Visitor::Http1(self.proxy.client()),
            Front::Http2 => {
                let tls = Tls::new(self.authority, &self.host).alpn(&["h2"]);
                Visitor::Http2(Box::new(H2::open(
                    Box::new(tls.stream(self.proxy.https()).unwrap()),
                    "https",
                    &[],
                )))
            }
        }
    }

    /// Checks all expectations of the row.
    fn run(mut self) -> Result<(), String> {
        let mut visitor = self.visitor();
        self.misbehave(&mut visitor)?;
        let mut visitors = vec![self.visitor()];
        match (self.fault().client, &mut visitor) {
            // An answer that broke off is the end already; and of HTTP/2 one stream ends, not the connection.
            (Fate::Ended, Visitor::Http1(client)) if !matches!(self.fault().sees, Sees::Cut) => {
                ended(client)?
            }
            (Fate::Ended | Fate::None, Visitor::Http1(_)) => {}
            (Fate::Kept, _) | (_, Visitor::Http2(_)) => visitors.push(visitor),
        }
        let before = self.target.origin.connections().len();
        for visitor in &mut visitors {
            self.good(visitor)?;
        }
        let after = self.target.origin.connections();
        match self.fault().upstream {
            Fate::Kept if after.len() != before => return Err("its connection was not used again".into()),
            // Only the connection of the good requests is left open.
            Fate::Ended => {
                let used_again = after.len() == before && !matches!(self.fault().does, Does::OnAccept(_));
                let is_over = || after.iter().rev().skip(1).all(|one| one.has_ended());
                if used_again || !soon(is_over) {
                    return Err(format!("its connection was kept, used again: {used_again}"));
                }
            }
            Fate::Kept | Fate::None => {}
        }
        for _ in 0..5 {
            let mut visitor = self.visitor();
            self.misbehave(&mut visitor).map_err(|what| format!("again: {what}"))?;
        }
        let mut visitor = self.visitor();
        match self.fault().blame {
            Blame::Nobody => self.good(&mut visitor),
            Blame::Endpoint => match visitor.ask(Asked::Get, &self.host, "/good/blamed") {
                Seen::Whole { status: 502, circuit_open: true, .. } => Ok(()),
                other => Err(format!("the breaker did not open: {other:?}")),
            },
        }
    }

    /// A valid request gets its own response.
    fn good(&mut self, visitor: &mut Visitor) -> Result<(), String> {
        self.asked += 1;
        let token = format!("{}-{}", self.number, self.asked);
        match visitor.ask(Asked::Get, &self.host, &format!("/good/{token}")) {
            Seen::Whole { status: 200, body, .. } if body == token => Ok(()),
            other => Err(format!("afterwards, {token} was answered with {other:?}")),
        }
    }

    /// Runs the fault and checks the result of its client.
    fn misbehave(&self, visitor: &mut Visitor) -> Result<(), String> {
        let fault = self.fault();
        // The fault hits a new connection, never a pooled one.
        self.target.origin.cut();
        self.target.shared.active.store(true, Ordering::SeqCst);
        if matches!(fault.does, Does::Refuses) {
            self.target.origin.die();
        }
        let seen = visitor.ask(fault.asked, &self.host, "/fault");
        let verdict = fault.sees.judge(&seen);
        if matches!(fault.does, Does::Later(_)) {
            self.target.shared.answered.open();
            let last = self.target.origin.connections().pop().ok_or("no connection")?;
            if !soon(|| last.has_ended() || self.target.shared.done.pass_now()) {
                return Err("the origin did not misbehave".into());
            }
        }
        self.target.shared.active.store(false, Ordering::SeqCst);
        if matches!(fault.does, Does::Refuses) {
            self.target.origin.revive();
        }
        verdict
    }
}
/// Returns whether the condition becomes true in time.
fn soon(mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + SOON;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        pause();
    }
}
/// A closed connection sends nothing more.
fn ended(client: &mut Client) -> Result<(), String> {
    let rest = client.rest();
    if rest.is_empty() {
        Ok(())
    } else {
        Err(format!("more after the end: {:?}", String::from_utf8_lossy(&rest)))
    }
}
