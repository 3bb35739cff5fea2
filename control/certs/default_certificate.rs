//! State of the default certificate, as the control thread knows it.

use std::cell::{Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use ringway_tls::Facts;

use crate::default_files::DefaultCertificateError;
use crate::report::DefaultState;

/// Handle to the state of the default certificate, if there is one. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct DefaultCertificate(Rc<RefCell<Option<DefaultState>>>);

/// Change that the loader's thread reports.
#[derive(Debug)]
pub(crate) enum DefaultChange {
    /// Another certificate is served.
    Replaced { facts: Arc<Facts>, version: u64 },
    /// The files changed and are invalid; the previous certificate stays.
    Rejected(DefaultCertificateError),
    /// Invalid files were replaced by the ones before.
    Restored,
}

impl DefaultCertificate {
    pub(crate) fn new(state: Option<DefaultState>) -> Self {
        Self(Rc::new(RefCell::new(state)))
    }

    pub(crate) fn state(&self) -> Ref<'_, Option<DefaultState>> {
        self.0.borrow()
    }

    pub(crate) fn facts(&self) -> Option<Arc<Facts>> {
        self.0.borrow().as_ref().map(|default| Arc::clone(&default.facts))
    }

    /// Applies a change.
    pub(crate) fn apply(&self, change: &DefaultChange) {
        let mut state = self.0.borrow_mut();
        match change {
            DefaultChange::Replaced { facts, version } => {
                *state = Some(DefaultState { facts: Arc::clone(facts), version: *version, problem: None });
            }
            DefaultChange::Rejected(error) => {
                if let Some(state) = &mut *state {
                    state.problem = Some(error.to_string());
                }
            }
            DefaultChange::Restored => {
                if let Some(state) = &mut *state {
                    state.problem = None;
                }
            }
        }
    }
}
