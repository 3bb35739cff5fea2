//! `ringway cache`: shows the cache and what is stored, purges it, and explains its part in a request.

use std::fmt::Write as _;

use ringway_wire::message::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::config::header;
use super::status::bytes;
use super::text::{Cell, Style, Table, Tone, escape};
use super::{Api, ApiArgs, Failure, object, target};

#[derive(Debug, clap::Args)]
pub(crate) struct CacheArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(flatten)]
    stats: StatsArgs,
    #[command(subcommand)]
    command: Option<CacheCommand>,
}

#[derive(Debug, clap::Subcommand)]
enum CacheCommand {
    /// Show memory, entries, hits and misses (the default)
    Stats(StatsArgs),
    /// List stored responses
    #[command(visible_alias = "ls")]
    Entries {
        /// Of this host only, as it is sent to the endpoint
        #[arg(long)]
        host: Option<String>,
        /// Of this route only
        #[arg(long, value_name = "ID")]
        route: Option<String>,
        /// Of this tenant only
        #[arg(long, value_name = "ID")]
        tenant: Option<String>,
        /// List at most this many [default: 100]
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Remove stored responses, or make them stale
    ///
    /// In force on all cores when the command returns; what was requested from an endpoint before is not
    /// stored afterwards. A URL is that of http and of https alike, with all its variants.
    #[command(override_usage = "ringway cache purge [OPTIONS] [URL]", after_long_help = PURGE_EXAMPLES)]
    Purge(PurgeArgs),
    /// Explain whether a request would be a hit, and why
    ///
    /// Shows its route, the verdict of the cache, the fields of the key, and the stored response. Nothing is
    /// counted, and no request is sent.
    #[command(after_long_help = EXPLAIN_EXAMPLES)]
    Explain {
        /// URL of the request
        url: String,
        /// Method
        #[arg(long, short = 'X', default_value = "GET")]
        method: String,
        /// Header field; repeatable
        #[arg(long = "header", short = 'H', value_name = "NAME: VALUE", value_parser = header)]
        headers: Vec<(String, String)>,
    },
}

#[derive(Debug, clap::Args)]
struct StatsArgs {
    /// Also by route or by tenant, those with the most memory first
    #[arg(long, value_name = "PART", value_parser = ["route", "tenant"])]
    by: Option<String>,
    /// With --by: list at most this many
    #[arg(long, value_name = "COUNT", requires = "by")]
    limit: Option<usize>,
}

#[derive(Debug, clap::Args)]
struct PurgeArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Only make them stale: endpoints are asked before their next use, and they may answer while these fail
    #[arg(long)]
    soft: bool,
    /// Only count them
    #[arg(long, conflicts_with = "soft")]
    dry_run: bool,
}

/// Stored responses to purge: by one of these, and a tenant beside it.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct SelectionArgs {
    /// URL
    #[arg(conflicts_with_all = ["prefix", "pattern", "tags", "route", "all"])]
    url: Option<String>,
    /// All URLs that begin so: a host, and the beginning of a path
    #[arg(long, value_name = "URL", conflicts_with_all = ["pattern", "tags", "route", "all"])]
    prefix: Option<String>,
    /// Hosts, or hosts and paths, with * for any characters
    #[arg(long, conflicts_with_all = ["tags", "route", "all"])]
    pattern: Option<String>,
    /// Responses with this tag (Cache-Tag, Surrogate-Key, Cache-Groups); repeatable
    #[arg(long = "tag", value_name = "TAG", conflicts_with_all = ["route", "all"])]
    tags: Vec<String>,
    /// All of a route
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    route: Option<String>,
    /// All of a tenant; beside another selection, only what is the tenant's
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
}

const PURGE_EXAMPLES: &str = "\
Examples:
  ringway cache purge https://www.example.com/img/logo.png
  ringway cache purge --prefix www.example.com/img/
  ringway cache purge --pattern '*.example.com/*.css' --dry-run
  ringway cache purge --tag product-17 --soft
  ringway cache purge --tenant acme";

const EXPLAIN_EXAMPLES: &str = "\
Examples:
  ringway cache explain https://www.example.com/img/logo.png
  ringway cache explain www.example.com/ -H 'Accept-Language: de'";

impl CacheArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let api = self.api.open()?;
        match self.command {
            Some(CacheCommand::Stats(stats)) => stats.run(&api),
            None => self.stats.run(&api),
            Some(CacheCommand::Entries { host, route, tenant, limit }) => {
                let limit = limit.map(|limit| limit.to_string());
                let filters = [("host", host), ("route", route), ("tenant", tenant), ("limit", limit)];
                api.show(Method::Get, &path("/api/cache/entries", &filters), None, entries)
            }
            Some(CacheCommand::Purge(purge)) => purge.run(&api),
            Some(CacheCommand::Explain { url, method, headers }) => {
                let body = json!({ "url": url, "method": method, "headers": headers });
                let show = |view: ExplainView, style| view.text(style);
                api.show(Method::Post, "/api/cache/explain", Some(&body), show)
            }
        }
    }
}

