//! The fields of the API: one constant each, with what it takes and how that is documented.

use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;
use std::time::Duration;

use crate::limits;
use ringway_certs::State;
use ringway_control::InstanceState;
use ringway_model::{
    AppId, BodyText, CertificateFiles, CertificateMode, ClientAuth, ClientAuthNeed, DomainKind,
    FailurePolicy, FilePath, Generation, HealthCheck, Hostname, HttpProbe, InstanceId, OnAllUnhealthy, Patch,
    Probe, ProbeHeaders, ProbeHost, ProbeMethod, ProbePath, Scheme, StatusRangeError, StatusRanges,
    StatusSet, Target, TenantId, TimeoutPolicy, UpstreamTls, WebhookSecret, WebhookUrl,
};
use serde_json::{Value as Json, json};

use crate::document::Value;
use crate::reader::{Fault, Field, Given, Reader};

/// Names an app.
pub(crate) static APP_ID: Field<AppId> = Field {
    name: "app_id",
    doc: "Names an app: a set of interchangeable instances.",
    schema: || id_schema("app1"),
    parse: |given| AppId::parse(given.text()?).map_err(Fault::invalid),
};

/// An app's name for people.
pub(crate) static APP_NAME: Field<Arc<str>> = Field {
    name: "app_name",
    doc: "The app's name for people; kept when absent and the app exists, else the id.",
    schema: || json!({ "type": "string", "minLength": 1, "maxLength": ringway_model::limits::APP_NAME_BYTES_MAX, "examples": ["Main Application"] }),
    parse: |given| app_name(given.text()?),
};

/// Time in which a removed instance may finish its requests.
pub(crate) static DRAIN: Field<Duration> = Field {
    name: "drain",
    doc: "Lets the instance finish its requests for so long: it gets no new ones, and the answer comes with its removal, \
          which is when the last one is done, or the time is over (at once, with 202, when too many requests wait already). \
          WebSockets that are open then are closed with 1001; other requests go on. The drain goes on without its client. \
          Without it the instance is removed at once.",
    schema: || duration_schema("30s"),
    parse: |given| at_most(duration(given)?, ringway_model::limits::INSTANCE_DRAIN_MAX),
};

/// State of an instance that a long poll waits for.
pub(crate) static WAIT: Field<InstanceState> = Field {
    name: "wait",
    doc: "Answers when the instance of instance_id is in this state (serving: and was probed successfully); 504 when it is not within \
          the timeout, 503 when too many requests wait already.",
    schema: || json!({ "type": "string", "enum": InstanceState::ALL.map(InstanceState::as_str) }),
    parse: |given| {
        InstanceState::parse(given.text()?).ok_or_else(|| {
            let words = InstanceState::ALL.map(InstanceState::as_str).join(", ");
            Fault::invalid(format_args!("must be one of {words}"))
        })
    },
};

/// Longest time of a long poll.
pub(crate) static WAIT_TIMEOUT: Field<Duration> = Field {
    name: "timeout",
    doc: "How long to wait, with wait: at most 300s; 30s when absent.",
    schema: || duration_schema("30s"),
    parse: |given| at_most(duration(given)?, limits::API_WAIT_MAX),
};

/// Names an instance.
pub(crate) static INSTANCE_ID: Field<InstanceId> = Field {
    name: "instance_id",
    doc: "Names one running instance of an app; unique over all apps.",
    schema: || id_schema("app1-prod-node-1"),
    parse: |given| InstanceId::parse(given.text()?).map_err(Fault::invalid),
};

/// Where an instance listens.
pub(crate) static TARGET: Field<Target> = Field {
    name: "target",
    doc: "Where the instance listens: http://host:port, https://host:port (see the app's upstream_tls), or h2c://host:port for \
          HTTP/2 without TLS, as gRPC servers speak it.",
    schema: || json!({ "type": "string", "format": "uri", "examples": ["http://10.0.0.5:3001"] }),
    parse: |given| Target::parse(given.text()?).map_err(Fault::invalid),
};

