//! Instances, their health checks and their drains, as the API shows them.

use std::num::{NonZeroU8, NonZeroU16};

use ringway_config::values::duration_text;
use ringway_control::{InstanceDrained, InstanceState, InstanceStatus};
use ringway_model::{
    Desired, HealthCheck, Instance, InstanceId, Probe, ProbeMethod, StatusRanges, Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::lists::PageTail;
use crate::plane::Plane;

/// A registered instance and its state.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InstanceView {
    pub(crate) instance_id: String,
    pub(crate) app_id: String,
    pub(crate) target: String,
    pub(crate) health_check: HealthCheckView,
    /// `joining`: from the registration to the first successful check, gets traffic only while no other
    /// instance can. `serving`: gets traffic. `draining`: finishes its requests and is then removed.
    /// `unhealthy`: out of rotation by health checks. `ejected`: out of rotation by its circuit breaker.
    #[schema(examples("joining", "serving", "draining", "unhealthy", "ejected"))]
    pub(crate) state: &'static str,
    /// Reason of the state, if needed.
    pub(crate) state_reason: Option<String>,
    /// Requests in progress, including WebSockets.
    pub(crate) requests_in_flight: u64,
    /// Open upgraded connections.
    pub(crate) websockets_open: u64,
    /// Latest time of the removal of a draining instance.
    #[schema(format = "date-time")]
    pub(crate) draining_until: Option<String>,
    /// `unknown` until the first checks are done; such an instance gets traffic.
    #[schema(examples("healthy", "unhealthy", "unknown"))]
    pub(crate) health: &'static str,
    /// Failure of the last check, or missing heartbeats.
    #[schema(examples("GET /health: status 503, expected 200-399", "no heartbeat for 31 s"))]
    pub(crate) health_reason: Option<String>,
    /// Consecutive results of the last kind.
    pub(crate) health_streak: u32,
    #[schema(format = "date-time")]
    pub(crate) last_check: Option<String>,
    #[schema(examples("closed", "open", "half_open"))]
    pub(crate) circuit_breaker: &'static str,
    /// Time when an open breaker admits the next request.
    #[schema(format = "date-time")]
    pub(crate) circuit_breaker_until: Option<String>,
    /// Null for an instance that never sent a heartbeat: only health checks decide.
    #[schema(format = "date-time")]
    pub(crate) last_heartbeat: Option<String>,
    /// Time when it leaves the rotation without another heartbeat.
    #[schema(format = "date-time")]
    pub(crate) lease_expires: Option<String>,
    /// Time when it is deregistered without another heartbeat.
    #[schema(format = "date-time")]
    pub(crate) deregisters_at: Option<String>,
    /// Addresses of the target; empty while its name is not resolved.
    pub(crate) addresses: Vec<String>,
    #[schema(format = "date-time")]
    pub(crate) registered_at: String,
    /// Fencing token of the registration: sent with heartbeats and the deregistration, it stops a replaced
    /// process from interfering.
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

/// Builds the view of an instance, if it exists.
pub(crate) fn instance_view<P: Plane>(plane: &P, desired: &Desired, id: &InstanceId) -> Option<InstanceView> {
    desired.instance(id.as_str()).map(|instance| InstanceView::of(plane, instance))
}

/// One page of instances, as [`Pieces::page`](crate::lists::Pieces::page) writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "pages are written in pieces; this is their shape")]
pub(crate) struct InstancePage {
    instances: Vec<InstanceView>,
    #[serde(flatten)]
    tail: PageTail,
}

/// A health check in its shortest form.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum HealthCheckView {
    /// Null for a TCP connection, else the path.
    Short(Option<String>),
    /// With further settings.
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

/// Result of the drain of a removed instance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DrainedView {
    pub(crate) instance_id: String,
    /// Whether all requests finished in time.
    pub(crate) drained: bool,
    /// Milliseconds from the start of the drain to the removal.
    pub(crate) took_ms: u64,
    /// Requests in progress at the end of the time; they continue, except for WebSockets.
    pub(crate) requests_left: u64,
    /// WebSockets among them, which were closed with 1001.
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

/// A drain that continues without its request, because too many requests wait already. All fields are absent
/// in the response to a removal without drain.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DrainingView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) instance_id: Option<String>,
    /// `draining`: the drain is stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(examples("draining"))]
    pub(crate) state: Option<&'static str>,
    /// Latest time of the removal.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "date-time")]
    pub(crate) draining_until: Option<String>,
    /// Advice for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

impl DrainingView {
    pub(crate) fn new(instance: &InstanceId, until: Timestamp) -> Self {
        let detail = "too many requests wait already: the drain is stored and continues without this request; the instance is removed \
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
    /// Generation of the registration.
    pub(crate) generation: u64,
    #[schema(format = "date-time")]
    pub(crate) last_heartbeat: Option<String>,
    /// Time when the instance leaves the rotation without another heartbeat.
    #[schema(format = "date-time")]
    pub(crate) lease_expires: Option<String>,
    /// Time when it is deregistered without another heartbeat.
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
    fn health_checks_are_shown_in_their_shortest_form() {
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
