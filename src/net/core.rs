//! State of the runtime of one thread: the reaper, the running tasks, the free splice pipes.

use crate::reaper::Reaper;
use crate::runtime::Driver;
use crate::splice::Pipes;
use crate::task::{Tasks, Yielder};
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;

pub(crate) struct Core {
    pub(crate) driver: Driver,
    pub(crate) pinned: Option<usize>,
    /// Whether there are threads for blocking calls.
    pub(crate) has_blocking_threads: bool,
    pub(crate) reaper: Reaper,
    pub(crate) tasks: Tasks,
    pub(crate) pipes: Pipes,
    pub(crate) yielder: Yielder,
    /// Resolutions in progress, also those past their deadline.
    pub(crate) resolutions: Cell<usize>,
    /// Calls of [`blocking`](crate::blocking()) in progress.
    pub(crate) blocking_calls: Cell<usize>,
}

/// Guard that removes the core from its thread when `run` ends.
pub(crate) struct Installed;

/// Returns the core of this thread.
///
/// # Errors
/// When no runtime runs on this thread.
pub(crate) fn current() -> io::Result<Rc<Core>> {
    CURRENT
        .with_borrow(Clone::clone)
        .ok_or_else(|| io::Error::other("no runtime on this thread: call this inside of ringway_net::run"))
}

pub(crate) fn install(core: Rc<Core>) -> Installed {
    CURRENT.set(Some(core));
    Installed
}

impl Drop for Installed {
    fn drop(&mut self) {
        // Taken out first: drops within the core may access the current core.
        let core = CURRENT.take();
        drop(core);
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}
