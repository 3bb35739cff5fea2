//! Stored form of an instance.

use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{
    AppId, BodyText, Generation, HealthCheck, HttpProbe, Instance, InstanceId, Probe, ProbeHeaders,
    ProbeHost, ProbeMethod, ProbePath, StatusRanges, Target, Timestamp,
};
use serde::{Deserialize, Serialize};

use super::{StoredOwner, first_format};

/// The format of instances that this version writes. Format 1 had no owner, format 2 no weight.
const FORMAT: u32 = 3;
/// The weight of records without one.
const WEIGHT: u16 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredInstance {
    #[serde(default = "first_format")]
    format: u32,
    #[serde(default)]
    owner: StoredOwner,
    id: String,
    app: String,
    target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_port: Option<NonZeroU16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_host: Option<String>,
    /// Values in clear, like the secrets of webhooks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    health_headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_body: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_interval_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health_timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unhealthy_threshold: Option<NonZeroU8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    healthy_threshold: Option<NonZeroU8>,
    registered_at: u64,
    generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    draining: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
}

impl From<&Instance> for StoredInstance {
    fn from(instance: &Instance) -> Self {
        let check = &instance.health_check;
        let http = match &check.probe {
            Probe::Tcp => None,
            Probe::Http(probe) => Some(probe),
        };
        // Defaults are left out.
        let method = http.map(|probe| probe.method).filter(|method| *method != ProbeMethod::default());
        let statuses = http.map(|probe| &probe.statuses).filter(|known| **known != StatusRanges::default());
        let headers = http.into_iter().flat_map(|probe| probe.headers.expose());
        Self {
            format: FORMAT,
            owner: StoredOwner(instance.owner.clone()),
            id: instance.id.to_string(),
            app: instance.app.to_string(),
            target: instance.target.to_string(),
            health_path: http.map(|probe| probe.path.as_str().to_owned()),
            health_port: check.port,
            health_method: method.map(|method| method.as_str().to_owned()),
            health_host: http.and_then(|probe| probe.host.as_ref()).map(ToString::to_string),
            health_headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            health_status: statuses.map(ToString::to_string),
            health_body: http.and_then(|probe| probe.body.as_ref()).map(|text| text.as_str().to_owned()),
            health_interval_ms: check.interval.map(millis),
            health_timeout_ms: check.timeout.map(millis),
            unhealthy_threshold: check.unhealthy_threshold,
            healthy_threshold: check.healthy_threshold,
            registered_at: instance.registered_at.0,
            generation: instance.generation.0,
            draining: instance.draining.map(|until| until.0),
            weight: (instance.weight != WEIGHT).then_some(instance.weight),
        }
    }
}

impl StoredInstance {
    fn probe(&self) -> Option<Probe> {
        let Some(path) = &self.health_path else { return Some(Probe::Tcp) };
        let headers = self.health_headers.iter().map(|(name, value)| (&**name, &**value));
        Some(Probe::Http(Arc::new(HttpProbe {
            path: ProbePath::parse(path).ok()?,
            method: match &self.health_method {
                Some(method) => ProbeMethod::parse(method)?,
                None => ProbeMethod::default(),
            },
            host: self.health_host.as_deref().map(ProbeHost::parse).transpose().ok()?,
            headers: ProbeHeaders::new(headers).ok()?,
            statuses: match &self.health_status {
                Some(ranges) => StatusRanges::parse(ranges).ok()?,
                None => StatusRanges::default(),
            },
            body: self.health_body.as_deref().map(BodyText::parse).transpose().ok()?,
        })))
    }

    pub(super) fn into_model(self) -> Option<Instance> {
        let probe = self.probe()?;
        (self.format <= FORMAT).then_some(())?;
        Some(Instance {
            id: InstanceId::parse(&self.id).ok()?,
            owner: self.owner.0,
            app: AppId::parse(&self.app).ok()?,
            target: Target::parse(&self.target).ok()?,
            weight: self.weight.unwrap_or(WEIGHT),
            health_check: HealthCheck {
                probe,
                port: self.health_port,
                interval: self.health_interval_ms.map(Duration::from_millis),
                timeout: self.health_timeout_ms.map(Duration::from_millis),
                unhealthy_threshold: self.unhealthy_threshold,
                healthy_threshold: self.healthy_threshold,
            },
            registered_at: Timestamp(self.registered_at),
            generation: Generation(self.generation),
            draining: self.draining.map(Timestamp),
        })
    }
}

/// Converts to milliseconds, the resolution of the API.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