/// Whom the instances of an app are believed by.
static UPSTREAM_CA_FILE: Field<FilePath> = Field {
    name: "ca_file",
    doc: "A PEM file on the gateway's machine with the only CAs that are trusted; it must be good when it is named, and is read again when it changes.",
    schema: || json!({ "type": "string", "pattern": "^/", "examples": ["/etc/ringway/apps-ca.pem"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

/// What we show.
static UPSTREAM_CERTIFICATE_FILE: Field<FilePath> = Field {
    name: "certificate",
    doc: "A PEM file on the gateway's machine: the chain, leaf first.",
    schema: || json!({ "type": "string", "pattern": "^/", "examples": ["/etc/ringway/gateway.pem"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

/// What we sign with.
static UPSTREAM_KEY_FILE: Field<FilePath> = Field {
    name: "key",
    doc: "A PEM file on the gateway's machine: the private key of the certificate.",
    schema: || json!({ "type": "string", "pattern": "^/", "examples": ["/etc/ringway/gateway.key"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

/// Whom to ask for.
static UPSTREAM_SERVER_NAME: Field<Hostname> = Field {
    name: "server_name",
    doc: "The name that is asked for (SNI) and verified, when it is not the target's host.",
    schema: || json!({ "type": "string", "format": "idn-hostname", "maxLength": ringway_model::limits::HOST_BYTES_MAX, "examples": ["app1.internal"] }),
    parse: |given| Hostname::parse(given.text()?).map_err(Fault::invalid),
};

/// Whether anyone is believed.
static UPSTREAM_INSECURE: Field<bool> = Field {
    name: "insecure",
    doc: "Verify nothing: whoever answers is believed. For tests.",
    schema: || json!({ "type": "boolean", "default": false }),
    parse: |given| given.boolean(),
};

/// Treatment of requests while no instance of an app is healthy.
static ON_ALL_UNHEALTHY: Field<OnAllUnhealthy> = Field {
    name: "on_all_unhealthy",
    doc: "What happens to requests while all instances fail their health checks: reject answers 502, panic_open ignores health \
          and sends them all, trickle sends one request a second and answers the others with 502. Kept when absent; null is reject.",
    schema: || json!({ "type": "string", "enum": OnAllUnhealthy::ALL.map(OnAllUnhealthy::as_str), "default": OnAllUnhealthy::default().as_str() }),
    parse: |given| {
        OnAllUnhealthy::parse(given.text()?).ok_or_else(|| {
            let words = OnAllUnhealthy::ALL.map(OnAllUnhealthy::as_str).join(", ");
            Fault::invalid(format_args!("must be one of {words}"))
        })
    },
};

/// Statuses that count against an instance.
static FAILURE_STATUSES: Field<StatusSet> = Field {
    name: "statuses",
    doc: "Statuses from 500 to 599 that count as failures when the app answers with them, single or in ranges; none when absent. \
          Any client that knows a request with such an answer can then take instances out of rotation.",
    schema: || {
        let part =
            json!({ "type": "string", "pattern": "^5[0-9]{2}( *- *5[0-9]{2})?$", "examples": ["502-504"] });
        let single = json!({ "type": "integer", "minimum": 500, "maximum": 599 });
        json!({ "oneOf": [
            { "type": "array", "items": { "oneOf": [part, single] }, "default": [], "examples": [["502-504"]] },
            { "type": "string", "description": "The same as one text, separated by commas.", "examples": ["500,502-504"] },
        ] })
    },
    parse: failure_statuses,
};

/// Late responses that count against an instance.
static FAILURE_TIMEOUTS: Field<TimeoutPolicy> = Field {
    name: "timeouts",
    doc: "Whether a response that is late, or stops midway, counts as a failure: unchecked, while the instance's health check has \
          not passed; always; never.",
    schema: || json!({ "type": "string", "enum": TimeoutPolicy::ALL.map(TimeoutPolicy::as_str), "default": TimeoutPolicy::default().as_str() }),
    parse: |given| {
        TimeoutPolicy::parse(given.text()?).ok_or_else(|| {
            let words = TimeoutPolicy::ALL.map(TimeoutPolicy::as_str).join(", ");
            Fault::invalid(format_args!("must be one of {words}"))
        })
    },
};

/// Fences a registration.
pub(crate) static GENERATION: Field<Generation> = Field {
    name: "generation",
    doc: "The generation that the registration was answered with: the message counts only as long as no newer registration of this instance id exists.",
    schema: || json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }),
    parse: |given| given.unsigned().map(Generation),
};

/// A domain name.
pub(crate) static DOMAIN: Field<Hostname> = Field {
    name: "domain",
    doc: "A domain name, in any case, as U-labels or A-labels; without scheme, port or wildcard.",
    schema: || json!({ "type": "string", "format": "idn-hostname", "maxLength": ringway_model::limits::HOST_BYTES_MAX, "examples": ["tenant1.app1.com"] }),
    parse: |given| Hostname::parse(given.text()?).map_err(Fault::invalid),
};

/// Where a CNAME should point to.
pub(crate) static CNAME_TARGET: Field<Hostname> = Field {
    name: "cname_target",
    doc: "The name that the domain's CNAME record should point to; a hint, not needed for routing.",
    schema: || json!({ "type": "string", "format": "idn-hostname", "maxLength": ringway_model::limits::HOST_BYTES_MAX, "examples": ["tenant-123.app1.com"] }),
    parse: |given| Hostname::parse(given.text()?).map_err(Fault::invalid),
};

/// Where an app hears of what happens to it.
pub(crate) static WEBHOOK_URL: Field<WebhookUrl> = Field {
    name: "url",
    doc: "Where events are posted to, as JSON: http or https, without credentials.",
    schema: || json!({ "type": "string", "format": "uri", "maxLength": ringway_model::limits::WEBHOOK_URL_BYTES_MAX, "examples": ["https://app1.example/hooks/ringway"] }),
    parse: |given| WebhookUrl::parse(given.text()?).map_err(Fault::invalid),
};

/// What deliveries are signed with.
pub(crate) static WEBHOOK_SECRET: Field<WebhookSecret> = Field {
    name: "secret",
    doc: "Deliveries are signed with it: X-Ringway-Signature is sha256= and the HMAC-SHA256 of X-Ringway-Timestamp, a full stop and the body. It is never shown again.",
    schema: || json!({ "type": "string", "writeOnly": true, "minLength": ringway_model::limits::WEBHOOK_SECRET_BYTES_MIN, "maxLength": ringway_model::limits::WEBHOOK_SECRET_BYTES_MAX }),
    parse: |given| WebhookSecret::parse(given.text()?).map_err(Fault::invalid),
};

/// Names a tenant.
pub(crate) static TENANT_ID: Field<TenantId> = Field {
    name: "tenant_id",
    doc: "Names the tenant that the domain belongs to; told to the app in X-Tenant-ID.",
    schema: || id_schema("tenant-123"),
    parse: |given| TenantId::parse(given.text()?).map_err(Fault::invalid),
};

/// What a domain is to its owner.
pub(crate) static KIND: Field<DomainKind> = Field {
    name: "type",
    doc: "What the domain is to its owner; routing treats all alike.",
    schema: || json!({ "type": "string", "enum": ["subdomain", "custom", "cname_target"] }),
    parse: |given| {
        DomainKind::parse(given.text()?)
            .ok_or_else(|| Fault::invalid("must be one of subdomain, custom, cname_target"))
    },
};

/// The type of a custom domain, for clients that send it although the path says it.
pub(crate) static KIND_CUSTOM: Field<DomainKind> = Field {
    name: "type",
    doc: "Always custom here; may be left out.",
    schema: || json!({ "type": "string", "enum": ["custom"] }),
    parse: |given| match DomainKind::parse(given.text()?) {
        Some(DomainKind::Custom) => Ok(DomainKind::Custom),
        _ => Err(Fault::invalid(
            "must be custom here; other types are registered with POST /api/tenants/domains",
        )),
    },
};

/// Items of a page.
pub(crate) static LIMIT: Field<usize> = Field {
    name: "limit",
    doc: "The most items to answer with; as many as one page may have when absent.",
    schema: || json!({ "type": "integer", "minimum": 1, "maximum": ringway_model::limits::PAGE_ITEMS_MAX }),
    parse: |given| {
        let number = given.unsigned()?;
        usize::try_from(number)
            .ok()
            .filter(|number| (1..=ringway_model::limits::PAGE_ITEMS_MAX).contains(number))
            .ok_or_else(|| {
                Fault::range(format_args!("must be from 1 to {}", ringway_model::limits::PAGE_ITEMS_MAX))
            })
    },
};

/// Apps of a status.
pub(crate) static STATUS_LIMIT: Field<usize> = Field {
    name: "limit",
    doc: "The most apps to name in app_overview; 20 when absent.",
    schema: LIMIT.schema,
    parse: LIMIT.parse,
};

/// Where a page begins.
pub(crate) static AFTER: Field<String> = Field {
    name: "after",
    doc: "Begin after this id or name: the value of `next` in the page before.",
    schema: || json!({ "type": "string", "minLength": 1, "maxLength": ringway_model::limits::HOST_BYTES_MAX }),
    parse: |given| {
        let text = given.text()?;
        match (1..=ringway_model::limits::HOST_BYTES_MAX).contains(&text.len()) {
            true => Ok(text.to_owned()),
            false => Err(Fault::invalid("must be the value of `next` in the page before")),
        }
    },
};

/// Who brings a domain's certificate.
pub(crate) static CERTIFICATE_MODE: Field<CertificateMode> = Field {
    name: "certificate",
    doc: "Who brings the certificate: acme, a CA issues and renews it; provided, it is uploaded and never touched; none. As before when absent, acme for a new domain.",
    schema: || json!({ "type": "string", "enum": ["acme", "provided", "none"] }),
    parse: |given| {
        CertificateMode::parse(given.text()?)
            .ok_or_else(|| Fault::invalid("must be one of acme, provided, none"))
    },
};

static CLIENT_AUTH_FILE: Field<FilePath> = Field {
    name: "ca_file",
    doc: "A PEM file on the proxy's machine with the CAs that may vouch for clients; it must be good when it is named, and is read again when it changes.",
    schema: || json!({ "type": "string", "pattern": "^/", "maxLength": ringway_model::limits::PATH_BYTES_MAX, "examples": ["/etc/ringway/clients-ca.pem"] }),
    parse: |given| FilePath::parse(given.text()?).map_err(Fault::invalid),
};

static CLIENT_AUTH_MODE: Field<ClientAuthNeed> = Field {
    name: "mode",
    doc: "Whether a client without a certificate is refused; required when absent.",
    schema: || json!({ "type": "string", "enum": ["optional", "required"] }),
    parse: |given| {
        ClientAuthNeed::parse(given.text()?)
            .ok_or_else(|| Fault::invalid("must be one of optional, required"))
    },
};

/// A certificate chain.
pub(crate) static CERTIFICATE_PEM: Field<Arc<str>> = Field {
    name: "certificate",
    doc: "The certificate and its chain in PEM, the domain's own first; it must cover the domain and be valid now.",
    schema: || pem_schema(ringway_model::limits::CERTIFICATE_PEM_BYTES_MAX, "-----BEGIN CERTIFICATE-----\n…"),
    parse: |given| Ok(pem(given.text()?, ringway_model::limits::CERTIFICATE_PEM_BYTES_MAX)?.into()),
};

/// A private key.
pub(crate) static KEY_PEM: Field<Secret> = Field {
    name: "key",
    doc: "The certificate's private key in PEM, not encrypted. It is never given out again.",
    schema: || {
        let mut schema =
            pem_schema(ringway_model::limits::KEY_PEM_BYTES_MAX, "-----BEGIN PRIVATE KEY-----\n…");
        schema["writeOnly"] = json!(true);
        schema
    },
    parse: |given| Ok(Secret(pem(given.text()?, ringway_model::limits::KEY_PEM_BYTES_MAX)?.into())),
};

/// Where a domain's certificate stands.
pub(crate) static STATE: Field<State> = Field {
    name: "state",
    doc: "Only domains whose certificate stands there.",
    schema: || json!({ "type": "string", "enum": State::ALL.map(State::as_str) }),
    parse: |given| {
        let word = given.text()?;
        State::ALL.into_iter().find(|state| state.as_str() == word).ok_or_else(|| {
            Fault::invalid(format_args!("must be one of {}", State::ALL.map(State::as_str).join(", ")))
        })
    },
};

/// A text that is not shown anywhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(Box<str>);

impl Secret {
    /// The text, for who needs it.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

static HEALTH_CHECK: Field<HealthCheck> = Field {
    name: "health_check",
    doc: "How to check the instance: an HTTP path, \"tcp\" or null for whether it accepts a connection, or an object.",
    schema: || json!({ "type": "string", "examples": ["/health", "tcp"] }),
    parse: |given| {
        let text = given.text()?;
        let probe = match text {
            "tcp" => Probe::Tcp,
            path => Probe::http(path).map_err(Fault::invalid)?,
        };
        Ok(HealthCheck { probe, ..HealthCheck::default() })
    },
};

static HEALTH_PATH: Field<ProbePath> = Field {
    name: "path",
    doc: "The path that is requested; null for a check that only opens a TCP connection.",
    schema: || json!({ "type": "string", "pattern": "^/", "maxLength": ringway_model::limits::HEALTH_PATH_BYTES_MAX, "examples": ["/health"] }),
    parse: |given| ProbePath::parse(given.text()?).map_err(Fault::invalid),
};

static HEALTH_PORT: Field<NonZeroU16> = Field {
    name: "port",
    doc: "Another port than the target's. Beside an h2c target it is spoken to in HTTP/1.1.",
    schema: || json!({ "type": "integer", "minimum": 1, "maximum": u16::MAX }),
    parse: |given| {
        u16::try_from(given.unsigned()?)
            .ok()
            .and_then(NonZeroU16::new)
            .ok_or_else(|| Fault::range(format_args!("must be from 1 to {}", u16::MAX)))
    },
};

static HEALTH_METHOD: Field<ProbeMethod> = Field {
    name: "method",
    doc: "The request's method; GET when absent.",
    schema: || json!({ "type": "string", "enum": ProbeMethod::ALL.map(ProbeMethod::as_str), "default": "GET" }),
    parse: |given| {
        let methods = ProbeMethod::ALL.map(ProbeMethod::as_str).join(", ");
        ProbeMethod::parse(given.text()?)
            .ok_or_else(|| Fault::invalid(format_args!("must be one of {methods}")))
    },
};

static HEALTH_HOST: Field<ProbeHost> = Field {
    name: "host",
    doc: "The request's Host, for apps that refuse an address there, as Django and Rails do; the target's host and port when absent.",
    schema: || json!({ "type": "string", "maxLength": ringway_model::limits::HOST_BYTES_MAX + 6, "examples": ["app1.com"] }),
    parse: |given| ProbeHost::parse(given.text()?).map_err(Fault::invalid),
};

static HEALTH_HEADERS: Field<ProbeHeaders> = Field {
    name: "headers",
    doc: "Further header fields of the request, names and values. Values may be secrets: only the names are ever shown.",
    schema: || {
        json!({
            "type": "object",
            "maxProperties": ringway_model::limits::HEALTH_HEADERS_MAX,
            "additionalProperties": { "type": "string", "maxLength": ringway_model::limits::HEALTH_HEADER_VALUE_BYTES_MAX },
            "examples": [{ "X-Forwarded-Proto": "https" }],
        })
    },
    parse: |given| {
        let fields = match given {
            Given::Json(Value::Object(fields)) => fields.members(),
            Given::Json(other) => {
                return Err(given.mistyped("an object of field names and values", other));
            }
            Given::Text(_) => return Err(Fault::invalid("belongs into the body")),
        };
        let texts: Vec<(&str, &str)> = fields
            .map(|(name, value)| match value {
                Value::Text(text) => Ok((name, *text)),
                other => Err(given.mistyped("an object whose values are strings", other)),
            })
            .collect::<Result<_, _>>()?;
        ProbeHeaders::new(texts).map_err(Fault::invalid)
    },
};

static EXPECT: Field<Expectation> = Field {
    name: "expect",
    doc: "The response that counts as healthy: accepted statuses, or an object with `status` and `body`.",
    schema: statuses_schema,
    parse: |given| Ok(Expectation { statuses: Some(statuses(given)?), body: None }),
};

static EXPECT_STATUS: Field<StatusRanges> = Field {
    name: "status",
    doc: "Accepted statuses: one, a range, or several of both; 200 to 399 when absent.",
    schema: statuses_schema,
    parse: statuses,
};

static EXPECT_BODY: Field<BodyText> = Field {
    name: "body",
    doc: "Text that the body must contain, within its first 64 KiB.",
    schema: || json!({ "type": "string", "minLength": 1, "maxLength": ringway_model::limits::HEALTH_BODY_TEXT_BYTES_MAX, "examples": ["ok"] }),
    parse: |given| BodyText::parse(given.text()?).map_err(Fault::invalid),
};

/// Response that a health check expects.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
struct Expectation {
    statuses: Option<StatusRanges>,
    body: Option<BodyText>,
}

static HEALTH_INTERVAL: Field<Duration> = Field {
    name: "interval",
    doc: "Time between two checks.",
    schema: || duration_schema("10s"),
    parse: |given| {
        let interval = duration(given)?;
        match (ringway_model::limits::HEALTH_INTERVAL_MIN..=ringway_model::limits::HEALTH_INTERVAL_MAX)
            .contains(&interval)
        {
            true => Ok(interval),
            false => Err(Fault::range(format_args!(
                "must be from {} to {}",
                duration_text(ringway_model::limits::HEALTH_INTERVAL_MIN),
                duration_text(ringway_model::limits::HEALTH_INTERVAL_MAX)
            ))),
        }
    },
};

static HEALTH_TIMEOUT: Field<Duration> = Field {
    name: "timeout",
    doc: "How long one check may take; not longer than the interval.",
    schema: || duration_schema("3s"),
    parse: |given| {
        let timeout = duration(given)?;
        match timeout > Duration::ZERO && timeout <= ringway_model::limits::HEALTH_INTERVAL_MAX {
            true => Ok(timeout),
            false => Err(Fault::range(format_args!(
                "must be above 0 and at most {}",
                duration_text(ringway_model::limits::HEALTH_INTERVAL_MAX)
            ))),
        }
    },
};

static UNHEALTHY_THRESHOLD: Field<NonZeroU8> = Field {
    name: "unhealthy_threshold",
    doc: "Consecutive failures that take the instance out of rotation.",
    schema: || json!({ "type": "integer", "minimum": 1, "maximum": u8::MAX }),
    parse: threshold,
};

static HEALTHY_THRESHOLD: Field<NonZeroU8> = Field {
    name: "healthy_threshold",
    doc: "Consecutive successes that bring it back.",
    schema: || json!({ "type": "integer", "minimum": 1, "maximum": u8::MAX }),
    parse: threshold,
};

/// Reads `health_check`: a path, `"tcp"`, null, or an object; a TCP connection when absent.
pub(crate) fn health_check(reader: &mut Reader<'_>, target: Option<&Target>) -> Option<HealthCheck> {
    reader.short_or_object(&HEALTH_CHECK, |reader| {
        let path = reader.optional(&HEALTH_PATH);
        let port = reader.optional(&HEALTH_PORT);
        let probe = http_probe(reader, path, target.filter(|_| port.is_none()));
        let interval = reader.optional(&HEALTH_INTERVAL);
        let timeout = reader.optional(&HEALTH_TIMEOUT);
        let unhealthy_threshold = reader.optional(&UNHEALTHY_THRESHOLD);
        let healthy_threshold = reader.optional(&HEALTHY_THRESHOLD);
        if let (Some(interval), Some(timeout)) = (interval, timeout)
            && timeout > interval
        {
            reader.fault(HEALTH_TIMEOUT.name, Fault::range("must not be longer than interval"));
        }
        Some(HealthCheck { probe, port, interval, timeout, unhealthy_threshold, healthy_threshold })
    })
}

/// Reads the fields of an HTTP check. `endpoint` is the target where that is what the check asks.
fn http_probe(reader: &mut Reader<'_>, path: Option<ProbePath>, endpoint: Option<&Target>) -> Probe {
    let method = reader.optional(&HEALTH_METHOD);
    let host = reader.optional(&HEALTH_HOST);
    let headers = reader.optional(&HEALTH_HEADERS);
    let expected = reader.short_or_object(&EXPECT, |reader| {
        Some(Expectation { statuses: reader.optional(&EXPECT_STATUS), body: reader.optional(&EXPECT_BODY) })
    });
    let is_h2c = endpoint.is_some_and(|target| target.scheme() == Scheme::H2c);
    for (name, is_given) in [
        (HEALTH_METHOD.name, method.is_some()),
        (HEALTH_HOST.name, host.is_some()),
        (HEALTH_HEADERS.name, headers.is_some()),
        (EXPECT.name, expected.is_some()),
    ] {
        if !is_given {
            continue;
        }
        if path.is_none() && !reader.is_faulty(HEALTH_PATH.name) {
            reader.fault(name, Fault::invalid("needs path: a check without one only opens a TCP connection"));
        } else if is_h2c {
            reader.fault(
                name,
                Fault::invalid(
                    "needs port: an h2c target is checked by a TCP connection; name a port that speaks HTTP/1.1",
                ),
            );
        }
    }
    let Expectation { statuses, body } = expected.unwrap_or_default();
    let method = method.unwrap_or_default();
    if method == ProbeMethod::Head && body.is_some() {
        reader.fault(HEALTH_METHOD.name, Fault::invalid("must not be HEAD when a body is expected"));
    }
    let Some(path) = path else { return Probe::Tcp };
    let (headers, statuses) = (headers.unwrap_or_default(), statuses.unwrap_or_default());
    Probe::Http(Arc::new(HttpProbe { path, method, host, headers, statuses, body }))
}

/// Reads `client_auth`: none when absent or null.
pub(crate) fn client_auth(reader: &mut Reader<'_>) -> Option<ClientAuth> {
    reader.object(CLIENT_AUTH.0, CLIENT_AUTH.1, client_auth_shape)
}

/// Reads `client_auth` of a domain that is there: absent leaves it, null removes it.
pub(crate) fn client_auth_patch(reader: &mut Reader<'_>) -> Patch<ClientAuth> {
    reader.patch_object(CLIENT_AUTH.0, CLIENT_AUTH.1, client_auth_shape)
}

/// Its name, and what it is.
const CLIENT_AUTH: (&str, &str) =
    ("client_auth", "Certificates that clients of the domain present over TLS; null when they need none.");

fn client_auth_shape(reader: &mut Reader<'_>) -> Option<ClientAuth> {
    let ca_file = reader.required(&CLIENT_AUTH_FILE);
    let need = reader.optional(&CLIENT_AUTH_MODE).unwrap_or(ClientAuthNeed::Required);
    Some(ClientAuth { ca_file: ca_file?, need })
}

/// Reads `upstream_tls` of an app: absent leaves it, null removes it.
pub(crate) fn upstream_tls(reader: &mut Reader<'_>) -> Patch<UpstreamTls> {
    reader.patch_object(
        "upstream_tls",
        "How the app's https:// targets are spoken to; kept when absent. Null or never given: verified against the \
         system's trust store.",
        |reader| {
            let ca_file = reader.optional(&UPSTREAM_CA_FILE);
            let client_certificate = reader.object(
                "client_certificate",
                "What ringway proves itself with when an instance asks for a certificate.",
                |reader| {
                    let certificate = reader.required(&UPSTREAM_CERTIFICATE_FILE);
                    let key = reader.required(&UPSTREAM_KEY_FILE);
                    Some(CertificateFiles { certificate: certificate?, key: key? })
                },
            );
            let server_name = reader.optional(&UPSTREAM_SERVER_NAME);
            let insecure = reader.optional(&UPSTREAM_INSECURE).unwrap_or(false);
            Some(UpstreamTls { ca_file, client_certificate, server_name, insecure })
        },
    )
}

/// Reads `on_all_unhealthy` of an app: absent leaves it, null is the default.
pub(crate) fn on_all_unhealthy(reader: &mut Reader<'_>) -> Option<OnAllUnhealthy> {
    reader.patch(&ON_ALL_UNHEALTHY).or_default()
}

/// Reads `failures` of an app: absent leaves it, null is the default.
pub(crate) fn failures(reader: &mut Reader<'_>) -> Option<FailurePolicy> {
    let given = reader.patch_object(
        "failures",
        "Which results count against an instance's circuit breaker besides connection failures and broken messages, which \
         always do; kept when absent. Null or never given: no statuses, and timeouts while health checks do not pass.",
        |reader| {
            let statuses = reader.optional(&FAILURE_STATUSES).unwrap_or_default();
            let timeouts = reader.optional(&FAILURE_TIMEOUTS).unwrap_or_default();
            Some(FailurePolicy { statuses, timeouts })
        },
    );
    given.or_default()
}

/// A duration as the API writes it: `10s`, or `1500ms` where seconds are not whole.
pub(crate) fn duration_text(duration: Duration) -> String {
    match duration.subsec_millis() {
        0 => format!("{}s", duration.as_secs()),
        _ => format!("{}ms", duration.as_millis()),
    }
}

fn at_most(duration: Duration, most: Duration) -> Result<Duration, Fault> {
    match duration <= most {
        true => Ok(duration),
        false => Err(Fault::range(format_args!("must be at most {}", duration_text(most)))),
    }
}

fn id_schema(example: &str) -> Json {
    json!({
        "type": "string",
        "minLength": 1,
        "maxLength": ringway_model::limits::ID_BYTES_MAX,
        "pattern": "^[A-Za-z0-9][A-Za-z0-9_.:@-]*$",
        "examples": [example],
    })
}

fn duration_schema(example: &str) -> Json {
    json!({
        "oneOf": [
            { "type": "string", "pattern": "^[0-9]+(ms|s|m)$", "examples": [example] },
            { "type": "integer", "minimum": 0, "description": "Seconds." },
        ],
    })
}

fn statuses_schema() -> Json {
    let range = "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$";
    let one = json!({ "type": "integer", "minimum": 100, "maximum": 599 });
    let item = json!({ "oneOf": [{ "type": "string", "pattern": range }, one] });
    json!({
        "oneOf": [
            { "type": "string", "examples": ["200-399", "200,204"] },
            one,
            { "type": "array", "items": item, "minItems": 1, "maxItems": ringway_model::limits::HEALTH_STATUS_RANGES_MAX },
        ],
    })
}

fn pem_schema(bytes_max: usize, example: &str) -> Json {
    json!({ "type": "string", "minLength": 1, "maxLength": bytes_max, "examples": [example] })
}

/// Never repeats the text, which may be a key.
fn pem(text: &str, bytes_max: usize) -> Result<&str, Fault> {
    match text.len() {
        0 => Err(Fault::invalid("must not be empty")),
        length if length > bytes_max => {
            Err(Fault::range(format_args!("must not be longer than {bytes_max} bytes")))
        }
        _ => Ok(text),
    }
}

fn app_name(text: &str) -> Result<Arc<str>, Fault> {
    if text.trim().is_empty() {
        return Err(Fault::invalid("must not be empty"));
    }
    if text.len() > ringway_model::limits::APP_NAME_BYTES_MAX {
        return Err(Fault::range(format_args!(
            "must not be longer than {} bytes",
            ringway_model::limits::APP_NAME_BYTES_MAX
        )));
    }
    // Marks that reorder text would let one log line or table row pass for another (Unicode TR 36 §2.7).
    let reorders = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}');
    match text.chars().any(|c| c.is_control() || reorders(c) || matches!(c, '\u{2028}' | '\u{2029}')) {
        true => Err(Fault::invalid("must not contain control characters")),
        false => Ok(text.into()),
    }
}

fn statuses(given: Given<'_>) -> Result<StatusRanges, Fault> {
    StatusRanges::parse(&status_list(given)?).map_err(Fault::invalid)
}

fn failure_statuses(given: Given<'_>) -> Result<StatusSet, Fault> {
    StatusSet::parse(&status_list(given)?).map_err(|error| match error.0 {
        StatusRangeError::Form => Fault::invalid(error),
        StatusRangeError::Bounds | StatusRangeError::Order => Fault::range(error),
    })
}

/// `200`, `"200-399"`, `"200,204"`, or an array of such, as one text.
fn status_list(given: Given<'_>) -> Result<String, Fault> {
    let one = |value: &Value<'_>| match value {
        Value::Text(text) => Ok((*text).to_owned()),
        Value::Unsigned(number) => Ok(number.to_string()),
        other => {
            let wanted = "a status such as 503, a range such as \"502-504\", or an array of these";
            Err(given.mistyped(wanted, other))
        }
    };
    match given {
        Given::Text(text) => Ok(text.to_owned()),
        Given::Json(Value::Array(items)) => {
            Ok(items.iter().map(one).collect::<Result<Vec<_>, _>>()?.join(","))
        }
        Given::Json(value) => one(value),
    }
}

fn threshold(given: Given<'_>) -> Result<NonZeroU8, Fault> {
    u8::try_from(given.unsigned()?)
        .ok()
        .and_then(NonZeroU8::new)
        .ok_or_else(|| Fault::range(format_args!("must be from 1 to {}", u8::MAX)))
}

/// `"10s"`, `"500ms"`, `"2m"`, or whole seconds.
fn duration(given: Given<'_>) -> Result<Duration, Fault> {
    let text = match given {
        Given::Json(Value::Unsigned(seconds)) => return Ok(Duration::from_secs(*seconds)),
        Given::Json(Value::Text(text)) => *text,
        Given::Text(text) => text,
        Given::Json(other) => {
            return Err(given.mistyped("a duration such as \"10s\", or whole seconds", other));
        }
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let per_unit = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        _ => None,
    };
    number
        .parse::<u64>()
        .ok()
        .zip(per_unit)
        .and_then(|(number, per_unit)| number.checked_mul(per_unit))
        .map(Duration::from_millis)
        .ok_or_else(|| Fault::invalid("must be a whole number with a unit of ms, s or m, as in \"10s\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::document;
    use crate::reader::{Finding, Input, read};

    fn check(body: &str) -> Result<Option<HealthCheck>, Vec<Finding>> {
        check_of(body, "http://10.0.0.5:3001")
    }

    fn check_of(body: &str, target: &str) -> Result<Option<HealthCheck>, Vec<Finding>> {
        let target = Target::parse(target).ok();
        let mut bytes = body.as_bytes().to_vec();
        let body = Some(document::parse(&mut bytes).unwrap());
        read(&Input { body, ..Input::default() }, |reader| Some(health_check(reader, target.as_ref())))
    }

    fn seconds(value: u64) -> Option<Duration> {
        Some(Duration::from_secs(value))
    }

    #[test]
    fn health_checks_come_in_four_forms() {
        let http = HealthCheck { probe: Probe::http("/health").unwrap(), ..HealthCheck::default() };
        assert_eq!(check(r#"{}"#), Ok(None));
        assert_eq!(check(r#"{"health_check":null}"#), Ok(None));
        assert_eq!(check(r#"{"health_check":"tcp"}"#), Ok(Some(HealthCheck::default())));
        assert_eq!(check(r#"{"health_check":"/health"}"#), Ok(Some(http.clone())));
        assert_eq!(check(r#"{"health_check":{}}"#), Ok(Some(HealthCheck::default())));
        assert_eq!(check(r#"{"health_check":{"path":null}}"#), Ok(Some(HealthCheck::default())));
        assert_eq!(
            check(
                r#"{"health_check":{"path":"/health","interval":"1m","timeout":2,"unhealthy_threshold":255,"healthy_threshold":1}}"#
            ),
            Ok(Some(HealthCheck {
                interval: seconds(60),
                timeout: seconds(2),
                unhealthy_threshold: NonZeroU8::new(255),
                healthy_threshold: NonZeroU8::new(1),
                ..http
            }))
        );
    }

    #[test]
    fn durations_are_bounded_on_both_sides() {
        for (value, is_fine) in [
            ("1", true),
            ("\"1s\"", true),
            ("\"1000ms\"", true),
            ("\"999ms\"", false),
            ("300", true),
            ("\"5m\"", true),
            ("301", false),
            ("\"300001ms\"", false),
            ("0", false),
            ("-1", false),
            ("1.5", false),
            ("\"\"", false),
            ("\"s\"", false),
            ("\"10\"", false),
            ("\"10 s\"", false),
            ("\"+1s\"", false),
            ("\"1h\"", false),
            ("[]", false),
            ("18446744073709551615", false),
            ("\"18446744073709551615m\"", false),
            ("\"99999999999999999999s\"", false),
            ("true", false),
        ] {
            let result = check(&format!("{{\"health_check\":{{\"interval\":{value}}}}}"));
            assert_eq!(result.is_ok(), is_fine, "{value}: {result:?}");
        }
    }

    #[test]
    fn a_health_check_tells_all_its_mistakes() {
        let findings = check(
            r#"{"health_check":{"path":"x","interval":"10s","timeout":"11s","unhealthy_threshold":0,"healthy_threshold":256,"prt":1}}"#,
        )
        .unwrap_err();
        let told: Vec<_> = findings.iter().map(|f| (f.field.as_str(), f.code)).collect();
        assert_eq!(
            told,
            [
                ("health_check.path", "invalid"),
                ("health_check.unhealthy_threshold", "range"),
                ("health_check.healthy_threshold", "range"),
                ("health_check.timeout", "range"),
                ("health_check.prt", "unknown"),
            ]
        );
        assert_eq!(findings[0].pointer.as_deref(), Some("/health_check/path"));
    }

    #[test]
    fn what_counts_as_a_failure_is_read_in_every_form() {
        let read_one = |body: &str| {
            let mut bytes = body.as_bytes().to_vec();
            let body = Some(document::parse(&mut bytes).unwrap());
            read(&Input { body, ..Input::default() }, |reader| {
                Some((failures(reader), on_all_unhealthy(reader)))
            })
            .map_err(|findings| {
                findings.iter().map(|found| format!("{} {}", found.field, found.code)).collect::<Vec<_>>()
            })
        };
        let policy =
            |statuses, timeouts| FailurePolicy { statuses: StatusSet::parse(statuses).unwrap(), timeouts };
        let default = FailurePolicy::default();
        assert_eq!(read_one("{}"), Ok((None, None)));
        for (body, expected) in [
            (r#"{"failures":null}"#, default),
            (r#"{"failures":{}}"#, default),
            (r#"{"failures":{"statuses":[],"timeouts":"unchecked"}}"#, default),
            (r#"{"failures":{"statuses":null,"timeouts":null}}"#, default),
            (r#"{"failures":{"statuses":["502-504",500]}}"#, policy("500,502-504", TimeoutPolicy::Unchecked)),
            (r#"{"failures":{"statuses":"500,502-504"}}"#, policy("500,502-504", TimeoutPolicy::Unchecked)),
            (r#"{"failures":{"statuses":503,"timeouts":"never"}}"#, policy("503", TimeoutPolicy::Never)),
            (r#"{"failures":{"timeouts":"always"}}"#, policy("", TimeoutPolicy::Always)),
        ] {
            assert_eq!(read_one(body), Ok((Some(expected), None)), "{body}");
        }
        for (body, expected) in [
            (r#"{"on_all_unhealthy":null}"#, OnAllUnhealthy::Reject),
            (r#"{"on_all_unhealthy":"panic_open"}"#, OnAllUnhealthy::PanicOpen),
            (r#"{"on_all_unhealthy":"trickle"}"#, OnAllUnhealthy::Trickle),
        ] {
            assert_eq!(read_one(body), Ok((None, Some(expected))), "{body}");
        }
        for (body, expected) in [
            (
                r#"{"failures":{"statuses":["502-504",true],"timeouts":"sometimes","x":1}}"#,
                vec!["failures.statuses type", "failures.timeouts invalid", "failures.x unknown"],
            ),
            (r#"{"failures":{"statuses":["5xx"]}}"#, vec!["failures.statuses invalid"]),
            (r#"{"failures":{"statuses":[404]}}"#, vec!["failures.statuses range"]),
            (r#"{"failures":{"statuses":["504-502"]}}"#, vec!["failures.statuses range"]),
            (r#"{"failures":{"statuses":{}}}"#, vec!["failures.statuses type"]),
            (r#"{"failures":"always"}"#, vec!["failures type"]),
            (r#"{"on_all_unhealthy":"open"}"#, vec!["on_all_unhealthy invalid"]),
            (r#"{"on_all_unhealthy":1}"#, vec!["on_all_unhealthy type"]),
        ] {
            assert_eq!(read_one(body), Err(expected.into_iter().map(str::to_owned).collect()), "{body}");
        }
    }

    #[test]
    fn a_health_check_takes_a_whole_request_and_what_it_expects() {
        let full = check(
            r#"{"health_check":{"path":"/up","port":9000,"method":"OPTIONS","host":"App.example",
                "headers":{"Authorization":"Bearer x"},"expect":{"status":[200,"300-399"],"body":"ok"}}}"#,
        );
        let probe = HttpProbe {
            method: ProbeMethod::Options,
            host: Some(ProbeHost::parse("app.example").unwrap()),
            headers: ProbeHeaders::new([("Authorization", "Bearer x")]).unwrap(),
            statuses: StatusRanges::parse("200,300-399").unwrap(),
            body: Some(BodyText::parse("ok").unwrap()),
            ..HttpProbe::new("/up").unwrap()
        };
        let (probe, port) = (Probe::Http(probe.into()), NonZeroU16::new(9000));
        assert_eq!(full, Ok(Some(HealthCheck { probe, port, ..HealthCheck::default() })));
        let tcp = HealthCheck { port, ..HealthCheck::default() };
        assert_eq!(check(r#"{"health_check":{"port":9000}}"#), Ok(Some(tcp)));
        for (expect, shown) in [
            ("200", "200"),
            (r#""200-299""#, "200-299"),
            (r#""200,204""#, "200,204"),
            (r#"[200,"300-399"]"#, "200,300-399"),
            (r#"{"status":401}"#, "401"),
            (r#"{"body":"ok"}"#, "200-399"),
            ("null", "200-399"),
        ] {
            let check = check(&format!(r#"{{"health_check":{{"path":"/up","expect":{expect}}}}}"#));
            let Ok(Some(HealthCheck { probe: Probe::Http(probe), .. })) = check else {
                panic!("{expect}: {check:?}");
            };
            assert_eq!(probe.statuses.to_string(), shown, "{expect}");
        }
    }

    #[test]
    fn each_part_of_a_health_check_says_what_is_wrong_with_it() {
        for (fields, field, message) in [
            (r#""path":"/","host":"10.0.0.5""#, "host", "give a name"),
            (r#""path":"/","port":0"#, "port", "1 to 65535"),
            (r#""path":"/","port":65536"#, "port", "1 to 65535"),
            (r#""path":"/","method":"get""#, "method", "GET, HEAD, OPTIONS"),
            (r#""path":"/","method":"POST""#, "method", "GET, HEAD, OPTIONS"),
            (r#""path":"/","headers":{"Host":"a"}"#, "headers", "set `host`"),
            (r#""path":"/","headers":{"Content-Length":"1"}"#, "headers", "Content-Length"),
            (r#""path":"/","headers":{"X-A":1}"#, "headers", "values are strings"),
            (r#""path":"/","headers":["X-A"]"#, "headers", "an object"),
            (r#""path":"/","headers":{"X-A":"secret\n"}"#, "headers", "X-A"),
            (r#""path":"/","expect":"2xx""#, "expect", "200-399"),
            (r#""path":"/","expect":[]"#, "expect", "200-399"),
            (r#""path":"/","expect":[[200]]"#, "expect", "an array of these"),
            (r#""path":"/","expect":{"status":99}"#, "expect.status", "100 to 599"),
            (r#""path":"/","expect":{"body":""}"#, "expect.body", "1 to 256"),
            (r#""path":"/","expect":{"bdy":"x"}"#, "expect.bdy", "known are: status, body"),
            (r#""path":"/","method":"HEAD","expect":{"body":"ok"}"#, "method", "must not be HEAD"),
            (r#""host":"a.example""#, "host", "needs path"),
            (r#""expect":200"#, "expect", "needs path"),
        ] {
            let findings = check(&format!("{{\"health_check\":{{{fields}}}}}")).unwrap_err();
            assert_eq!(findings.len(), 1, "{fields}: {findings:?}");
            assert_eq!(findings[0].field, format!("health_check.{field}"), "{fields}");
            assert!(findings[0].message.contains(message), "{fields}: {}", findings[0].message);
            assert!(!findings[0].message.contains("secret"));
        }
        let findings = check(r#"{"health_check":{"path":"x","host":"a.example"}}"#).unwrap_err();
        assert_eq!(findings.len(), 1, "a wrong path is there all the same: {findings:?}");
    }

    #[test]
    fn what_cannot_be_asked_over_h2c_needs_a_port_of_its_own() {
        let check = |fields: &str| {
            check_of(&format!("{{\"health_check\":{{\"path\":\"/\"{fields}}}}}"), "h2c://10.0.0.5:50051")
        };
        assert!(check("").is_ok(), "as ever: a path is taken, and a connection opened");
        let findings = check(r#","expect":200"#).unwrap_err();
        assert!(findings[0].message.contains("needs port"), "{findings:?}");
        assert!(check(r#","expect":200,"port":8080"#).is_ok());
    }

    #[test]
    fn app_names_are_for_people() {
        assert!(app_name("Büro & Söhne 株式会社").is_ok());
        assert!(app_name(&"x".repeat(ringway_model::limits::APP_NAME_BYTES_MAX)).is_ok());
        assert!(app_name(&"x".repeat(ringway_model::limits::APP_NAME_BYTES_MAX + 1)).is_err());
        for text in ["", "  ", "a\nb", "a\0b", "\u{202e}evil", "a\u{7f}", "a\u{2028}b"] {
            assert!(app_name(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["10s", "1500ms", "300s"] {
            assert_eq!(duration_text(duration(Given::Text(text)).unwrap()), text);
        }
    }
}
