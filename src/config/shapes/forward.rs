//! `forward`: the forward proxy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    BlockedAnswer, ClientRate, ContentTypes, DomainListSpec, ForwardLimits, ForwardSpec, ListAction,
    ListFormat, ListMode, ListSource, PrivateTarget, ProxyAuth,
};
use serde_json::json;

use super::middleware::networks;
use crate::draft::Draft;
use crate::values::{boolean, count, list_of, number, ranged, size, strings_schema, text, texts, time};
use crate::{Fault, Field, Reader};

/// Reads `forward`.
pub(super) fn section(reader: &mut Reader<'_>, draft: &mut Draft) {
    let doc = "The forward proxy, which is off without this section. Changes come into force with SIGHUP, but for listen.";
    let Some(spec) = reader.object(NAME, doc, shape) else { return };
    if draft.forward.as_deref().is_some_and(|known| *known != spec) {
        let message = "differs from that of another file".to_owned();
        reader.fault(NAME, Fault { code: "conflict", message });
    }
    draft.forward = Some(Arc::new(spec));
}

fn shape(reader: &mut Reader<'_>) -> Option<ForwardSpec> {
    let defaults = ForwardSpec::default();
    let spec = ForwardSpec {
        listen: reader.required(&LISTEN).unwrap_or_default(),
        allow_clients: reader.optional(&ALLOW_CLIENTS).unwrap_or_default(),
        auth: reader.object("auth", "Credentials that clients need.", auth),
        connect_ports: reader.optional(&CONNECT_PORTS).unwrap_or(defaults.connect_ports),
        http_ports: reader.optional(&HTTP_PORTS).unwrap_or(defaults.http_ports),
        mode: mode(reader),
        lists: reader.list("lists", "Lists of domains.", list).unwrap_or_default(),
        allow_private: reader
            .list("allow_private", "Names that may lead into networks that are not the internet.", private)
            .unwrap_or_default(),
        blocked_answer: reader
            .object("blocked_answer", "Response to a request for a blocked domain.", blocked_answer)
            .unwrap_or_default(),
        content_types: reader
            .object("content_types", "Media types of responses to http:// that are blocked.", content_types)
            .unwrap_or_default(),
        rate: reader.object("rate", "Rate of each client.", rate),
        limits: reader.object("limits", "Limits of requests and connections.", limits).unwrap_or_default(),
        disclose_client: reader.optional(&DISCLOSE).unwrap_or(false),
    };
    if spec.allow_clients.is_empty() && spec.auth.is_none() {
        let message = "is required, or auth: without both, everybody could use the proxy".to_owned();
        reader.fault(ALLOW_CLIENTS.name, Fault { code: "missing", message });
    }
    Some(spec)
}

fn auth(reader: &mut Reader<'_>) -> Option<ProxyAuth> {
    reader.one_of("kind", "Kind of the credentials.", &["basic"]);
    let realm = reader.optional(&REALM).unwrap_or_else(|| "proxy".into());
    Some(ProxyAuth { realm, users_file: PathBuf::from(&*reader.required(&USERS_FILE)?) })
}

fn mode(reader: &mut Reader<'_>) -> ListMode {
    let doc = "Meaning of the lists: blocklist, all domains but theirs are allowed; allowlist, theirs alone; mixed, each list has an action, and a domain without a rule is refused. Blocklist when absent.";
    match reader.one_of("mode", doc, &["blocklist", "allowlist", "mixed"]) {
        Some("allowlist") => ListMode::Allowlist,
        Some("mixed") => ListMode::Mixed,
        _ => ListMode::Blocklist,
    }
}

fn list(reader: &mut Reader<'_>) -> Option<DomainListSpec> {
    let name = reader.required(&LIST_NAME);
    let action =
        reader.one_of("action", "Action of its rules; that of the mode when absent.", &["allow", "block"]);
    let file = reader.optional(&FILE);
    let format =
        reader.one_of("format", "Format of the file; plain when absent.", &["plain", "hosts", "adblock"]);
    let domains = reader.optional(&DOMAINS);
    let source = match (file, domains) {
        (Some(path), None) => ListSource::File {
            path: PathBuf::from(&*path),
            format: match format {
                Some("hosts") => ListFormat::Hosts,
                Some("adblock") => ListFormat::Adblock,
                _ => ListFormat::Plain,
            },
        },
        (None, Some(domains)) => ListSource::Domains(domains),
        (Some(_), Some(_)) => {
            reader.fault(DOMAINS.name, Fault { code: "conflict", message: "excludes file".to_owned() });
            return None;
        }
        (None, None) => {
            let message = "is required, or domains".to_owned();
            reader.fault(FILE.name, Fault { code: "missing", message });
            return None;
        }
    };
    let action = match action {
        Some("allow") => Some(ListAction::Allow),
        Some(_) => Some(ListAction::Block),
        None => None,
    };
    Some(DomainListSpec { name: name?, action, source })
}

fn private(reader: &mut Reader<'_>) -> Option<PrivateTarget> {
    let domain = reader.required(&PRIVATE_DOMAIN);
    let networks = reader.required(&NETWORKS);
    Some(PrivateTarget { domain: domain?, networks: networks? })
}

fn blocked_answer(reader: &mut Reader<'_>) -> Option<BlockedAnswer> {
    let defaults = BlockedAnswer::default();
    let status = reader.optional(&STATUS).map_or(defaults.status, |status| status as u16);
    Some(BlockedAnswer { status, body: reader.optional(&BODY).unwrap_or(defaults.body) })
}

