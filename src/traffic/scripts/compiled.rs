//! Scripts of a snapshot, compiled.

use std::collections::BTreeSet;
use std::sync::Arc;

use ringway_model::{HostPattern, ScriptSpec};
use ringway_script::{Bundle, BundleSource, CompileError, SourceFile, SourceKind};

use super::{ScriptBreaker, ScriptFinding, ScriptState};

/// Scripts of a snapshot: those of the operator.
pub struct Scripts {
    /// The compiled scripts.
    pub bundle: Arc<Bundle>,
    /// State that outlives them.
    pub state: Arc<ScriptState>,
    /// Circuit breakers, in the order of the bundle's scripts.
    pub breakers: Box<[Arc<ScriptBreaker>]>,
}

impl Scripts {
    pub(crate) fn new(bundle: Bundle, state: &Arc<ScriptState>) -> Self {
        let scripts = bundle.declarations().scripts.iter();
        let breakers = scripts.map(|script| state.breaker(&script.id)).collect();
        Self { bundle: Arc::new(bundle), state: state.clone(), breakers }
    }
}

impl PartialEq for Scripts {
    fn eq(&self, other: &Self) -> bool {
        self.bundle == other.bundle
    }
}

impl Eq for Scripts {}

impl std::fmt::Debug for Scripts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripts").field("bundle", &self.bundle).finish_non_exhaustive()
    }
}

/// Compiles scripts, in the order of their ids: 0.1 to 0.3 ms each.
///
/// # Errors
/// Their mistakes.
pub fn check<'s>(scripts: impl IntoIterator<Item = &'s ScriptSpec>) -> Result<Bundle, Vec<ScriptFinding>> {
    let mut scripts: Vec<&ScriptSpec> = scripts.into_iter().collect();
    scripts.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    let file = |script: &ScriptSpec| SourceFile {
        path: script.file.as_ref().into(),
        text: script.source.as_ref().into(),
        kind: match script.is_module {
            true => SourceKind::Module,
            false => SourceKind::Script(script.id.as_ref().into()),
        },
    };
    let source = BundleSource { files: scripts.into_iter().map(file).collect(), ..BundleSource::default() };
    Bundle::compile(&source).map_err(|errors| errors.into_iter().map(finding).collect())
}

fn finding(error: CompileError) -> ScriptFinding {
    ScriptFinding { place: error.place.map(|place| (place.file, place.line)), message: error.message }
}

/// Hosts that a bundle has routes for; all that have no other owner where its routes name none.
pub fn hosts(bundle: &Bundle) -> BTreeSet<HostPattern> {
    bundle.tables().keys().map(|host| host.clone().unwrap_or(HostPattern::Any)).collect()
}
