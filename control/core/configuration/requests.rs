//! Requests to the configuration thread and their replies: plain values, as the API and the command line
//! show them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ringway_config::{Finding, Place, Source};
use ringway_model::{Owner, RouteId, Timestamp, Variant};

use super::auth_changes::AuthChange;
use super::explained_cache::ExplainedCache;
use super::explained_stages::ExplainedStages;
use super::judge;
use crate::submission::Receipt;

/// Documents that replace an owner's set, or would.
#[derive(Clone, Debug)]
pub struct Proposal {
    /// Owner of the set: `admin`, or `file` for a question about a save. Its set comes from its files, so it
    /// cannot be applied.
    pub owner: Owner,
    /// Documents, read together as one.
    pub sources: Vec<Source>,
    /// Treatment of the sections that the documents leave out.
    pub mode: Mode,
}

/// Treatment of the sections (`routes`, `pools`, `policies`) that a proposal leaves out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// They stay as they are; an empty section (`pools: []`) empties it.
    #[default]
    Merge,
    /// They are emptied: the documents are the owner's whole set.
    Replace,
}

impl Mode {
    /// Parses the name in the API.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "merge" => Some(Self::Merge),
            "replace" => Some(Self::Replace),
            _ => None,
        }
    }
}

/// Result of a validation: nothing is changed.
#[derive(Clone, Debug)]
pub struct Validation {
    /// Version that the owner's set would have; `None` when the documents have a mistake.
    pub version: Option<Arc<str>>,
    /// Errors and warnings of reading, claims, governance and size.
    pub findings: Vec<Finding>,
    /// Effects; `None` when the documents have a mistake.
    pub effects: Option<Effects>,
}

impl Validation {
    /// Whether the proposal would be accepted.
    pub fn is_valid(&self) -> bool {
        !self.findings.iter().any(Finding::is_error)
    }
}

/// Two configurations to compare.
#[derive(Clone, Debug)]
pub enum DiffRequest {
    /// An owner's present set, and a proposal.
    Proposal(Proposal),
    /// Two kept versions of an owner.
    Versions {
        /// The owner.
        owner: Owner,
        /// Version before.
        from: Arc<str>,
        /// Version after.
        to: Arc<str>,
    },
}

/// Differences between two sets of one owner.
#[derive(Clone, Debug)]
pub struct Diff {
    /// Id of the plan, which [`ApplyRequest`] accepts as long as no owner's set has changed; `None` for a
    /// comparison of versions, and for the files.
    pub plan: Option<Arc<str>>,
    /// Owner of the sets.
    pub owner: Owner,
    /// Version before; `None` for an owner without a set.
    pub from: Option<Arc<str>>,
    /// Version after.
    pub to: Arc<str>,
    /// Differences, ordered by kind and id.
    pub changes: Vec<FieldChange>,
    /// Their effects.
    pub effects: Effects,
    /// Errors and warnings that an application would have.
    pub findings: Vec<Finding>,
}

/// One difference: a resource that is added or removed, or a field that is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// Kind of difference.
    pub op: ChangeOp,
    /// Kind of the resource: `route`, `pool`, `endpoint` or `policy`.
    pub kind: &'static str,
    /// Id of the resource.
    pub id: Arc<str>,
    /// Path of the field in the resource, as `/match/path`; empty for the resource itself.
    pub path: Arc<str>,
    /// Value before; `None` for what is added.
    pub from: Option<Arc<str>>,
    /// Value after; `None` for what is removed.
    pub to: Option<Arc<str>>,
    /// Owner of the resource.
    pub owner: Owner,
}

/// Kind of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChangeOp {
    /// The resource is new.
    Add,
    /// The resource is gone.
    Remove,
    /// A field has another value.
    Change,
}

impl ChangeOp {
    /// Name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Change => "change",
        }
    }
}

/// Effects of a change on traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Host patterns that are served afterwards and were not before.
    pub hosts_added: Vec<Arc<str>>,
    /// Host patterns that are served no longer.
    pub hosts_removed: Vec<Arc<str>>,
    /// Host patterns whose routes, pools or policies change.
    pub hosts_changed: Vec<Arc<str>>,
    /// Endpoints that are added.
    pub endpoints_added: usize,
    /// Endpoints that are removed.
    pub endpoints_removed: usize,
    /// The last requests, routed by both configurations; `None` where that was not tried.
    pub sampled: Option<Sampled>,
}

