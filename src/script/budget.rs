//! Budget of a call: steps, CPU time, memory. The interrupt of the VM charges it and stops the script.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlua::{Lua, VmState};

use crate::failure::FailureKind;
use crate::host::Host;
use crate::request::ScriptRequest;
use crate::settings::Limits;

/// State of one call.
pub(crate) struct CallState {
    pub(crate) request: Option<ScriptRequest>,
    pub(crate) phase: Phase,
    steps: Cell<u32>,
    steps_max: u32,
    cpu: CpuTime,
    killed: Cell<Option<FailureKind>>,
    pub(crate) fetches: Cell<u32>,
    pub(crate) log_lines: Cell<u32>,
}

/// Phase of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A bundle is loaded: its scripts declare routes, and nothing else.
    Load,
    /// A hook for requests, or a handler.
    Request,
    /// A hook for responses.
    Response,
    /// A hook for finished requests.
    Log,
}

impl CallState {
    pub(crate) fn new(phase: Phase, request: Option<ScriptRequest>, steps_max: u32) -> Self {
        Self {
            request,
            phase,
            steps: Cell::new(0),
            steps_max,
            cpu: CpuTime::default(),
            killed: Cell::new(None),
            fetches: Cell::new(0),
            log_lines: Cell::new(0),
        }
    }

    /// Kind of the limit that stopped the call.
    pub(crate) fn killed(&self) -> Option<FailureKind> {
        self.killed.get()
    }

    pub(crate) fn steps(&self) -> u32 {
        self.steps.get()
    }

    fn kill(&self, kind: FailureKind) {
        if self.killed.get().is_none() {
            self.killed.set(Some(kind));
        }
    }
}

/// State of a VM that its functions share. It has no reference to the VM itself.
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    /// None while declarations are collected: no clock, no random numbers, no I/O.
    pub(crate) host: Option<Rc<dyn Host>>,
    current: RefCell<Option<Rc<CallState>>>,
    /// Memory use at which garbage is collected.
    collect_at: Cell<usize>,
    /// A function was charged since the last step: it may have left much garbage.
    charged: Cell<bool>,
    dropped_steps: Cell<u32>,
    pub(crate) waiting: Cell<u32>,
}

impl Shared {
    pub(crate) fn new(limits: Limits, host: Option<Rc<dyn Host>>) -> Self {
        Self {
            limits,
            host,
            current: RefCell::new(None),
            collect_at: Cell::new(limits.memory_bytes / 2),
            charged: Cell::new(false),
            dropped_steps: Cell::new(0),
            waiting: Cell::new(0),
        }
    }

    /// The call whose code runs.
    pub(crate) fn current(&self) -> Option<Rc<CallState>> {
        self.current.borrow().clone()
    }

    /// Runs code of a call: from here on it is charged.
    pub(crate) fn run<T>(&self, call: &Rc<CallState>, code: impl FnOnce() -> T) -> T {
        let _entered = Entered { shared: self, outer: self.current.replace(Some(call.clone())) };
        code()
    }

    /// Interrupt of the VM: one step.
    pub(crate) fn step(&self, lua: &Lua) -> mlua::Result<VmState> {
        let current = self.current.borrow();
        let Some(call) = current.as_ref() else { return self.step_of_dropped() };
        let steps = call.steps.get().saturating_add(1);
        call.steps.set(steps);
        if call.killed.get().is_some() {
            return stop(steps);
        }
        if steps > call.steps_max {
            call.kill(FailureKind::Steps);
            return stop(steps);
        }
        if let Some(host) = &self.host
            && call.cpu.is_used_up(steps, self.limits.cpu.as_micros() as u64, &**host)
        {
            call.kill(FailureKind::Cpu);
            return stop(steps);
        }
        if self.charged.take() || steps.is_multiple_of(STEPS_BETWEEN_MEMORY_CHECKS) {
            let used = lua.used_memory();
            if used > LARGE_BYTES {
                call.cpu.look_soon();
            }
            if used > self.collect_at.get() {
                // Luau collects by allocation alone: garbage of large strings reaches the limit before.
                lua.gc_collect()?;
                let (live, limit) = (lua.used_memory(), self.limits.memory_bytes);
                self.collect_at.set((limit / 2).max(live + limit.saturating_sub(live) / 2));
            }
        }
        Ok(VmState::Continue)
    }

