//! Fields of health checks.

use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    BodyText, HealthCheck, HttpProbe, Probe, ProbeHeaders, ProbeHost, ProbeMethod, ProbePath, Scheme,
    StatusRanges, Target, limits,
};
use serde_json::{Value as Json, json};

use crate::values::{duration, duration_schema, duration_text, status_list};
use crate::{Fault, Field, Given, Reader, Value};

/// Reads `health_check`: a path, `"tcp"`, null, or an object; a TCP connection when absent.
pub fn health_check(reader: &mut Reader<'_>, target: Option<&Target>) -> Option<HealthCheck> {
    reader.short_or_object(&HEALTH_CHECK, |reader| {
        let path = reader.optional(&HEALTH_PATH);
        let port = reader.optional(&HEALTH_PORT);
        let probe = http_probe(reader, path, target.filter(|_| port.is_none()));
        Some(HealthCheck { probe, port, ..schedule(reader) })
    })
}

/// Reads the members of a pool's `health.active`; `is_h2c` if one of its endpoints speaks HTTP/2 without TLS.
pub(crate) fn active_check(reader: &mut Reader<'_>, is_h2c: bool) -> Option<HealthCheck> {
    let path = reader.optional(&HEALTH_PATH);
    let port = reader.optional(&HEALTH_PORT);
    let method = reader.optional(&HEALTH_METHOD);
    let host = reader.optional(&HEALTH_HOST);
    let headers = reader.optional(&HEALTH_HEADERS);
    let statuses = reader.optional(&EXPECTED_STATUS);
    let body = reader.optional(&EXPECTED_BODY);
    let given = [
        (HEALTH_METHOD.name, method.is_some()),
        (HEALTH_HOST.name, host.is_some()),
        (HEALTH_HEADERS.name, headers.is_some()),
        (EXPECTED_STATUS.name, statuses.is_some()),
        (EXPECTED_BODY.name, body.is_some()),
    ];
    check_parts(reader, &path, is_h2c && port.is_none(), given);
    let expected = Expectation { statuses, body };
    let probe = probe(reader, path, method, host, headers, expected);
    Some(HealthCheck { probe, port, ..schedule(reader) })
}

/// Reads when a health check is made and how often it must fail or succeed: a check of a TCP connection.
fn schedule(reader: &mut Reader<'_>) -> HealthCheck {
    let interval = reader.optional(&HEALTH_INTERVAL);
    let timeout = reader.optional(&HEALTH_TIMEOUT);
    let unhealthy_threshold = reader.optional(&UNHEALTHY_THRESHOLD);
    let healthy_threshold = reader.optional(&HEALTHY_THRESHOLD);
    if let (Some(interval), Some(timeout)) = (interval, timeout)
        && timeout > interval
    {
        reader.fault(HEALTH_TIMEOUT.name, Fault::range("must not be longer than interval"));
    }
    HealthCheck { interval, timeout, unhealthy_threshold, healthy_threshold, ..HealthCheck::default() }
}

static HEALTH_CHECK: Field<HealthCheck> = Field {
    name: "health_check",
    doc: "Health check of the instance: an HTTP path; \"tcp\" or null for a TCP connection; or an object.",
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
    doc: "Path of the request; null for a check that only opens a TCP connection.",
    schema: || json!({ "type": "string", "pattern": "^/", "maxLength": limits::HEALTH_PATH_BYTES_MAX, "examples": ["/health"] }),
    parse: |given| ProbePath::parse(given.text()?).map_err(Fault::invalid),
};

static HEALTH_PORT: Field<NonZeroU16> = Field {
    name: "port",
    doc: "Port, when it is not the target's. Next to an h2c target it speaks HTTP/1.1.",
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
    doc: "Host of the request, for apps that refuse an IP address there, such as Django and Rails; the target's host and port when absent.",
    schema: || json!({ "type": "string", "maxLength": limits::HOST_BYTES_MAX + 6, "examples": ["app1.com"] }),
    parse: |given| ProbeHost::parse(given.text()?).map_err(Fault::invalid),
};

static HEALTH_HEADERS: Field<ProbeHeaders> = Field {
    name: "headers",
    doc: "Further header fields of the request, names and values. Values may be secrets: only the names are ever shown.",
    schema: || {
        json!({
            "type": "object",
            "maxProperties": limits::HEALTH_HEADERS_MAX,
            "additionalProperties": { "type": "string", "maxLength": limits::HEALTH_HEADER_VALUE_BYTES_MAX },
            "examples": [{ "X-Forwarded-Proto": "https" }],
        })
    },
    parse: |given| {
        let fields = match given {
            Given::Json(Value::Object(fields)) => fields.members(),
            Given::Json(other) => {
                return Err(Fault::mistyped("an object of field names and values", other));
            }
            Given::Text(_) => return Err(Fault::invalid("belongs into the body")),
        };
        let texts: Vec<(&str, &str)> = fields
            .iter()
            .map(|member| match &member.node.value {
                Value::Text(text) | Value::Plain(text) => Ok((&*member.name, &**text)),
                other => Err(Fault::mistyped("an object whose values are strings", other)),
            })
            .collect::<Result<_, _>>()?;
        if texts.iter().any(|(_, value)| *value == HIDDEN) {
            return Err(Fault::invalid(format_args!(
                "has {HIDDEN} where a hidden value was: give the value itself"
            )));
        }
        ProbeHeaders::new(texts).map_err(Fault::invalid)
    },
};

