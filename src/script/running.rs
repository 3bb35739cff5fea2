//! A call that runs: resumes its script until it ends, waits for something or is stopped.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use mlua::MultiValue;
use ringway_middleware::Waiting;

use crate::budget::{CallState, Phase};
use crate::failure::{Failure, FailureKind, Place};
use crate::limits;
use crate::outcome::Outcome;
use crate::reply;
use crate::request::Saved;
use crate::vm::{Call, Vm};

/// Call that runs. Dropped, it ends the script and everything that it waits for.
#[must_use = "a call runs while it is polled"]
pub struct Running {
    vm: Vm,
    call: Call,
    state: Rc<CallState>,
    script: Option<Script>,
    /// State of the request before the call.
    saved: Option<Saved>,
    deadline: Option<Waiting<'static, ()>>,
}

pub(crate) type Script = Pin<Box<dyn Future<Output = mlua::Result<MultiValue>>>>;

/// Progress of a call.
#[derive(Debug)]
pub enum Progress {
    /// The script waits for the content of the request, of this many bytes at most: to be given by
    /// [`ScriptRequest::set_body`](crate::ScriptRequest::set_body), before [`Running::next`] is called again.
    Body(usize),
    /// The call has ended.
    Done(Outcome),
}

impl Running {
    pub(crate) fn new(vm: Vm, call: Call, state: Rc<CallState>, script: Script) -> Self {
        let saved = state.request.as_ref().map(|request| request.0.save());
        Self { vm, call, state, script: Some(script), saved, deadline: None }
    }

    /// Runs the script until it ends or asks for the content of the request. After [`Progress::Done`] it
    /// fails at once.
    pub async fn next(&mut self) -> Progress {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Steps that the call has taken.
    pub fn steps(&self) -> u32 {
        self.state.steps()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        let Some(script) = self.script.as_mut() else {
            return self.fail(FailureKind::Error, "the call has ended already");
        };
        let polled = self.vm.shared().run(&self.state, || script.as_mut().poll(cx));
        if let Some(kind) = self.state.killed() {
            return self.fail(kind, "");
        }
        match polled {
            Poll::Ready(Ok(values)) => self.end(&values),
            Poll::Ready(Err(error)) => {
                let failure = failure_of(&error);
                self.done(Outcome::Failed(failure))
            }
            Poll::Pending => self.wait(cx),
        }
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Progress> {
        let shared = self.vm.shared();
        if self.deadline.is_none() {
            if shared.waiting.get() >= shared.limits.waiting {
                return self.fail(FailureKind::Busy, "too many calls wait");
            }
            let Some(host) = &shared.host else {
                return self.fail(FailureKind::Error, "there is nothing to wait for");
            };
            shared.waiting.set(shared.waiting.get() + 1);
            self.deadline = Some(host.sleep(shared.limits.deadline));
        }
        if self.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
            return self.fail(FailureKind::Deadline, "");
        }
        match self.state.request.as_ref().and_then(|request| request.0.take_wanted_body()) {
            Some(bytes_max) => Poll::Ready(Progress::Body(bytes_max)),
            None => Poll::Pending,
        }
    }

    fn end(&mut self, values: &MultiValue) -> Poll<Progress> {
        let outcome = match (&self.state.request, self.state.phase) {
            (None, _) | (_, Phase::Load) => Err("the call has no request".to_owned()),
            (Some(request), Phase::Request) => reply::of_request(self.call, values, &request.0),
            (Some(request), Phase::Response | Phase::Log) => reply::of_response(values, &request.0),
        };
        let returned = |message: String| {
            let place = self.vm.place(self.call);
            let kind = FailureKind::Returned;
            Outcome::Failed(Failure { kind, message: message.into(), place })
        };
        let outcome = outcome.unwrap_or_else(returned);
        self.done(outcome)
    }

    fn fail(&mut self, kind: FailureKind, message: &str) -> Poll<Progress> {
        let text = match kind {
            FailureKind::Steps => "the call used up its steps",
            FailureKind::Cpu => "the call used up its CPU time",
            FailureKind::Deadline => "the call did not end before its deadline",
            FailureKind::Error | FailureKind::Returned | FailureKind::Memory | FailureKind::Busy => message,
        };
        self.done(Outcome::Failed(Failure { kind, message: text.into(), place: self.vm.place(self.call) }))
    }

    fn done(&mut self, outcome: Outcome) -> Poll<Progress> {
        self.vm.shared().drop_call(self.script.take());
        let saved = self.saved.take();
        if let (Outcome::Failed(_), Some(request), Some(saved)) = (&outcome, &self.state.request, saved) {
            request.0.restore(saved);
        }
        self.stop_waiting();
        Poll::Ready(Progress::Done(outcome))
    }

    fn stop_waiting(&mut self) {
        if self.deadline.take().is_some() {
            let waiting = &self.vm.shared().waiting;
            waiting.set(waiting.get().saturating_sub(1));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.vm.shared().drop_call(self.script.take());
        self.stop_waiting();
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("call", &self.call)
            .field("steps", &self.steps())
            .finish_non_exhaustive()
    }
}

/// The failure that an error of the VM is.
pub(crate) fn failure_of(error: &mlua::Error) -> Failure {
    let mut cause = error;
    while let mlua::Error::CallbackError { cause: inner, .. } = cause {
        cause = inner;
    }
    let kind = match cause {
        mlua::Error::MemoryError(_) => FailureKind::Memory,
        _ => FailureKind::Error,
    };
    let mut message = error.to_string();
    if message.len() > limits::MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(limits::MESSAGE_BYTES_MAX));
    }
    let text = message.strip_prefix("runtime error: ").unwrap_or(&message);
    let place = text.lines().find_map(|line| Place::of_message(line.trim_start()));
    Failure { kind, place, message: text.into() }
}
