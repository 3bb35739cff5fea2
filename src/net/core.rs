//! What one thread keeps while its runtime runs: the reaper, the running tasks, the free splice pipes.

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
    /// Whether blocking calls have threads of their own to run on.
    pub(crate) has_blocking_threads: bool,
    pub(crate) reaper: Reaper,
    pub(crate) tasks: Tasks,
    pub(crate) pipes: Pipes,
    pub(crate) yielder: Yielder,
    /// Resolutions that have not ended, those past their deadline included.
    pub(crate) resolutions: Cell<usize>,
    /// Calls of [`blocking`](crate::blocking()) that have not ended.
    pub(crate) blocking_calls: Cell<usize>,
}

/// Takes the core off its thread again, however `run` ends.
pub(crate) struct Installed;

/// The core of this thread.
///
/// # Errors
/// When no runtime of ours runs on this thread.
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
        // Taken out first: what the core drops may ask for the current core.
        let core = CURRENT.take();
        drop(core);
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Core>>> = const { RefCell::new(None) };
}