fn content_types(reader: &mut Reader<'_>) -> Option<ContentTypes> {
    let block = reader.optional(&BLOCK).unwrap_or_default();
    let missing = reader.one_of(
        "missing",
        "Treatment of responses without a type; allow when absent.",
        &["allow", "block"],
    );
    Some(ContentTypes { block, block_missing: missing == Some("block") })
}

fn rate(reader: &mut Reader<'_>) -> Option<ClientRate> {
    let per_second = reader.required(&PER_CLIENT);
    let burst = reader.optional(&BURST);
    let ban = reader.optional(&BAN);
    let per_second = per_second?;
    Some(ClientRate { per_second, burst: burst.unwrap_or(per_second), ban })
}

fn limits(reader: &mut Reader<'_>) -> Option<ForwardLimits> {
    let defaults = ForwardLimits::default();
    let size = |given: Option<u64>, default: usize| given.map_or(default, |bytes| bytes as usize);
    Some(ForwardLimits {
        url: size(reader.optional(&URL), defaults.url),
        head: size(reader.optional(&HEAD), defaults.head),
        fields: size(reader.optional(&FIELDS), defaults.fields),
        body: reader.optional(&BODY_BYTES).unwrap_or(defaults.body),
        connections: reader.optional(&CONNECTIONS).unwrap_or(defaults.connections),
        tunnels_per_client: reader.optional(&TUNNELS).unwrap_or(defaults.tunnels_per_client),
    })
}

const NAME: &str = "forward";
/// Ports of one kind; more are no list of ports but all of them.
const PORTS_MAX: usize = 100;
/// Addresses to listen on.
const LISTEN_MAX: usize = 16;

static LISTEN: Field<Vec<SocketAddr>> = Field {
    name: "listen",
    doc: "Addresses to listen on.",
    schema: || strings_schema(json!({ "type": "string", "examples": ["127.0.0.1:3128"] })),
    parse: |given| {
        list_of(given, LISTEN_MAX, |given| {
            given.text()?.parse().map_err(|_| Fault::invalid("must be addresses such as 127.0.0.1:3128"))
        })
    },
};
static ALLOW_CLIENTS: Field<Vec<ringway_model::Cidr>> =
    networks("allow_clients", "Networks whose clients may use the proxy; all, where auth is given instead.");
static CONNECT_PORTS: Field<Vec<u16>> =
    ports("connect_ports", "Ports that CONNECT may reach; 443 when absent.");
static HTTP_PORTS: Field<Vec<u16>> = ports("http_ports", "Ports that http:// may reach; 80 when absent.");
static DISCLOSE: Field<bool> =
    boolean("disclose_client", "Whether targets get the client's address in X-Forwarded-For and X-Real-IP.");
static REALM: Field<Arc<str>> =
    text("realm", "Name of the proxy in the browser's question; proxy when absent.");
static USERS_FILE: Field<Arc<str>> =
    text("users_file", "File of users: name:hash lines of bcrypt or argon2.");
static LIST_NAME: Field<Arc<str>> = text("name", "Name in logs.");
static FILE: Field<Arc<str>> = text("file", "File of the list; it is read again when it changes.");
static DOMAINS: Field<Vec<Arc<str>>> =
    texts("domains", "Domains in place: a.example itself, *.a.example those below it, .a.example both.");
static PRIVATE_DOMAIN: Field<Arc<str>> = text("domain", "The name, as in domains; or an address.");
static NETWORKS: Field<Vec<ringway_model::Cidr>> = networks("networks", "Networks that it may lead to.");
static STATUS: Field<u64> = number::<400, 599>("status", "Status; 403 when absent.");
static BODY: Field<Arc<str>> = text("body", "Text.");
static BLOCK: Field<Vec<Arc<str>>> =
    texts("block", "Blocked ones: a/b, a/*, or regex: and a pattern, which ^ and $ anchor.");
static PER_CLIENT: Field<u32> = count::<1, 1_000_000>("per_client", "Requests a second.");
static BURST: Field<u32> = count::<1, 1_000_000>("burst", "Requests at once; per_client when absent.");
static BAN: Field<Duration> =
    time("ban", "Time for which a client that goes on beyond the rate is refused; none when absent.");
static URL: Field<u64> = size("url", "Bytes of a target; 8192 when absent.");
static HEAD: Field<u64> = size("head", "Bytes of a request head; 16384 when absent.");
static FIELDS: Field<u64> = number::<1, 1000>("fields", "Fields of a request; 100 when absent.");
static BODY_BYTES: Field<u64> = size("body", "Bytes of a request body; 10MB when absent.");
static CONNECTIONS: Field<u32> =
    count::<1, 1_000_000>("connections", "Connections at a time; 1000 when absent.");
static TUNNELS: Field<u32> = count::<1, 1_000_000>(
    "tunnels_per_client",
    "Tunnels of a client at a time on each core; 256 when absent.",
);

const fn ports(name: &'static str, doc: &'static str) -> Field<Vec<u16>> {
    Field {
        name,
        doc,
        schema: || strings_schema(json!({ "type": "integer", "minimum": 1, "maximum": 65_535 })),
        parse: |given| list_of(given, PORTS_MAX, |given| Ok(ranged(given, 1, 65_535)? as u16)),
    }
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