    /// A step without a call: mlua resumes the coroutine of a dropped call, for its own code to drop a future
    /// there. That takes a few steps; the script must not go on in them.
    fn step_of_dropped(&self) -> mlua::Result<VmState> {
        let steps = self.dropped_steps.get().saturating_add(1);
        self.dropped_steps.set(steps);
        if steps > DROPPED_STEPS_MAX { stop(steps) } else { Ok(VmState::Continue) }
    }

    /// Drops what a call has been.
    pub(crate) fn drop_call<T>(&self, ended: T) {
        self.dropped_steps.set(0);
        drop(ended);
    }

    /// Charges a function that is not Lua for the bytes that it goes through.
    ///
    /// # Errors
    /// The steps of the call are used up.
    pub(crate) fn charge(&self, bytes: usize) -> mlua::Result<()> {
        let current = self.current.borrow();
        let Some(call) = current.as_ref() else { return Err(stopped()) };
        let steps = u32::try_from(bytes / BYTES_PER_STEP).unwrap_or(u32::MAX);
        call.steps.set(call.steps.get().saturating_add(steps));
        call.cpu.look_soon();
        self.charged.set(true);
        if call.killed.get().is_some() || call.steps.get() > call.steps_max {
            call.kill(FailureKind::Steps);
            return Err(stopped());
        }
        Ok(())
    }
}

/// A call whose code runs.
struct Entered<'s> {
    shared: &'s Shared,
    outer: Option<Rc<CallState>>,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        let ended = self.shared.current.replace(self.outer.take());
        if let (Some(call), Some(host)) = (ended, &self.shared.host) {
            call.cpu.pause(&**host);
        }
    }
}

/// Stops a script. A yield ends it for good, as nothing resumes it; where the VM cannot yield (a metamethod,
/// the callback of a sort), the yield is ignored, and the error of the next step gets the script out.
fn stop(steps: u32) -> mlua::Result<VmState> {
    if steps.is_multiple_of(2) { Ok(VmState::Yield) } else { Err(stopped()) }
}

fn stopped() -> mlua::Error {
    mlua::Error::runtime("a limit stopped the script")
}

/// CPU time of a call, over the times that it runs. Short calls read no clock.
struct CpuTime {
    used_us: Cell<u64>,
    /// First look at the clock since the call was resumed.
    began_us: Cell<Option<u64>>,
    looked_us: Cell<u64>,
    look_at: Cell<u32>,
}

impl Default for CpuTime {
    fn default() -> Self {
        Self {
            used_us: Cell::new(0),
            began_us: Cell::new(None),
            looked_us: Cell::new(0),
            look_at: Cell::new(STEPS_BETWEEN_LOOKS),
        }
    }
}

impl CpuTime {
    fn is_used_up(&self, steps: u32, max_us: u64, host: &dyn Host) -> bool {
        if steps < self.look_at.get() {
            return false;
        }
        let now_us = host.cpu_micros();
        let Some(began_us) = self.began_us.get() else {
            self.began_us.set(Some(now_us));
            self.looked_us.set(now_us);
            self.look_at.set(steps.saturating_add(STEPS_BETWEEN_LOOKS));
            return false;
        };
        // Steps that are slow are watched one by one.
        let is_slow = now_us.saturating_sub(self.looked_us.replace(now_us)) > SLOW_US;
        self.look_at.set(steps.saturating_add(if is_slow { 1 } else { STEPS_BETWEEN_LOOKS }));
        self.used_us.get() + now_us.saturating_sub(began_us) > max_us
    }

    fn look_soon(&self) {
        self.look_at.set(0);
    }

    fn pause(&self, host: &dyn Host) {
        if let Some(began_us) = self.began_us.take() {
            self.used_us.set(self.used_us.get() + host.cpu_micros().saturating_sub(began_us));
        }
    }
}

/// Steps between two looks at the clock: a look costs 0.3 us, as much as ten steps.
const STEPS_BETWEEN_LOOKS: u32 = 64;
/// 1 ms for the steps between two looks: they are slow.
const SLOW_US: u64 = 1_000;
/// Steps between two looks at the memory.
const STEPS_BETWEEN_MEMORY_CHECKS: u32 = 16;
/// 64: steps of the code that drops a future; it takes four, and a call may have several futures.
const DROPPED_STEPS_MAX: u32 = 64;
/// 2 MiB: memory of a VM in which single steps may be slow, since they go through large values.
const LARGE_BYTES: usize = 2 * 1024 * 1024;
/// Bytes that a function goes through in the time of a few steps.
const BYTES_PER_STEP: usize = 128;