impl StatsArgs {
    fn run(self, api: &Api) -> Result<(), Failure> {
        let limit = self.limit.map(|limit| limit.to_string());
        let filters = [("by", self.by), ("limit", limit)];
        api.show(Method::Get, &path("/api/cache/stats", &filters), None, stats)
    }
}

impl PurgeArgs {
    fn run(self, api: &Api) -> Result<(), Failure> {
        let Self { selection, soft, dry_run } = self;
        let SelectionArgs { url, prefix, pattern, tags, route, tenant, all } = selection;
        let flag = |is_set: bool| is_set.then_some(Value::Bool(true));
        let body = object([
            ("url", url.map(Value::from)),
            ("prefix", prefix.map(Value::from)),
            ("pattern", pattern.map(Value::from)),
            ("tags", (!tags.is_empty()).then(|| json!(tags))),
            ("route", route.map(Value::from)),
            ("tenant", tenant.map(Value::from)),
            ("all", flag(all)),
            ("soft", flag(soft)),
            ("dry_run", flag(dry_run)),
        ]);
        api.show(Method::Post, "/api/cache/purge", Some(&body), |purged: PurgedView, _| {
            let PurgedView { invalidated, remaining } = purged;
            let done = match (dry_run, soft) {
                (true, _) => "would be removed",
                (false, true) => "made stale",
                (false, false) => "removed",
            };
            let responses = if invalidated == 1 { "response" } else { "responses" };
            format!("{invalidated} stored {responses} {done}, {remaining} in the cache\n")
        })
    }
}

