//! Stored form of policies, named and in place.

use std::sync::Arc;
use std::time::Duration;

use ringway_model::{Policy, PolicyId, PolicyRef, PolicySettings, Timestamp};
use serde::{Deserialize, Serialize};

use super::StoredOwner;
use super::traffic::{StoredBreaker, StoredHedge, StoredRateLimit, StoredRetries};

/// The format of policies that this version writes. Format 3 had timeouts and limits only.
const FORMAT: u32 = 4;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredPolicy {
    format: u32,
    owner: StoredOwner,
    id: String,
    settings: StoredSettings,
    created_at: u64,
    updated_at: u64,
}

/// Values of a policy; absent ones are left out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredSettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    per_try_timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total_timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_size_limit: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    require_tls: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unavailable_status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    websocket: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retries: Option<StoredRetries>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate_limit: Option<StoredRateLimit>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    circuit_breaker: Option<StoredBreaker>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hedge: Option<StoredHedge>,
}

/// Reference to a policy: its id, or its values.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum StoredPolicyRef {
    Named(String),
    Inline(Box<StoredSettings>),
}

impl From<&Policy> for StoredPolicy {
    fn from(policy: &Policy) -> Self {
        Self {
            format: FORMAT,
            owner: StoredOwner(policy.owner.clone()),
            id: policy.id.to_string(),
            settings: StoredSettings::from(&policy.settings),
            created_at: policy.created_at.0,
            updated_at: policy.updated_at.0,
        }
    }
}

impl StoredPolicy {
    pub(super) fn into_model(self) -> Option<Policy> {
        (self.format <= FORMAT).then_some(())?;
        Some(Policy {
            id: PolicyId::parse(&self.id).ok()?,
            owner: self.owner.0,
            settings: self.settings.into_model()?,
            created_at: Timestamp(self.created_at),
            updated_at: Timestamp(self.updated_at),
        })
    }
}

impl From<&PolicySettings> for StoredSettings {
    fn from(settings: &PolicySettings) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            timeout_ms: settings.timeout.map(millis),
            per_try_timeout_ms: settings.per_try_timeout.map(millis),
            total_timeout_ms: settings.total_timeout.map(millis),
            body_size_limit: settings.body_size_limit,
            require_tls: settings.require_tls,
            unavailable_status: settings.unavailable_status,
            websocket: settings.websocket,
            retries: settings.retries.as_ref().map(StoredRetries::from),
            rate_limit: settings.rate_limit.as_ref().map(StoredRateLimit::from),
            circuit_breaker: settings.circuit_breaker.as_ref().map(StoredBreaker::from),
            hedge: settings.hedge.as_ref().map(StoredHedge::from),
        }
    }
}

impl StoredSettings {
    fn into_model(self) -> Option<PolicySettings> {
        Some(PolicySettings {
            timeout: self.timeout_ms.map(Duration::from_millis),
            per_try_timeout: self.per_try_timeout_ms.map(Duration::from_millis),
            total_timeout: self.total_timeout_ms.map(Duration::from_millis),
            body_size_limit: self.body_size_limit,
            require_tls: self.require_tls,
            unavailable_status: self.unavailable_status,
            websocket: self.websocket,
            retries: match self.retries {
                Some(retries) => Some(retries.into_model()?),
                None => None,
            },
            rate_limit: self.rate_limit.map(StoredRateLimit::into_model),
            circuit_breaker: match self.circuit_breaker {
                Some(breaker) => Some(breaker.into_model()?),
                None => None,
            },
            hedge: match self.hedge {
                Some(hedge) => Some(hedge.into_model()?),
                None => None,
            },
        })
    }
}

impl From<&PolicyRef> for StoredPolicyRef {
    fn from(policy: &PolicyRef) -> Self {
        match policy {
            PolicyRef::Named(id) => Self::Named(id.to_string()),
            PolicyRef::Inline(settings) => Self::Inline(Box::new(StoredSettings::from(&**settings))),
        }
    }
}

impl StoredPolicyRef {
    pub(super) fn into_model(self) -> Option<PolicyRef> {
        Some(match self {
            Self::Named(id) => PolicyRef::Named(PolicyId::parse(&id).ok()?),
            Self::Inline(settings) => PolicyRef::Inline(Arc::new(settings.into_model()?)),
        })
    }
}