/// Text in place of a hidden value, where a configuration is shown.
pub(crate) const HIDDEN: &str = "***";

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

static EXPECTED_STATUS: Field<StatusRanges> = Field { name: "expected_status", ..EXPECT_STATUS };

static EXPECTED_BODY: Field<BodyText> = Field { name: "expected_body", ..EXPECT_BODY };

static EXPECT_BODY: Field<BodyText> = Field {
    name: "body",
    doc: "Text that the body must contain, within its first 64 KiB.",
    schema: || json!({ "type": "string", "minLength": 1, "maxLength": limits::HEALTH_BODY_TEXT_BYTES_MAX, "examples": ["ok"] }),
    parse: |given| BodyText::parse(given.text()?).map_err(Fault::invalid),
};

/// Expected response of a health check.
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
        match (limits::HEALTH_INTERVAL_MIN..=limits::HEALTH_INTERVAL_MAX).contains(&interval) {
            true => Ok(interval),
            false => Err(Fault::range(format_args!(
                "must be from {} to {}",
                duration_text(limits::HEALTH_INTERVAL_MIN),
                duration_text(limits::HEALTH_INTERVAL_MAX)
            ))),
        }
    },
};

static HEALTH_TIMEOUT: Field<Duration> = Field {
    name: "timeout",
    doc: "Timeout of one check; not longer than the interval.",
    schema: || duration_schema("3s"),
    parse: |given| {
        let timeout = duration(given)?;
        match timeout > Duration::ZERO && timeout <= limits::HEALTH_INTERVAL_MAX {
            true => Ok(timeout),
            false => Err(Fault::range(format_args!(
                "must be above 0 and at most {}",
                duration_text(limits::HEALTH_INTERVAL_MAX)
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

/// Reads the fields of an HTTP check. `endpoint` is the target if the check has no port of its own.
fn http_probe(reader: &mut Reader<'_>, path: Option<ProbePath>, endpoint: Option<&Target>) -> Probe {
    let method = reader.optional(&HEALTH_METHOD);
    let host = reader.optional(&HEALTH_HOST);
    let headers = reader.optional(&HEALTH_HEADERS);
    let expected = reader.short_or_object(&EXPECT, |reader| {
        Some(Expectation { statuses: reader.optional(&EXPECT_STATUS), body: reader.optional(&EXPECT_BODY) })
    });
    let is_h2c = endpoint.is_some_and(|target| target.scheme() == Scheme::H2c);
    let given = [
        (HEALTH_METHOD.name, method.is_some()),
        (HEALTH_HOST.name, host.is_some()),
        (HEALTH_HEADERS.name, headers.is_some()),
        (EXPECT.name, expected.is_some()),
    ];
    check_parts(reader, &path, is_h2c, given);
    probe(reader, path, method, host, headers, expected.unwrap_or_default())
}

/// Refuses the parts of an HTTP request where the check only opens a connection.
fn check_parts<const N: usize>(
    reader: &mut Reader<'_>,
    path: &Option<ProbePath>,
    is_h2c: bool,
    given: [(&'static str, bool); N],
) {
    for (name, is_given) in given {
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
}

fn probe(
    reader: &mut Reader<'_>,
    path: Option<ProbePath>,
    method: Option<ProbeMethod>,
    host: Option<ProbeHost>,
    headers: Option<ProbeHeaders>,
    expected: Expectation,
) -> Probe {
    let Expectation { statuses, body } = expected;
    let method = method.unwrap_or_default();
    if method == ProbeMethod::Head && body.is_some() {
        reader.fault(HEALTH_METHOD.name, Fault::invalid("must not be HEAD when a body is expected"));
    }
    let Some(path) = path else { return Probe::Tcp };
    let (headers, statuses) = (headers.unwrap_or_default(), statuses.unwrap_or_default());
    Probe::Http(Arc::new(HttpProbe { path, method, host, headers, statuses, body }))
}

fn statuses(given: Given<'_>) -> Result<StatusRanges, Fault> {
    StatusRanges::parse(&status_list(given)?).map_err(Fault::invalid)
}

fn statuses_schema() -> Json {
    let range = "^[1-5][0-9]{2}(-[1-5][0-9]{2})?$";
    let one = json!({ "type": "integer", "minimum": 100, "maximum": 599 });
    let item = json!({ "oneOf": [{ "type": "string", "pattern": range }, one] });
    json!({
        "oneOf": [
            { "type": "string", "examples": ["200-399", "200,204"] },
            one,
            { "type": "array", "items": item, "minItems": 1, "maxItems": limits::HEALTH_STATUS_RANGES_MAX },
        ],
    })
}

fn threshold(given: Given<'_>) -> Result<NonZeroU8, Fault> {
    u8::try_from(given.unsigned()?)
        .ok()
        .and_then(NonZeroU8::new)
        .ok_or_else(|| Fault::range(format_args!("must be from 1 to {}", u8::MAX)))
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