/// Target of a request with the parameters that have a value.
fn path(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let given: Vec<(&str, &str)> =
        parameters.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect();
    target(path, &given)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PurgedView {
    invalidated: u64,
    remaining: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StatsView {
    bytes: u64,
    bytes_max: Option<u64>,
    entries: u64,
    entries_max: Option<u64>,
    hits: u64,
    misses: u64,
    bypasses: u64,
    hit_rate: Option<f64>,
    evictions: u64,
    stored: Option<u64>,
    purged: Option<u64>,
    expired: Option<u64>,
    parts: Vec<PartView>,
    parts_total: usize,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PartView {
    tenant: Option<String>,
    route: Option<String>,
    bytes: u64,
    entries: u64,
    evictions: u64,
    hits: u64,
    misses: u64,
    hit_rate: Option<f64>,
}

fn stats(view: StatsView, style: Style) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:<9} {value}");
    };
    let of = |max: Option<String>| max.map(|max| format!(" of {max}")).unwrap_or_default();
    line("memory", &format!("{}{}", bytes(view.bytes), of(view.bytes_max.map(bytes))));
    line("entries", &format!("{}{}", view.entries, of(view.entries_max.map(|max| max.to_string()))));
    let rate = percent(view.hit_rate).map(|rate| format!(" ({rate} hits)")).unwrap_or_default();
    let StatsView { hits, misses, bypasses, .. } = view;
    line("requests", &format!("{hits} hits, {misses} misses, {bypasses} passed by{rate}"));
    let mut removed = format!("{} evicted", view.evictions);
    for (count, what) in [(view.purged, "purged"), (view.expired, "expired")] {
        if let Some(count) = count {
            let _ = write!(removed, ", {count} {what}");
        }
    }
    if let Some(stored) = view.stored {
        line("stored", &stored.to_string());
    }
    line("removed", &removed);
    if view.parts.is_empty() {
        return text;
    }
    text.push('\n');
    let mut table =
        Table::new(&["TENANT", "ROUTE", ">MEMORY", ">ENTRIES", ">HITS", ">MISSES", ">HIT RATE", ">EVICTED"]);
    for part in &view.parts {
        table.row(vec![
            Cell::or_dash(part.tenant.as_deref()),
            Cell::or_dash(part.route.as_deref()),
            Cell::new(&bytes(part.bytes)),
            Cell::number(part.entries),
            Cell::number(part.hits),
            Cell::number(part.misses),
            Cell::or_dash(percent(part.hit_rate).as_deref()),
            Cell::number(part.evictions),
        ]);
    }
    text.push_str(&table.render(style));
    if view.parts.len() < view.parts_total {
        let _ = writeln!(text, "{} of {}", view.parts.len(), view.parts_total);
    }
    text
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EntriesView {
    entries: Vec<EntryView>,
    has_more: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EntryView {
    url: String,
    tenant: Option<String>,
    route: String,
    status: u64,
    body_bytes: u64,
    age: u64,
    ttl: i64,
    etag: Option<String>,
    vary: Vec<String>,
    tags: u64,
}

impl EntryView {
    /// Freshness in words.
    fn lifetime(&self) -> (String, Tone) {
        match self.ttl {
            ttl if ttl > 0 => (format!("{ttl} s"), Tone::Good),
            ttl => (format!("stale {} s", -ttl), Tone::Warning),
        }
    }
}

fn entries(view: EntriesView, style: Style) -> String {
    if view.entries.is_empty() {
        return "no stored responses\n".to_owned();
    }
    let mut table = Table::new(&["URL", "ROUTE", "TENANT", ">STATUS", ">BYTES", ">AGE", "FRESH FOR", "VARY"]);
    for entry in &view.entries {
        let (lifetime, tone) = entry.lifetime();
        table.row(vec![
            Cell::new(&entry.url),
            Cell::new(&entry.route),
            Cell::or_dash(entry.tenant.as_deref()),
            Cell::number(entry.status),
            Cell::number(entry.body_bytes),
            Cell::new(&format!("{} s", entry.age)),
            Cell::new(&lifetime).tone(tone),
            Cell::or_dash(Some(&entry.vary.join(", "))),
        ]);
    }
    let mut text = table.render(style);
    if view.has_more {
        let _ = writeln!(text, "there are more: --host, --route, --tenant and --limit select");
    }
    text
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ExplainView {
    host: String,
    path: String,
    route: Option<String>,
    tenant: Option<String>,
    pool: Option<String>,
    cache: Option<ExplainedCacheView>,
    reason: String,
}

/// Part of a route's cache in a request.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ExplainedCacheView {
    verdict: String,
    reason: String,
    mode: String,
    ttl: Option<u64>,
    fills: bool,
    key_fields: Vec<String>,
    variants: u64,
    response: Option<EntryView>,
}

impl ExplainedCacheView {
    /// The verdict and its reason.
    pub(super) fn verdict(&self, style: Style) -> String {
        let tone = match self.verdict.as_str() {
            "hit" => Tone::Good,
            "miss" | "bypass" => Tone::Plain,
            _ => Tone::Warning,
        };
        format!("{}: {}", style.paint(tone, &escape(&self.verdict)), escape(&self.reason))
    }
}

impl ExplainView {
    fn text(&self, style: Style) -> String {
        let mut text = String::new();
        let _ = match &self.cache {
            Some(cache) => writeln!(text, "{}", cache.verdict(style)),
            None => writeln!(text, "{}: {}", style.paint(Tone::Bad, "no cache"), escape(&self.reason)),
        };
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name:<11} {value}");
        };
        if let Some(route) = &self.route {
            let part = |what: &str, value: &Option<String>| {
                value.as_deref().map(|value| format!(", {what} {}", escape(value))).unwrap_or_default()
            };
            let (pool, tenant) = (part("pool", &self.pool), part("tenant", &self.tenant));
            line("route", &format!("{}{pool}{tenant}", escape(route)));
        }
        line("asked", &format!("{}{}", escape(&self.host), escape(&self.path)));
        let Some(cache) = &self.cache else { return text };
        let ttl =
            cache.ttl.map(|ttl| format!(", {ttl} s for responses without a lifetime")).unwrap_or_default();
        line("mode", &format!("{}{ttl}", escape(&cache.mode)));
        if !cache.key_fields.is_empty() {
            let variants = match cache.variants {
                0 => String::new(),
                variants => format!(" ({variants} variants)"),
            };
            line("key fields", &format!("{}{variants}", escape(&cache.key_fields.join(", "))));
        }
        match &cache.response {
            Some(stored) => {
                let EntryView { status, body_bytes, age, .. } = stored;
                let (lifetime, tone) = stored.lifetime();
                let lifetime = style.paint(tone, &format!("fresh for {lifetime}"));
                let lifetime =
                    if stored.ttl > 0 { lifetime } else { style.paint(tone, &stored.lifetime().0) };
                line("stored", &format!("{status}, {body_bytes} bytes, age {age} s, {lifetime}"));
                line("URL", &escape(&stored.url));
                if let Some(etag) = &stored.etag {
                    line("ETag", &escape(etag));
                }
                if stored.tags > 0 {
                    line("tags", &stored.tags.to_string());
                }
            }
            None if cache.verdict == "miss" && !cache.fills => {
                line("stored", "nothing, and the response will not be")
            }
            None => {}
        }
        text
    }
}

