//! Operations on the configuration of operators, and the documentation of each.

use crate::access::{Access, Scope};
use crate::content::{Content, schema_of};
use crate::problem::Kind;
use crate::request::configuration as shape;
use ringway_config::{Described, describe};

use crate::views::{
    AppliedView, CurrentSetsView, CurrentView, DiffView, ExplanationView, HistoryView, ReroutingView,
    RolloutView, ValidationView,
};

/// An operation on the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ConfigOperation {
    Validate,
    Diff,
    Simulate,
    Explain,
    Apply,
    Rollback,
    Reload,
    Current,
    History,
    Version,
    Rollout,
    Promote,
    Abort,
}

/// Documentation: id, summary, fields, responses, own problems.
pub(crate) type ConfigSpec =
    (&'static str, &'static str, Vec<Described>, Vec<(u16, Option<Content>)>, &'static [Kind]);

impl ConfigOperation {
    /// The required access.
    pub(crate) fn access(self) -> Access {
        match self {
            Self::Apply | Self::Rollback | Self::Reload | Self::Promote | Self::Abort => {
                Access::Scoped(Scope::Apply)
            }
            Self::Validate
            | Self::Diff
            | Self::Simulate
            | Self::Explain
            | Self::Current
            | Self::History
            | Self::Version
            | Self::Rollout => Access::Scoped(Scope::Read),
        }
    }

    /// Whether it changes the configuration, or is meant to.
    pub(crate) fn is_change(self) -> bool {
        self.access() == Access::Scoped(Scope::Apply)
    }

    /// Whether its body may be a configuration, also in YAML.
    pub(crate) fn takes_documents(self) -> bool {
        matches!(self, Self::Validate | Self::Diff | Self::Simulate | Self::Explain | Self::Apply)
    }

    /// Whether it takes the version of the owner's configuration in `If-Match`.
    pub(crate) fn takes_version(self) -> bool {
        matches!(self, Self::Apply | Self::Rollback)
    }

    /// The documentation.
    pub(crate) fn spec(self) -> ConfigSpec {
        use Kind::*;
        let json = |content: Content| vec![(200, Some(content))];
        let applied =
            || vec![(200, Some(schema_of::<AppliedView>())), (202, Some(schema_of::<AppliedView>()))];
        match self {
            Self::Validate => (
                "validateConfig",
                "Judge a configuration without applying it: all findings, and its effects. Mistakes in it are findings, with status 200.",
                describe(shape::proposal),
                json(schema_of::<ValidationView>()),
                &[ConfigNotReplaceable, Conflicting],
            ),
            Self::Diff => (
                "diffConfig",
                "Compare a configuration with the present one of its owner, or two versions.",
                describe(shape::diff),
                json(schema_of::<DiffView>()),
                &[ConfigInvalid, ConfigNotReplaceable, UnknownVersion, Conflicting],
            ),
            Self::Simulate => (
                "simulateConfig",
                "Route recent requests by the present configuration and by a proposed one.",
                describe(shape::proposal),
                json(schema_of::<ReroutingView>()),
                &[ConfigInvalid, ConfigNotReplaceable, Conflicting],
            ),
            Self::Explain => (
                "explainRequest",
                "Explain which route a request takes, and why the others do not apply, in the present configuration or a proposed one.",
                describe(shape::explain),
                json(schema_of::<ExplanationView>()),
                &[ConfigInvalid, ConfigNotReplaceable, Conflicting],
            ),
            Self::Apply => (
                "applyConfig",
                "Replace an owner's configuration; answered when all cores serve it, or with 202 while one core tries it first. If-Match has the version that must be the present one.",
                describe(shape::apply),
                applied(),
                &[
                    ConfigInvalid,
                    ConfigClaims,
                    ConfigGovernance,
                    ConfigSize,
                    ConfigNotReplaceable,
                    StaleVersion,
                    PlanOutdated,
                    OnTrial,
                    Storage,
                    ShuttingDown,
                    BadHeader,
                    Conflicting,
                ],
            ),
            Self::Rollback => (
                "rollbackConfig",
                "Apply a kept version of an owner's configuration again, without a trial.",
                describe(shape::rollback),
                applied(),
                &[
                    ConfigClaims,
                    ConfigGovernance,
                    ConfigSize,
                    ConfigNotReplaceable,
                    StaleVersion,
                    UnknownVersion,
                    OnTrial,
                    Storage,
                    ShuttingDown,
                    BadHeader,
                    Conflicting,
                ],
            ),
            Self::Reload => (
                "reloadConfig",
                "Read the configuration file again and apply it.",
                describe(shape::reload),
                applied(),
                &[
                    ConfigInvalid,
                    ConfigClaims,
                    ConfigGovernance,
                    ConfigSize,
                    NoConfigFile,
                    OnTrial,
                    Storage,
                    ShuttingDown,
                    Conflicting,
                ],
            ),
            Self::Current => (
                "currentConfig",
                "Show the present configuration of an owner, or of all owners.",
                describe(shape::maybe_owner),
                json(schema_of::<CurrentSetsView>()),
                &[Conflicting],
            ),
            Self::History => (
                "configHistory",
                "List the kept versions of an owner's configuration, newest first.",
                describe(shape::maybe_owner),
                json(schema_of::<HistoryView>()),
                &[Conflicting],
            ),
            Self::Version => (
                "configVersion",
                "Show a kept version of an owner's configuration.",
                describe(shape::version),
                json(schema_of::<CurrentView>()),
                &[UnknownVersion, Conflicting],
            ),
            Self::Rollout => (
                "showRollout",
                "Show the trial of a change on one core: the present one, or the last.",
                describe(|_| Some(())),
                json(schema_of::<RolloutView>()),
                &[],
            ),
            Self::Promote => (
                "promoteRollout",
                "End the trial of a change: all cores use it.",
                describe(|_| Some(())),
                json(schema_of::<RolloutView>()),
                &[NoTrial],
            ),
            Self::Abort => (
                "abortRollout",
                "End the trial of a change: no core uses it.",
                describe(|_| Some(())),
                json(schema_of::<RolloutView>()),
                &[NoTrial],
            ),
        }
    }

    /// Whether the configuration thread answers it.
    pub(crate) fn is_asked(self) -> bool {
        !matches!(self, Self::Rollout | Self::Promote | Self::Abort)
    }
}
