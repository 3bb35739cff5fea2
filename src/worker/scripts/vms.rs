//! VMs of a core.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use ringway_script::{Bundle, Failure, Vm};
use ringway_traffic::scripts::Scripts;

use super::host::CoreHost;
use crate::core::Core;
use crate::runtime::Runtime;

/// VMs of a core: one for each bundle in use. The newest comes first; a VM that is gone from here lives as
/// long as its calls.
#[derive(Default)]
pub(crate) struct Vms {
    loaded: RefCell<Vec<Loaded>>,
    /// Time of the last line about a failure, and failures since then.
    logged_us: Cell<Option<u64>>,
    unlogged: Cell<u64>,
}

struct Loaded {
    bundle: Arc<Bundle>,
    /// `None` where the bundle cannot be loaded here.
    vm: Option<Vm>,
}

impl Vms {
    /// The VM of a bundle, loaded if it is missing, which takes a millisecond; `None` where that fails.
    pub(crate) fn get<R: Runtime>(&self, core: &Core<R>, scripts: &Scripts) -> Option<Vm> {
        let known = self
            .loaded
            .borrow()
            .iter()
            .find(|of| Arc::ptr_eq(&of.bundle, &scripts.bundle))
            .map(|loaded| loaded.vm.clone());
        known.unwrap_or_else(|| self.load(core, scripts))
    }

    #[cold]
    fn load<R: Runtime>(&self, core: &Core<R>, scripts: &Scripts) -> Option<Vm> {
        let host = Rc::new(CoreHost { core: Rc::downgrade(&core.handle()), state: scripts.state.clone() });
        let vm = match Vm::load(&scripts.bundle, host) {
            Ok(vm) => Some(vm),
            Err(failure) => {
                let Failure { kind, place, message } = failure;
                let (file, line) = place.as_ref().map_or(("", 0), |place| (&*place.file, place.line));
                let kind = kind.as_str();
                tracing::error!(core = core.id.0, file, line, kind, error = %message, "scripts cannot be loaded");
                None
            }
        };
        let mut loaded = self.loaded.borrow_mut();
        loaded.insert(0, Loaded { bundle: scripts.bundle.clone(), vm: vm.clone() });
        loaded.truncate(VMS_MAX);
        vm
    }

    /// Loads the bundle of a snapshot before a request needs it, and drops those that no snapshot has.
    pub(crate) fn handle_snapshot<R: Runtime>(&self, core: &Core<R>, scripts: Option<&Scripts>) {
        match scripts {
            Some(scripts) => _ = self.get(core, scripts),
            None => self.loaded.borrow_mut().clear(),
        }
    }

    /// Logs a failed call, once a second at most.
    #[cold]
    pub(crate) fn log_failure(&self, now_us: u64, script: &str, request_id: &str, failure: &Failure) {
        if self.logged_us.get().is_some_and(|logged_us| now_us.saturating_sub(logged_us) < LOG_INTERVAL_US) {
            self.unlogged.update(|count| count + 1);
            return;
        }
        self.logged_us.set(Some(now_us));
        let others = self.unlogged.take();
        let Failure { kind, place, message } = failure;
        let (file, line) = place.as_ref().map_or(("", 0), |place| (&*place.file, place.line));
        let kind = kind.as_str();
        tracing::error!(script, file, line, kind, request_id, others, error = %message, "script failed");
    }
}

/// Bundles whose VMs a core keeps: the present one, the one before it for requests under way, and one on
/// trial.
const VMS_MAX: usize = 3;
/// A second.
const LOG_INTERVAL_US: u64 = 1_000_000;