/// Sampled requests, one in 16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sampled {
    /// Number of requests.
    pub requests: usize,
    /// Requests that meet another route or pool.
    pub rerouted: usize,
}

/// A change to apply.
#[derive(Clone, Debug)]
pub struct ApplyRequest {
    /// Documents, or a plan.
    pub content: ApplyContent,
    /// Required version of the owner's set (`If-Match`).
    pub expect: Option<Arc<str>>,
    /// Reason, for the history; at most `REASON_BYTES_MAX` bytes.
    pub reason: Arc<str>,
    /// Author: name of the token, subject of the client certificate, or user id.
    pub by: Arc<str>,
    /// Whether the size guard is skipped.
    pub force_size: bool,
    /// Time for which the change is tried on one core first; `None` for that of the settings.
    pub bake: Option<Duration>,
}

/// Content of a change.
#[derive(Clone, Debug)]
pub enum ApplyContent {
    /// Documents.
    Proposal(Proposal),
    /// Plan of an earlier [`Diff`].
    Plan(Arc<str>),
}

/// Return to a kept version.
#[derive(Clone, Debug)]
pub struct RollbackRequest {
    /// Owner of the version.
    pub owner: Owner,
    /// Version; `None` for the one before the present one.
    pub version: Option<Arc<str>>,
    /// Required version of the owner's set (`If-Match`).
    pub expect: Option<Arc<str>>,
    /// Reason, for the history.
    pub reason: Arc<str>,
    /// Author.
    pub by: Arc<str>,
}

/// Another reading of the files.
#[derive(Clone, Debug)]
pub struct ReloadRequest {
    /// Author.
    pub by: Arc<str>,
    /// Reason, for the history.
    pub reason: Arc<str>,
    /// Whether the size guard is skipped.
    pub force_size: bool,
}

/// Confirmation of a change: it is stored and on every core that the receipt does not name as pending.
#[derive(Clone, Debug)]
pub struct Applied {
    /// Owner of the set.
    pub owner: Owner,
    /// Version in force.
    pub version: Arc<str>,
    /// Version before; `None` for an owner without a set.
    pub previous: Option<Arc<str>>,
    /// Differences between the two: the number, and the first `CHANGES_REPORTED_MAX`.
    pub changes: (usize, Vec<FieldChange>),
    /// Routes whose authentication is another one, with those that have lost it first.
    pub auth_changes: Vec<(AuthChange, RouteId)>,
    /// Effects.
    pub effects: Effects,
    /// Warnings.
    pub findings: Vec<Finding>,
    /// Static settings that differ from those in force, as `/server/timeouts/idle`: they need a restart.
    pub restart_needed: Vec<Arc<str>>,
    /// Confirmation by the cores; `None` when the set was in force already. With a trial the change is on one
    /// core, and not stored yet.
    pub receipt: Option<Receipt>,
}

/// Present set of an owner.
#[derive(Clone, Debug)]
pub struct Current {
    /// The owner.
    pub owner: Owner,
    /// Its version.
    pub version: Version,
    /// Canonical document as JSON.
    pub document: Arc<str>,
}

/// Kept version of an owner's set, without its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The owner.
    pub owner: Owner,
    /// First 12 hexadecimal digits of the hash of the document.
    pub version: Arc<str>,
    /// Number of the revision of this owner's set, from 1.
    pub sequence: u64,
    /// Time.
    pub at: Timestamp,
    /// Author.
    pub by: Arc<str>,
    /// Reason.
    pub reason: Arc<str>,
    /// Whether it has served long enough to be trusted at a start.
    pub is_proven: bool,
    /// Whether it is the present one.
    pub is_current: bool,
}

/// A request whose route is asked for.
#[derive(Clone, Debug)]
pub struct ExplainRequest {
    /// URL. The scheme may be left out; with `http://` the request is one without TLS.
    pub url: Arc<str>,
    /// Method.
    pub method: Arc<str>,
    /// Header fields.
    pub headers: Vec<(Arc<str>, Arc<str>)>,
    /// Address of the client; stages that judge it are undecided without one.
    pub client: Option<IpAddr>,
    /// Configuration to route by, if it is not the present one.
    pub proposal: Option<Proposal>,
}

