//! `ringway certificates`: lists, shows, uploads and verifies certificates.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ringway_model::limits::{CERTIFICATE_PEM_BYTES_MAX, KEY_PEM_BYTES_MAX};
use ringway_wire::message::Method;
use serde::Deserialize;
use serde_json::json;

use super::text::{Cell, Style, Table, Tone, escape};
use super::{ApiArgs, Failure, List, time};

#[derive(Debug, clap::Args)]
pub(crate) struct CertificatesArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    command: CertificatesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CertificatesCommand {
    /// List the certificate state of each domain, by name
    #[command(visible_alias = "ls")]
    List {
        /// Only domains whose certificate is in this state
        #[arg(long, value_name = "STATE", value_parser = STATES)]
        state: Option<String>,
        /// Only domains of this app
        #[arg(long, value_name = "APP")]
        app: Option<String>,
        /// Only domains of this tenant
        #[arg(long, value_name = "TENANT")]
        tenant: Option<String>,
        /// Show at most this many
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Show the certificate of a domain: its state and reason, DNS records, and the next attempt
    Show {
        /// Name of the domain
        domain: String,
    },
    /// Show the CAs, the remaining budgets of their limits, and the queue
    Budgets,
    /// Upload a certificate; from then on none is ordered for this domain
    Upload {
        /// Name of the domain
        domain: String,
        /// PEM file with the certificate and its chain, the leaf first
        #[arg(long, value_name = "PATH")]
        cert: PathBuf,
        /// PEM file with its private key
        #[arg(long, value_name = "PATH")]
        key: PathBuf,
    },
    /// Delete an uploaded certificate; the domain gets one from the CA again
    #[command(visible_alias = "rm")]
    Remove {
        /// Name of the domain
        domain: String,
    },
    /// Check a domain's DNS records and its challenge URL now
    Verify {
        /// Name of the domain
        domain: String,
    },
}

/// States of a certificate.
const STATES: [&str; 9] =
    ["none", "default", "pending_dns", "verifying", "issuing", "active", "failed", "parked", "provided"];

const LIST: &str = "/api/status/certificates";
const CERTIFICATE: &str = "/api/tenants/domains/certificate";

impl CertificatesArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        match self.command {
            CertificatesCommand::List { state, app, tenant, limit } => api.list(
                &List {
                    path: LIST,
                    items: "certificates",
                    filters: vec![("state", state), ("app_id", app), ("tenant_id", tenant)],
                    limit,
                },
                Table::new(&["DOMAIN", "MODE", "STATE", "EXPIRES", "RENEWAL", "NEXT TRY", "REASON"]),
                |table, item: Item| {
                    let at = |text: &Option<String>| Cell::or_dash(text.as_deref().map(time).as_deref());
                    let certificate = &item.certificate;
                    table.row(vec![
                        Cell::new(&item.domain),
                        Cell::new(&certificate.mode),
                        Cell::new(&certificate.status).tone(Tone::of_state(&certificate.status)),
                        at(&certificate.expires_at),
                        at(&certificate.renew_at),
                        at(&certificate.next_try),
                        Cell::or_dash(certificate.reason.as_deref()),
                    ]);
                },
            ),
            CertificatesCommand::Show { domain } => api.show(
                Method::Post,
                "/api/tenants/domains/get",
                Some(&json!({ "domain": domain })),
                |domain: DomainView, style| details(&domain, style),
            ),
            CertificatesCommand::Budgets => {
                api.show(Method::Get, &format!("{LIST}?limit=1"), None, |page: Page, style| {
                    overview(&page.overview, style)
                })
            }
            CertificatesCommand::Upload { domain, cert, key } => {
                let body = json!({
                    "domain": domain,
                    "certificate": read(&cert, CERTIFICATE_PEM_BYTES_MAX)?,
                    "key": read(&key, KEY_PEM_BYTES_MAX)?,
                });
                api.show(Method::Post, CERTIFICATE, Some(&body), |facts: Uploaded, style| {
                    uploaded(&facts, style)
                })
            }
            CertificatesCommand::Remove { domain } => {
                let body = json!({ "domain": domain });
                api.change(Method::Delete, CERTIFICATE, &body, &format!("certificate of {domain}"))
            }
            CertificatesCommand::Verify { domain } => api.show(
                Method::Post,
                "/api/tenants/domains/verify",
                Some(&json!({ "domain": domain })),
                |verification: Verification, style| verified(&verification, style),
            ),
        }
    }
}

