//! Instances, their health checks and their drains, as the API shows them.

use std::num::{NonZeroU8, NonZeroU16};

use ringway_control::{InstanceDrained, InstanceState, InstanceStatus};
use ringway_model::{
    Desired, HealthCheck, Instance, InstanceId, Probe, ProbeMethod, StatusRanges, Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::lists::PageTail;
use crate::plane::Plane;
use crate::request::values::duration_text;

/// A registered instance and how it does.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InstanceView {
    pub(crate) instance_id: String,
    pub(crate) app_id: String,
    pub(crate) target: String,
    pub(crate) health_check: HealthCheckView,
    /// `joining` from the registration to the first successful check: takes traffic only while no other instance can.
    /// `serving`: takes traffic. `draining`: finishes its requests and is removed then. `unhealthy`: checks took it out of
    /// rotation. `ejected`: its circuit breaker did.
    #[schema(examples("joining", "serving", "draining", "unhealthy", "ejected"))]
    pub(crate) state: &'static str,
    /// Why, where the state leaves a question.
    pub(crate) state_reason: Option<String>,
    /// Requests under way, WebSockets among them.
    pub(crate) requests_in_flight: u64,
    /// Upgraded connections that are open.
    pub(crate) websockets_open: u64,
    /// When a draining instance is removed at the latest.
    #[schema(format = "date-time")]
    pub(crate) draining_until: Option<String>,
    /// `unknown` until the first checks are through; such an instance takes traffic.
    #[schema(examples("healthy", "unhealthy", "unknown"))]
    pub(crate) health: &'static str,
    /// Why the last check failed, or that heartbeats are missing: what was asked and what came.
    #[schema(examples("GET /health: status 503, expected 200-399", "no heartbeat for 31 s"))]
    pub(crate) health_reason: Option<String>,
    /// Consecutive results of the last kind.
    pub(crate) health_streak: u32,
    #[schema(format = "date-time")]
    pub(crate) last_check: Option<String>,
    #[schema(examples("closed", "open", "half_open"))]
    pub(crate) circuit_breaker: &'static str,
    /// When an open breaker lets the next request pass.
    #[schema(format = "date-time")]
    pub(crate) circuit_breaker_until: Option<String>,
    /// Null for an instance that never sent one: health checks alone judge it.
    #[schema(format = "date-time")]
    pub(crate) last_heartbeat: Option<String>,
    /// When it leaves the rotation unless it sends another heartbeat.
    #[schema(format = "date-time")]
    pub(crate) lease_expires: Option<String>,
    /// When it is deregistered unless it sends another heartbeat.
    #[schema(format = "date-time")]
    pub(crate) deregisters_at: Option<String>,
    /// Where its requests go; empty while the target's name is not resolved.
    pub(crate) addresses: Vec<String>,
    #[schema(format = "date-time")]
    pub(crate) registered_at: String,
    /// Fences the registration: send it with heartbeats and the deregistration, and a replaced process does no harm.
    pub(crate) generation: u64,
}

impl InstanceView {
    pub(crate) fn new(instance: &Instance, status: Option<InstanceStatus>) -> Self {
        let status = status.unwrap_or_default();
        Self {
            instance_id: instance.id.to_string(),
            app_id: instance.app.to_string(),
            target: instance.target.to_string(),
            health_check: HealthCheckView::new(&instance.health_check),
            state: status.state.as_str(),
            state_reason: status.state_reason,
            requests_in_flight: status.in_flight.requests,
            websockets_open: status.in_flight.tunnels,
            draining_until: status.draining_until.map(Timestamp::to_rfc3339_millis),
            health: status.health.as_str(),
            health_reason: status.reason,
            health_streak: status.streak,
            last_check: status.last_checked.map(Timestamp::to_rfc3339_millis),
            circuit_breaker: status.breaker.state.as_str(),
            circuit_breaker_until: status.breaker.until.map(Timestamp::to_rfc3339_millis),
            last_heartbeat: status.last_heartbeat.map(Timestamp::to_rfc3339_millis),
            lease_expires: status.lease_expires.map(Timestamp::to_rfc3339_millis),
            deregisters_at: status.deregisters_at.map(Timestamp::to_rfc3339_millis),
            addresses: status.addresses.iter().map(ToString::to_string).collect(),
            registered_at: instance.registered_at.to_rfc3339_millis(),
            generation: instance.generation.0,
        }
    }

    pub(crate) fn of<P: Plane>(plane: &P, instance: &Instance) -> Self {
        Self::new(instance, plane.instance_status(&instance.id))
    }
}

/// The instance of an id, as it is now.
pub(crate) fn instance_view<P: Plane>(plane: &P, desired: &Desired, id: &InstanceId) -> Option<InstanceView> {
    desired.instance(id.as_str()).map(|instance| InstanceView::of(plane, instance))
}

/// One page of instances: the schema of what [`Pieces::page`](crate::lists::Pieces::page) writes.
#[derive(ToSchema)]
#[expect(dead_code, reason = "pages are written in pieces; this is their shape")]
pub(crate) struct InstancePage {
    instances: Vec<InstanceView>,
    #[serde(flatten)]
    tail: PageTail,
}

/// A health check, in the shortest form that says it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum HealthCheckView {
    /// Null for a TCP connection, else the path.
    Short(Option<String>),
    /// With settings of its own.
    Full {
        /// The path; null for a TCP connection.
        path: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(examples("HEAD"))]
        method: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(examples("app1.com"))]
        host: Option<String>,
        /// The names of the header fields; their values are not shown.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        headers: Vec<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        expect: Option<ExpectView>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(examples("10s"))]
        interval: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(examples("3s"))]
        timeout: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        unhealthy_threshold: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        healthy_threshold: Option<u8>,
    },
}

