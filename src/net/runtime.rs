//! Runtime of the calling thread: io_uring with the best flags that the kernel supports, else epoll.

use crate::core::{self, Core};
use crate::limits::{RING_COMPLETIONS, RING_ENTRIES};
use crate::reaper::Reaper;
use crate::splice::Pipes;
use crate::task::{Tasks, Yielder, catch_panic, spawn};
use monoio::blocking::DefaultThreadPool;
use monoio::time::TimeDriver;
use monoio::{IoUringDriver, LegacyDriver, Runtime, RuntimeBuilder};
use std::cell::Cell;
use std::ffi::CString;
use std::fmt;
use std::io;
use std::panic::resume_unwind;
use std::rc::Rc;
use std::str::FromStr;

/// Choice of the I/O driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriverChoice {
    /// io_uring, else epoll.
    #[default]
    Auto,
    /// io_uring or an error.
    IoUring,
    /// epoll.
    Epoll,
}

/// I/O driver in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// io_uring.
    IoUring {
        /// With SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1): completions are processed when they are
        /// requested, not between any two instructions.
        single_issuer_defer: bool,
    },
    /// epoll.
    Epoll,
}

/// Options of a runtime.
#[derive(Clone, Debug, Default)]
pub struct RuntimeOptions {
    /// Name of the thread, as in `top -H`; cut to 15 bytes.
    pub name: String,
    /// CPU to pin the thread to; see [`cores`].
    pub core: Option<usize>,
    /// Driver.
    pub driver: DriverChoice,
    /// Threads for blocking calls ([`resolve`](crate::resolve()), [`blocking`](crate::blocking())); none on a
    /// data core.
    pub blocking_threads: usize,
}

/// Unknown name of a driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverChoiceError;

/// Runs `main` on a new runtime on the calling thread, until it ends.
///
/// The thread is pinned first, so that the ring's memory is near its core. io_uring is tried with
/// SINGLE_ISSUER and DEFER_TASKRUN, then without; where the kernel is too old or a seccomp profile forbids it
/// (Docker's does), [`DriverChoice::Auto`] uses epoll. A failure to pin is not an error; see [`pinned_core`].
///
/// When `main` ends, all other tasks are dropped where they wait, and every socket is closed before this
/// returns; likewise when `main` panics, and the panic then resumes.
///
/// # Errors
/// When no runtime can be built: io_uring was demanded and is not available, file descriptors or memory are
/// exhausted, or a runtime runs on this thread already.
pub fn run<M, F>(options: RuntimeOptions, main: M) -> io::Result<F::Output>
where
    M: FnOnce(Driver) -> F,
    F: Future,
{
    if core::current().is_ok() {
        return Err(io::Error::other("a runtime runs on this thread already"));
    }
    set_thread_name(&options.name);
    let pinned = options.core.filter(|&id| pin(id));
    match build(&options)? {
        Built::Uring(mut runtime, driver) => runtime.block_on(drive(&options, pinned, driver, main)),
        Built::Epoll(mut runtime) => runtime.block_on(drive(&options, pinned, Driver::Epoll, main)),
    }
}

/// Returns the CPUs that this process may use, as numbers for [`RuntimeOptions::core`]. Never empty.
pub fn cores() -> Vec<usize> {
    let cores: Vec<_> =
        core_affinity::get_core_ids().unwrap_or_default().into_iter().map(|core| core.id).collect();
    if cores.is_empty() { vec![0] } else { cores }
}

/// Returns the CPU that this thread's runtime is pinned to.
pub fn pinned_core() -> Option<usize> {
    core::current().ok().and_then(|core| core.pinned)
}

/// Pins the thread; returns whether that succeeded.
fn pin(id: usize) -> bool {
    // Above that number the crate panics: no CPU set can hold it.
    id < libc::CPU_SETSIZE as usize && core_affinity::set_for_current(core_affinity::CoreId { id })
}

enum Built {
    Uring(Runtime<TimeDriver<IoUringDriver>>, Driver),
    Epoll(Runtime<TimeDriver<LegacyDriver>>),
}

