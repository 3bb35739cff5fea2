//! Policies of apps and domains, as the API shows them.

use ringway_config::canonical::policy_settings;
use ringway_config::values::duration_text;
use ringway_model::PolicyRef;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// Timeouts and limits.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum PolicyView {
    /// Id of a policy.
    Named(String),
    /// Values in place; absent ones are inherited.
    Inline {
        /// Timeout to the head of the response, over all attempts.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(examples("30s"))]
        timeout: Option<String>,
        /// Timeout of one attempt to its response head.
        #[serde(skip_serializing_if = "Option::is_none")]
        per_try_timeout: Option<String>,
        /// Timeout of the whole exchange, bodies included.
        #[serde(skip_serializing_if = "Option::is_none")]
        total_timeout: Option<String>,
        /// Bytes of the largest request body.
        #[serde(skip_serializing_if = "Option::is_none")]
        body_size_limit: Option<u64>,
        /// Whether requests without TLS are redirected or refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        require_tls: Option<bool>,
        /// Status of the response when no endpoint can be reached.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(examples(502, 503))]
        unavailable_status: Option<u16>,
        /// Whether WebSocket upgrades are admitted.
        #[serde(skip_serializing_if = "Option::is_none")]
        websocket: Option<bool>,
        /// Further attempts of failed requests, with all values.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<Object>)]
        retries: Option<Value>,
        /// Limit of the request rate, with all values.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<Object>)]
        rate_limit: Option<Value>,
        /// Circuit breaker, with all values.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<Object>)]
        circuit_breaker: Option<Value>,
        /// Second requests, with all values.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<Object>)]
        hedge: Option<Value>,
    },
}

impl PolicyView {
    pub(crate) fn new(policy: &PolicyRef) -> Self {
        match policy {
            PolicyRef::Named(id) => Self::Named(id.to_string()),
            PolicyRef::Inline(settings) => {
                let mut values = policy_settings(settings);
                let mut object = |name: &str| Some(values.get_mut(name)?.take());
                Self::Inline {
                    timeout: settings.timeout.map(duration_text),
                    per_try_timeout: settings.per_try_timeout.map(duration_text),
                    total_timeout: settings.total_timeout.map(duration_text),
                    body_size_limit: settings.body_size_limit,
                    require_tls: settings.require_tls,
                    unavailable_status: settings.unavailable_status,
                    websocket: settings.websocket,
                    retries: object("retries"),
                    rate_limit: object("rate_limit"),
                    circuit_breaker: object("circuit_breaker"),
                    hedge: object("hedge"),
                }
            }
        }
    }
}
