//! Defaults of one source: policy and health checks.

use ringway_model::{HealthCheck, OnAllUnhealthy};
use serde_json::json;

use super::policy::policy_ref;
use crate::draft::Draft;
use crate::fields::active_check;
use crate::values::boolean;
use crate::{Fault, Field, Reader};

/// Reads `defaults` and `health_checks`.
pub(super) fn defaults(reader: &mut Reader<'_>, draft: &mut Draft) {
    reader.object(
        "defaults",
        "Values for the routes and pools of this file that leave them out.",
        |reader| {
            draft.defaults.policy = policy_ref(reader, draft);
            draft.defaults.on_all_unhealthy = reader.optional(&ON_ALL_UNHEALTHY);
            let health = reader.object("health", "Health checks.", |reader| {
                reader.object("active", "Requests that check an endpoint.", |reader| {
                    active_check(reader, false)
                })
            });
            draft.defaults.health = health.unwrap_or_default();
            Some(())
        },
    );
    let health = reader.object("health_checks", "The same as `defaults.health.active`.", |reader| {
        let is_enabled = reader.optional(&ENABLED);
        let check = active_check(reader, false)?;
        if is_enabled == Some(false) {
            reader.warn(ENABLED.name, "unsupported", "cannot be switched off: every endpoint is checked");
        }
        Some(check)
    });
    if let Some(health) = health {
        draft.defaults.health = health;
    }
}

/// The health check of an endpoint, with absent values taken from the defaults.
pub(super) fn check_or(check: Option<HealthCheck>, defaults: &HealthCheck) -> HealthCheck {
    let Some(check) = check else { return defaults.clone() };
    HealthCheck {
        interval: check.interval.or(defaults.interval),
        timeout: check.timeout.or(defaults.timeout),
        unhealthy_threshold: check.unhealthy_threshold.or(defaults.unhealthy_threshold),
        healthy_threshold: check.healthy_threshold.or(defaults.healthy_threshold),
        probe: check.probe,
        port: check.port,
    }
}

static ENABLED: Field<bool> = boolean("enabled", "Always true.");

/// Treatment of requests while no endpoint is healthy.
pub(super) static ON_ALL_UNHEALTHY: Field<OnAllUnhealthy> = Field {
    name: "on_all_unhealthy",
    doc: "Treatment of requests while no endpoint is healthy: trickle, forwards one request a second; reject, forwards none; \
          panic_open, forwards all. Trickle when absent.",
    schema: || json!({ "type": "string", "enum": OnAllUnhealthy::ALL.map(OnAllUnhealthy::as_str) }),
    parse: |given| {
        OnAllUnhealthy::parse(given.text()?).ok_or_else(|| {
            let words = OnAllUnhealthy::ALL.map(OnAllUnhealthy::as_str).join(", ");
            Fault::invalid(format_args!("must be one of {words}"))
        })
    },
};