/// The response that counts as healthy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExpectView {
    /// Accepted statuses, ranges separated by commas.
    #[schema(examples("200-399"))]
    pub(crate) status: String,
    /// Text that the body must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<String>,
}

impl HealthCheckView {
    fn new(check: &HealthCheck) -> Self {
        let http = match &check.probe {
            Probe::Tcp => None,
            Probe::Http(probe) => Some(probe),
        };
        let path = http.map(|probe| probe.path.as_str().to_owned());
        let HealthCheck { probe: _, port, interval, timeout, unhealthy_threshold, healthy_threshold } = check;
        if (port, interval, timeout, unhealthy_threshold, healthy_threshold)
            == (&None, &None, &None, &None, &None)
            && http.is_none_or(|probe| probe.is_plain())
        {
            return Self::Short(path);
        }
        let expect = http.filter(|probe| probe.statuses != StatusRanges::default() || probe.body.is_some());
        Self::Full {
            path,
            port: port.map(NonZeroU16::get),
            method: http
                .map(|probe| probe.method)
                .filter(|method| *method != ProbeMethod::Get)
                .map(ProbeMethod::as_str),
            host: http.and_then(|probe| probe.host.as_ref()).map(ToString::to_string),
            headers: http.map(|probe| probe.headers.names().map(str::to_owned).collect()).unwrap_or_default(),
            expect: expect.map(|probe| ExpectView {
                status: probe.statuses.to_string(),
                body: probe.body.as_ref().map(|text| text.as_str().to_owned()),
            }),
            interval: interval.map(duration_text),
            timeout: timeout.map(duration_text),
            unhealthy_threshold: unhealthy_threshold.map(NonZeroU8::get),
            healthy_threshold: healthy_threshold.map(NonZeroU8::get),
        }
    }
}

/// How the drain of a removed instance went.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DrainedView {
    pub(crate) instance_id: String,
    /// Whether all requests were done in time.
    pub(crate) drained: bool,
    /// Milliseconds from the begin of the drain to the removal.
    pub(crate) took_ms: u64,
    /// Requests that were under way when the time was over; they go on, except WebSockets.
    pub(crate) requests_left: u64,
    /// WebSockets among them: they were closed with 1001.
    pub(crate) websockets_left: u64,
}

impl DrainedView {
    pub(crate) fn new(instance: &InstanceId, drained: InstanceDrained) -> Self {
        Self {
            instance_id: instance.to_string(),
            drained: drained.left.requests == 0,
            took_ms: u64::try_from(drained.took.as_millis()).unwrap_or(u64::MAX),
            requests_left: drained.left.requests,
            websockets_left: drained.left.tunnels,
        }
    }
}

/// A drain that goes on without the request that began it, because too many requests wait already. All fields are absent
/// in the answer to a removal without drain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DrainingView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance_id: Option<String>,
    /// `draining`: the drain is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("draining"))]
    pub(crate) state: Option<&'static str>,
    /// When the instance is removed at the latest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub(crate) draining_until: Option<String>,
    /// Advice for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

impl DrainingView {
    pub(crate) fn new(instance: &InstanceId, until: Timestamp) -> Self {
        let detail = "too many requests wait already: the drain is stored and goes on without this one; the instance is gone \
                      when GET /api/status/instances?instance_id=ID lists none";
        Self {
            instance_id: Some(instance.to_string()),
            state: Some(InstanceState::Draining.as_str()),
            draining_until: Some(until.to_rfc3339_millis()),
            detail: Some(detail.to_owned()),
        }
    }
}

/// The lease of an instance after a heartbeat.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LeaseView {
    pub(crate) instance_id: String,
    /// The registration that it belongs to.
    pub(crate) generation: u64,
    #[schema(format = "date-time")]
    pub(crate) last_heartbeat: Option<String>,
    /// When the instance leaves the rotation unless it sends another heartbeat.
    #[schema(format = "date-time")]
    pub(crate) lease_expires: Option<String>,
    /// When it is deregistered unless it sends another heartbeat.
    #[schema(format = "date-time")]
    pub(crate) deregisters_at: Option<String>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use ringway_model::{BodyText, HttpProbe, ProbeHeaders, ProbeHost};
    use std::time::Duration;

    #[test]
    fn health_checks_are_written_as_short_as_they_were_given() {
        let json = |check: &HealthCheck| serde_json::to_string(&HealthCheckView::new(check)).unwrap();
        let http = HealthCheck { probe: Probe::http("/health").unwrap(), ..HealthCheck::default() };
        assert_eq!(json(&HealthCheck::default()), "null");
        assert_eq!(json(&http), r#""/health""#);
        let slow = HealthCheck { interval: Some(Duration::from_secs(30)), ..http };
        assert_eq!(json(&slow), r#"{"path":"/health","interval":"30s"}"#);
        let tcp = HealthCheck { healthy_threshold: NonZeroU8::new(1), ..HealthCheck::default() };
        assert_eq!(json(&tcp), r#"{"path":null,"healthy_threshold":1}"#);
        let probe = HttpProbe {
            method: ProbeMethod::Options,
            host: Some(ProbeHost::parse("app.example").unwrap()),
            headers: ProbeHeaders::new([("Authorization", "correct-horse")]).unwrap(),
            body: Some(BodyText::parse("ok").unwrap()),
            ..HttpProbe::new("/up").unwrap()
        };
        let full = HealthCheck {
            probe: Probe::Http(probe.into()),
            port: NonZeroU16::new(9000),
            ..HealthCheck::default()
        };
        assert_eq!(
            json(&full),
            r#"{"path":"/up","port":9000,"method":"OPTIONS","host":"app.example","headers":["Authorization"],"expect":{"status":"200-399","body":"ok"}}"#
        );
    }
}