/// Route of a request, and why the others do not apply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// Host of the request, normalised.
    pub host: Arc<str>,
    /// Host pattern that decides; `None` for an unknown host.
    pub pattern: Option<Arc<str>>,
    /// Kind of the pattern: `exact`, `one_label`, `suffix`, `regex` or `default`.
    pub tier: Option<&'static str>,
    /// Owner of the host.
    pub owner: Option<Owner>,
    /// Path that is compared, normalised for hosts with several routes.
    pub path: Arc<str>,
    /// The route; `None` when none applies.
    pub route: Option<ExplainedRoute>,
    /// Status of a response without an endpoint.
    pub status: Option<u16>,
    /// Reason of that response, where it is not the action of a route.
    pub reason: Arc<str>,
    /// Routes of the host in the order in which they are tried, the first `CANDIDATES_MAX`.
    pub candidates: Vec<Candidate>,
    /// Number of routes of the host.
    pub candidates_total: usize,
    /// Stages of the route, and what they do to the request.
    pub stages: ExplainedStages,
    /// Path and query that the endpoint gets, where they are others.
    pub rewritten: Option<Arc<str>>,
    /// Part of the cache, where the route has one.
    pub cache: Option<ExplainedCache>,
}

/// Route of an [`Explanation`].
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedRoute {
    /// Id of the route, or the registered domain.
    pub id: Arc<str>,
    /// Owner of the route.
    pub owner: Owner,
    /// Pool or app that serves the request.
    pub pool: Option<Arc<str>>,
    /// Variant by which the pool was chosen, where the route has a canary or cohorts; `None` also where
    /// chance, or the client's address, decides.
    pub variant: Option<Variant>,
    /// Reason for the variant.
    pub variant_reason: Option<Arc<str>>,
    /// Action: `proxy`, `redirect` or `respond`.
    pub action: &'static str,
    /// Tenant of the request.
    pub tenant: Option<Arc<str>>,
    /// Timeout to the response head of a backend; `None` for a redirect or a fixed response.
    pub timeout: Option<Duration>,
    /// Whether TLS is required.
    pub requires_tls: bool,
    /// Maximum bytes of a request body.
    pub body_bytes_max: Option<u64>,
    /// Whether the access log gets a line.
    pub is_logged: bool,
    /// Place of the route, where its documents have one.
    pub place: Option<Place>,
}

/// A route of the request's host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Id of the route.
    pub id: Arc<str>,
    /// Owner of the route.
    pub owner: Owner,
    /// The first condition that the request does not meet; `None` when it meets all.
    pub mismatch: Option<Arc<str>>,
}

/// State of the configuration, for status, metrics and readiness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigurationStatus {
    /// The file or folder; `None` without one.
    pub path: Option<Arc<str>>,
    /// Present version of each owner with a set.
    pub versions: Vec<(Owner, Arc<str>)>,
    /// Time of the last successful reading or application.
    pub last_success: Option<Timestamp>,
    /// Changes refused since the start.
    pub refused: u64,
    /// Reason of the refusal of the files' present content; empty while it is in force.
    pub refusal: Vec<Finding>,
    /// Whether the files' content is not the set in force.
    pub has_drifted: bool,
    /// Routes of the files that are left out, because their hosts belong to another owner.
    pub quarantined: Vec<Finding>,
    /// Static settings that need a restart.
    pub restart_needed: Vec<Arc<str>>,
    /// One sentence for each further problem.
    pub warnings: Vec<String>,
}

impl ConfigurationStatus {
    /// One sentence for each problem that needs attention.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(first) = judge::first_error(&self.refusal) {
            problems.push(format!("the configuration files are not in force: {first}"));
        } else if self.has_drifted {
            problems
                .push("the configuration files are not in force: an earlier version was put back".to_owned());
        }
        if let Some(first) = self.quarantined.first() {
            let count = self.quarantined.len();
            problems.push(format!(
                "{count} parts of the configuration files were left out at the start: {first}"
            ));
        }
        problems.extend(self.warnings.iter().cloned());
        problems
    }
}
