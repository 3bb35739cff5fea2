//! Resources and values that both planes share.
//!
//! Whatever is configured is a [`Resource`] of some [`Kind`] with an [`Owner`]: the apps, instances and
//! domains that users register, and the routes, pools and policies of the operator. The control plane keeps
//! them in a [`Desired`] state; a [`Change`] makes the next state and names the differences ([`Delta`]). The
//! `traffic` crate compiles it into the snapshot that the data plane routes by. Everything here is pure: no
//! clock, no I/O, no randomness. Values are parsed at the edge and valid from then on.
#![forbid(unsafe_code)]

mod app;
mod availability;
mod balancer;
mod cache;
mod canary_state;
mod certificate;
mod change;
mod cidr;
mod date;
mod desired;
mod domain;
mod endpoint_override;
mod forward;
mod health;
mod host;
mod host_pattern;
mod id;
mod instance;
pub mod limits;
mod middleware;
mod operator_set;
mod owner;
mod patch;
mod percent;
mod policy;
mod pool_traffic;
mod probe;
mod rebase;
mod resource;
mod route;
mod script;
mod serde_text;
mod server_certificate;
mod status;
mod target;
mod tenant_hash;
mod time;
mod traffic_policy;
mod traffic_spec;
mod variant;
mod version;
mod webhook;

pub use app::{App, AppSpec};
pub use availability::{FailurePolicy, OnAllUnhealthy, StatusSet, StatusSetError, TimeoutPolicy};
pub use balancer::Balancer;
pub use cache::{CacheMode, CacheSpec, CacheTtl, SetCookiePolicy};
pub use canary_state::{Braked, CanaryState, SetWeight};
pub use certificate::{
    CertificateFiles, CertificateMode, ClientAuth, ClientAuthNeed, FilePath, FilePathError, UpstreamTls,
};
pub use change::{Applied, Change, Outcome, Rejection};
pub use cidr::{Cidr, CidrError};
pub use date::Civil;
pub use desired::Desired;
pub use domain::{Domain, DomainKind, DomainSpec, DomainUpdate};
pub use endpoint_override::EndpointOverride;
pub use forward::{
    BlockedAnswer, ClientRate, ContentTypes, DomainListSpec, ForwardLimits, ForwardSpec, ListAction,
    ListFormat, ListMode, ListSource, PrivateTarget, ProxyAuth,
};
pub use health::{Health, HealthCheck};
pub use host::{HostError, Hostname};
pub use host_pattern::{HostPattern, HostPatternError};
pub use id::{
    AppId, CoreId, Generation, IdError, InstanceId, MiddlewareId, PluginId, PolicyId, Revision, RouteId,
    Serial, TenantId,
};
pub use instance::{Instance, InstanceSpec};
pub use middleware::{
    AccessLogStage, ApiKey, ApiKeys, AuthMethod, AuthStage, BasicAuth, BodyLimit, CanonicalHost, ClaimField,
    ClaimRule, Coding, Compress, Cors, CredentialSource, DecisionCache, Direction, ErrorPage, ErrorPages,
    ExternalFilter, ExternalProtocol, FailMode, FrameOptions, HeaderEdits, HeaderTransform, Hsts, IpAcl,
    JwtAuth, JwtKeys, LuaStage, Maintenance, Middleware, MiddlewareSpec, PathRedirect, Plugin, PluginKind,
    PluginRef, PluginSpec, RateLimitRef, RequestIdStage, RewriteStage, STRUCTURED_LOGGER, SecurityHeaders,
    StageSpec, Template, TemplateError, TemplatePart, TokenPlace, TracingStage, Variable,
};
pub use operator_set::{
    Conflict, EndpointSpec, Holder, NewVersion, OperatorSet, PolicySpec, PoolSpec, Replacement,
};
pub use owner::{Owner, OwnerError};
pub use patch::Patch;
pub use percent::Percent;
pub use policy::{Policy, PolicyRef, PolicySettings};
pub use pool_traffic::{Outliers, PoolTraffic, RequestKey, UpstreamProtocol};
pub use probe::{
    BodyText, HeaderError, HealthCheckError, HttpProbe, Probe, ProbeHeaders, ProbeHost, ProbeMethod,
    ProbePath, StatusRanges,
};
pub use rebase::Contradiction;
pub use resource::{Configured, Delta, Kind, Resource};
pub use route::{
    FieldMatch, FixedResponse, PathMatch, PoolRef, Redirect, Rewrite, Route, RouteAction, RouteMatch,
    RouteSpec, ValueMatch,
};
pub use script::{Script, ScriptSpec};
pub use server_certificate::{Certificate, CertificateSpec};
pub use status::StatusRangeError;
pub use target::{Scheme, Target, TargetError, TargetHost};
pub use tenant_hash::TenantHash;
pub use time::{Tick, Timestamp};
pub use traffic_policy::{Ban, CircuitBreaker, Hedge, HedgeDelay, RateLimit, RateLimitKey, Retries};
pub use traffic_spec::{
    AdaptiveLimit, BrakeMode, Canary, CanaryStep, Cohorts, Mirror, Overload, TrafficSpec,
};
pub use variant::Variant;
pub use version::{ConfigVersion, SetVersion};
pub use webhook::{Webhook, WebhookSecret, WebhookSecretError, WebhookUrl, WebhookUrlError};