/// Reads a file or a pipe, up to the upload limit: a pipe may have no end.
fn read(path: &Path, bytes_max: usize) -> Result<String, Failure> {
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    let text = read.and_then(|_| match String::from_utf8(bytes) {
        Ok(text) if text.len() <= bytes_max => Ok(text),
        Ok(_) => {
            let reason = format!("it has more than {bytes_max} bytes, too many for a PEM certificate or key");
            Err(io::Error::new(io::ErrorKind::FileTooLarge, reason))
        }
        Err(_) => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "it is not text, as a PEM certificate or key is"))
        }
    });
    text.map_err(|error| Failure::File { path: path.display().to_string(), error })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item {
    domain: String,
    #[serde(flatten)]
    certificate: CertificateView,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DomainView {
    domain: String,
    certificate: CertificateView,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CertificateView {
    mode: String,
    status: String,
    reason: Option<String>,
    next_try: Option<String>,
    failures: u64,
    expires_at: Option<String>,
    issuer: Option<String>,
    fingerprint: Option<String>,
    renew_at: Option<String>,
    dns: Option<DnsView>,
    queue: Option<QueueView>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct QueueView {
    position: u64,
    expected_at: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct DnsView {
    checked_at: String,
    verdict: String,
    advice: String,
    expected: Vec<RecordView>,
    found: Vec<RecordView>,
    problem: Option<String>,
    caa: CaaView,
    probes: Vec<ProbeView>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RecordView {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CaaView {
    verdict: String,
    at: Option<String>,
    issuers: Vec<String>,
    problem: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ProbeView {
    address: String,
    outcome: String,
    status: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Verification {
    domain: String,
    verified: bool,
    #[serde(flatten)]
    dns: DnsView,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Uploaded {
    domain: String,
    names: Vec<String>,
    issuer: String,
    fingerprint: String,
    expires_at: String,
    pending: Vec<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Page {
    overview: Overview,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Overview {
    states: std::collections::BTreeMap<String, u64>,
    directory_problem: Option<String>,
    authorities: Vec<Authority>,
    budgets: Vec<Budget>,
    queue: QueueTotals,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Authority {
    url: String,
    usable: bool,
    problem: Option<String>,
    paused_until: Option<String>,
    in_flight: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Budget {
    limit: String,
    subject: Option<String>,
    left: u64,
    capacity: u64,
    next_at: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct QueueTotals {
    waiting: u64,
    in_flight: u64,
    ends_at: Option<String>,
}

/// Appends a line with a name and its value.
fn line(out: &mut String, name: &str, value: Option<&str>) {
    out.push_str(&format!("{name:<13} {}\n", value.map_or_else(|| "-".to_owned(), escape)));
}

fn details(domain: &DomainView, style: Style) -> String {
    let certificate = &domain.certificate;
    let mut out = format!(
        "{}  {}\n",
        style.paint(Tone::Heading, &escape(&domain.domain)),
        style.paint(Tone::of_state(&certificate.status), &escape(&certificate.status)),
    );
    line(&mut out, "mode", Some(&certificate.mode));
    let at = |text: &Option<String>| text.as_deref().map(time);
    for (name, value) in [
        ("expires", at(&certificate.expires_at)),
        ("issuer", certificate.issuer.clone()),
        ("fingerprint", certificate.fingerprint.clone()),
        ("renewal", at(&certificate.renew_at)),
    ] {
        line(&mut out, name, value.as_deref());
    }
    if let Some(reason) = &certificate.reason {
        line(&mut out, "reason", Some(reason));
    }
    if certificate.failures > 0 {
        line(&mut out, "failures", Some(&certificate.failures.to_string()));
    }
    if let Some(next_try) = &certificate.next_try {
        line(&mut out, "next try", Some(&time(next_try)));
    }
    if let Some(queue) = &certificate.queue {
        let turn = queue.expected_at.as_deref().map_or_else(|| "later".to_owned(), time);
        line(&mut out, "queue", Some(&format!("number {}, expected {turn}", queue.position)));
    }
    if let Some(dns) = &certificate.dns {
        out.push('\n');
        out.push_str(&dns_text(dns, style));
    }
    out
}

fn verified(verification: &Verification, style: Style) -> String {
    let tone = if verification.verified { Tone::Good } else { Tone::Bad };
    format!(
        "{}  {}\n{}",
        style.paint(Tone::Heading, &escape(&verification.domain)),
        style.paint(tone, &escape(&verification.dns.verdict)),
        dns_text(&verification.dns, style),
    )
}

/// Describes the DNS check and its advice.
fn dns_text(dns: &DnsView, style: Style) -> String {
    let records = |records: &[RecordView]| match records {
        [] => None,
        records => {
            let records = records.iter().map(|record| format!("{} {}", record.kind, record.value));
            Some(records.collect::<Vec<_>>().join(", "))
        }
    };
    let mut out = String::new();
    line(&mut out, "checked", Some(&format!("{}: {}", time(&dns.checked_at), dns.verdict)));
    line(&mut out, "expected", records(&dns.expected).as_deref());
    line(&mut out, "found", records(&dns.found).or_else(|| dns.problem.clone()).as_deref());
    let mut caa = dns.caa.verdict.clone();
    if let Some(at) = &dns.caa.at {
        caa.push_str(&format!(" by {at}, which names {}", dns.caa.issuers.join(", ")));
    }
    if let Some(problem) = &dns.caa.problem {
        caa.push_str(&format!(": {problem}"));
    }
    line(&mut out, "CAA", Some(&caa));
    for probe in &dns.probes {
        let status = probe.status.map(|status| format!(" (status {status})")).unwrap_or_default();
        line(&mut out, "probe", Some(&format!("{}: {}{status}", probe.address, probe.outcome)));
    }
    let tone = if dns.verdict == "ready" { Tone::Good } else { Tone::Warning };
    out.push_str(&style.paint(tone, &escape(&dns.advice)));
    out.push('\n');
    out
}

fn uploaded(facts: &Uploaded, style: Style) -> String {
    let mut out = format!("{}\n", style.paint(Tone::Heading, &escape(&facts.domain)));
    line(&mut out, "names", Some(&facts.names.join(", ")));
    line(&mut out, "issuer", Some(&facts.issuer));
    line(&mut out, "expires", Some(&time(&facts.expires_at)));
    line(&mut out, "fingerprint", Some(&facts.fingerprint));
    match facts.pending.as_slice() {
        [] => out.push_str("served by every core\n"),
        cores => {
            let cores: Vec<String> = cores.iter().map(u64::to_string).collect();
            out.push_str(&format!("stored, but these cores do not serve it yet: {}\n", cores.join(", ")));
        }
    }
    out
}

fn overview(overview: &Overview, style: Style) -> String {
    let states: Vec<String> = overview
        .states
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(state, count)| format!("{count} {}", escape(state)))
        .collect();
    let mut out = String::new();
    line(&mut out, "domains", Some(&states.join(", ")).filter(|text| !text.is_empty()).map(String::as_str));
    let queue = &overview.queue;
    let ends =
        queue.ends_at.as_deref().map(|at| format!(", the last about {}", time(at))).unwrap_or_default();
    line(&mut out, "queue", Some(&format!("{} waiting, {} in flight{ends}", queue.waiting, queue.in_flight)));
    if let Some(problem) = &overview.directory_problem {
        out.push_str(&style.paint(Tone::Bad, &format!("directory: {}\n", escape(problem))));
    }
    if overview.authorities.is_empty() {
        out.push_str("no CA is configured: set ACME_EMAIL or ACME_DIRECTORY_URL\n");
        return out;
    }
    let mut authorities = Table::new(&["CA", "STATE", ">IN FLIGHT", "PAUSED UNTIL", "PROBLEM"]);
    for authority in &overview.authorities {
        let (word, tone) = if authority.usable { ("usable", Tone::Good) } else { ("unavailable", Tone::Bad) };
        authorities.row(vec![
            Cell::new(&authority.url),
            Cell::new(word).tone(tone),
            Cell::number(authority.in_flight),
            Cell::or_dash(authority.paused_until.as_deref().map(time).as_deref()),
            Cell::or_dash(authority.problem.as_deref()),
        ]);
    }
    out.push('\n');
    out.push_str(&authorities.render(style));
    if !overview.budgets.is_empty() {
        let mut budgets = Table::new(&["LIMIT", "OF", ">LEFT", ">OF AT MOST", "NEXT"]);
        for budget in &overview.budgets {
            let left = Cell::number(budget.left);
            budgets.row(vec![
                Cell::new(&budget.limit),
                Cell::or_dash(budget.subject.as_deref()),
                if budget.left == 0 { left.tone(Tone::Warning) } else { left },
                Cell::number(budget.capacity),
                Cell::or_dash(budget.next_at.as_deref().map(time).as_deref()),
            ]);
        }
        out.push('\n');
        out.push_str(&budgets.render(style));
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_failed_certificate_is_shown_with_reason_and_advice() {
        let shown = details(
            &of(json!({
                "domain": "a.example",
                "certificate": {
                    "mode": "acme", "status": "failed", "reason": "it leads elsewhere\u{1b}[2J", "failures": 2,
                    "next_try": "2025-01-01T00:01:00Z", "queue": { "position": 3, "expected_at": null },
                    "dns": {
                        "checked_at": "2025-01-01T00:00:00Z", "verdict": "elsewhere", "advice": "point it here",
                        "expected": [{ "type": "A", "value": "203.0.113.7" }],
                        "found": [{ "type": "CNAME", "value": "edge.example" }, { "type": "A", "value": "198.51.100.1" }],
                        "caa": { "verdict": "forbidden", "at": "example", "issuers": ["other.example"] },
                        "probes": [{ "address": "198.51.100.1:80", "outcome": "foreign", "status": 404 }],
                    },
                },
            })),
            Style::PLAIN,
        );
        assert_eq!(
            shown,
            "a.example  failed\n\
             mode          acme\n\
             expires       -\n\
             issuer        -\n\
             fingerprint   -\n\
             renewal       -\n\
             reason        it leads elsewhere\\u{1b}[2J\n\
             failures      2\n\
             next try      2025-01-01 00:01:00Z\n\
             queue         number 3, expected later\n\
             \n\
             checked       2025-01-01 00:00:00Z: elsewhere\n\
             expected      A 203.0.113.7\n\
             found         CNAME edge.example, A 198.51.100.1\n\
             CAA           forbidden by example, which names other.example\n\
             probe         198.51.100.1:80: foreign (status 404)\n\
             point it here\n"
        );
    }

    #[test]
    fn an_upload_shows_the_cores_that_do_not_serve_it_yet() {
        let facts = json!({
            "domain": "a.example", "names": ["a.example", "b.example"], "issuer": "CN=A", "fingerprint": "ab",
            "expires_at": "2025-01-01T00:00:00Z",
        });
        assert!(uploaded(&of(facts.clone()), Style::PLAIN).ends_with("served by every core\n"));
        let mut slow = facts;
        slow["pending"] = json!([1, 3]);
        assert!(uploaded(&of(slow), Style::PLAIN).contains("do not serve it yet: 1, 3"));
    }

    #[test]
    fn budgets_show_what_is_left_and_the_setting_of_a_missing_ca() {
        let none = overview(&of(json!({ "states": { "none": 2, "active": 0 } })), Style::PLAIN);
        assert!(none.contains("2 none") && none.contains("ACME_EMAIL"), "{none}");
        let some = overview(
            &of(json!({
                "authorities": [{ "url": "https://ca.example/dir", "usable": true }],
                "budgets": [{ "limit": "orders", "left": 0, "capacity": 300, "next_at": "2025-01-01T00:00:00Z" }],
            })),
            Style::PLAIN,
        );
        assert!(some.contains("https://ca.example/dir") && some.contains("2025-01-01 00:00:00Z"), "{some}");
    }

    #[test]
    fn an_empty_response_is_still_shown() {
        assert!(details(&DomainView::default(), Style::PLAIN).contains("mode"));
        assert!(verified(&Verification::default(), Style::PLAIN).contains("CAA"));
    }
}