fn build(options: &RuntimeOptions) -> io::Result<Built> {
    if options.driver != DriverChoice::Epoll {
        match build_uring(options) {
            Ok(built) => return Ok(built),
            Err(error) if options.driver == DriverChoice::IoUring => return Err(error),
            Err(_) => {}
        }
    }
    let mut builder = RuntimeBuilder::<LegacyDriver>::new().with_entries(RING_ENTRIES);
    if options.blocking_threads > 0 {
        builder = builder.attach_thread_pool(Box::new(DefaultThreadPool::new(options.blocking_threads)));
    }
    Ok(Built::Epoll(builder.enable_timer().build()?))
}

fn build_uring(options: &RuntimeOptions) -> io::Result<Built> {
    // Also checks the operations that the runtime uses: a kernel may have rings without them.
    if !monoio::utils::detect_uring() {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "io_uring is missing, too old, or forbidden"));
    }
    let with_flags = |single_issuer_defer: bool| {
        let mut ring = io_uring::IoUring::builder();
        if single_issuer_defer {
            ring.setup_single_issuer().setup_defer_taskrun().setup_cqsize(RING_COMPLETIONS);
        }
        let mut builder =
            RuntimeBuilder::<IoUringDriver>::new().with_entries(RING_ENTRIES).uring_builder(ring);
        if options.blocking_threads > 0 {
            builder = builder.attach_thread_pool(Box::new(DefaultThreadPool::new(options.blocking_threads)));
        }
        let runtime = builder.enable_timer().build()?;
        Ok(Built::Uring(runtime, Driver::IoUring { single_issuer_defer }))
    };
    with_flags(true).or_else(|_: io::Error| with_flags(false))
}

async fn drive<M, F>(
    options: &RuntimeOptions,
    pinned: Option<usize>,
    driver: Driver,
    main: M,
) -> io::Result<F::Output>
where
    M: FnOnce(Driver) -> F,
    F: Future,
{
    let core = Rc::new(Core {
        driver,
        pinned,
        has_blocking_threads: options.blocking_threads > 0,
        reaper: Reaper::new(),
        tasks: Tasks::default(),
        pipes: Pipes::default(),
        yielder: Yielder::new()?,
        resolutions: Cell::new(0),
        blocking_calls: Cell::new(0),
    });
    let _installed = core::install(Rc::clone(&core));
    let reaping = Rc::clone(&core);
    spawn(async move { reaping.reaper.run().await }, |_| {});
    if driver == Driver::Epoll {
        let yielding = Rc::clone(&core);
        spawn(async move { yielding.yielder.run_rounds().await }, |_| {});
    }
    let output = catch_panic(async { main(driver).await }).await;
    core.tasks.stop().await;
    if driver != Driver::Epoll {
        // Cancellations and closes are now in the queue: the first turn submits them, the second closes
        // sockets that the first has released. After it the kernel holds no buffer of this process.
        core.yielder.through_ring().await;
        core.yielder.through_ring().await;
    }
    output.map_or_else(|payload| resume_unwind(payload), Ok)
}

fn set_thread_name(name: &str) {
    let Ok(name) = CString::new(name) else { return };
    if !name.is_empty() {
        // SAFETY: PR_SET_NAME reads a terminated string, which lives until the call returns; the kernel
        // truncates it.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
}

impl FromStr for DriverChoice {
    type Err = DriverChoiceError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "auto" => Ok(Self::Auto),
            "io_uring" | "io-uring" | "iouring" | "uring" => Ok(Self::IoUring),
            "epoll" => Ok(Self::Epoll),
            _ => Err(DriverChoiceError),
        }
    }
}

impl fmt::Display for DriverChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::IoUring => "io_uring",
            Self::Epoll => "epoll",
        })
    }
}

impl Driver {
    /// Label in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::IoUring { single_issuer_defer: true } => "io_uring+defer_taskrun",
            Self::IoUring { single_issuer_defer: false } => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for DriverChoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a driver is one of auto, io_uring, epoll")
    }
}

impl std::error::Error for DriverChoiceError {}