fn percent(ratio: Option<f64>) -> Option<String> {
    ratio.map(|ratio| format!("{:.1} %", ratio * 100.0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::cli::client::tests::{parse_line, run};

    #[test]
    fn a_purge_says_what_it_selects_and_what_it_did() {
        let purged = json!({ "invalidated": 3, "remaining": 4 }).to_string();
        for (line, body) in [
            ("cache purge https://a.test/x", r#"{"url":"https://a.test/x"}"#),
            ("cache purge --prefix a.test/img --soft", r#"{"prefix":"a.test/img","soft":true}"#),
            ("cache purge --pattern *.a.test --dry-run", r#"{"dry_run":true,"pattern":"*.a.test"}"#),
            ("cache purge --tag a --tag b", r#"{"tags":["a","b"]}"#),
            ("cache purge --route shop --tenant acme", r#"{"route":"shop","tenant":"acme"}"#),
            ("cache purge --all --tenant acme", r#"{"all":true,"tenant":"acme"}"#),
            ("cache purge --all", r#"{"all":true}"#),
        ] {
            let (requests, result) = run(line, &[(200, &purged)]);
            assert_eq!(requests, [format!("POST /api/cache/purge {body}")], "{line}");
            result.unwrap();
        }
    }

    #[test]
    fn a_purge_needs_one_selection() {
        for line in [
            "cache purge",
            "cache purge --soft",
            "cache purge a.test --all",
            "cache purge a.test --tag x",
            "cache purge --prefix a.test --pattern *",
            "cache purge --route a --all",
            "cache purge a.test --soft --dry-run",
            "cache stats --by host",
            "cache stats --limit 5",
            "cache explain",
            "cache explain a.test -H nonsense",
        ] {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }

    #[test]
    fn the_status_has_a_line_for_each_part() {
        let view: StatsView = serde_json::from_value(json!({
            "bytes": 67_108_864, "bytes_max": 256_000_000, "entries": 234, "entries_max": 10_000,
            "hits": 73, "misses": 27, "bypasses": 5, "hit_rate": 0.73, "evictions": 12, "stored": 300,
            "purged": 9, "expired": 1, "parts_total": 2,
            "parts": [{ "tenant": "ac\u{1b}me", "route": "shop", "bytes": 900, "hits": 5, "hit_rate": 1.0 }],
        }))
        .unwrap();
        let text = stats(view, Style::PLAIN);
        for part in [
            "memory    64.0 MiB of 244.1 MiB\n",
            "entries   234 of 10000\n",
            "73 hits, 27 misses, 5 passed by (73.0 % hits)",
            "12 evicted, 9 purged, 1 expired",
            "shop",
            "900 bytes",
            "100.0 %",
            "1 of 2\n",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains('\u{1b}'));
        let own = stats(StatsView { bytes: 5, ..StatsView::default() }, Style::PLAIN);
        assert!(own.contains("memory    5 bytes\n") && !own.contains("stored"), "{own}");
    }

    #[test]
    fn an_explanation_begins_with_the_verdict() {
        let stored = json!({ "url": "https://a.test/x", "status": 200, "body_bytes": 5, "age": 18, "ttl": 42,
            "etag": "\"one\"", "vary": ["accept-language"] });
        let view: ExplainView = serde_json::from_value(json!({
            "host": "a.test", "path": "/x", "route": "shop", "tenant": "acme", "pool": "web",
            "cache": { "verdict": "hit", "reason": "fresh for 42 s more", "mode": "safe", "ttl": 60,
                "key_fields": ["accept-language"], "variants": 2, "response": stored },
        }))
        .unwrap();
        assert_eq!(
            view.text(Style::PLAIN),
            "hit: fresh for 42 s more\n\
             route       shop, pool web, tenant acme\n\
             asked       a.test/x\n\
             mode        safe, 60 s for responses without a lifetime\n\
             key fields  accept-language (2 variants)\n\
             stored      200, 5 bytes, age 18 s, fresh for 42 s\n\
             URL         https://a.test/x\n\
             ETag        \"one\"\n"
        );
        let none = ExplainView { reason: "the route has no cache".to_owned(), ..ExplainView::default() };
        assert!(none.text(Style::PLAIN).starts_with("no cache: the route has no cache\n"));
    }

    #[test]
    fn stored_responses_are_a_table() {
        let page = json!({ "has_more": true, "entries": [
            { "url": "https://a.test/x", "route": "shop", "status": 200, "ttl": 42 },
            { "url": "https://a.test/y", "route": "shop", "status": 404, "ttl": -3 },
        ] });
        let text = entries(serde_json::from_value(page).unwrap(), Style::PLAIN);
        assert!(
            text.contains("42 s") && text.contains("stale 3 s") && text.contains("there are more"),
            "{text}"
        );
        let (requests, result) = run("cache entries --host a.test --limit 5", &[(200, r#"{"entries":[]}"#)]);
        assert_eq!(requests, ["GET /api/cache/entries?host=a.test&limit=5"]);
        result.unwrap();
        let (requests, _) = run("cache --by route", &[(200, "{}")]);
        assert_eq!(requests, ["GET /api/cache/stats?by=route"]);
    }
}
