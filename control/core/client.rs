//! The control plane from other threads: embedders, signal handlers, the program's main.

use std::time::Duration;

use crate::limits::{CLIENT_TIMEOUT, STORE_CLOSE_TIMEOUT};
use ringway_bridge::{MailboxSender, ReplyError, ReplyReceiver, ReplySender, SendError, reply};
use ringway_model::{CoreId, Desired, Generation, InstanceId, Rejection};

use crate::control::Control;
use crate::engine::Asker;
use crate::status::{InstanceStatus, Status};
use crate::submission::{Receipt, Refusal, Submission};

/// The control plane, for any thread that may block. Clones ask the same control thread.
#[derive(Clone, Debug)]
pub struct Client {
    calls: MailboxSender<Call>,
}

/// What is asked of the control thread.
#[derive(Debug)]
pub(crate) enum Call {
    Submit(Box<Submission>, ReplySender<Result<Receipt, Refusal>>),
    Heartbeat(InstanceId, Option<Generation>, ReplySender<Result<(), Rejection>>),
    Desired(ReplySender<Desired>),
    Status(ReplySender<Status>),
    InstanceStatus(InstanceId, ReplySender<Option<InstanceStatus>>),
    Metrics(ReplySender<String>),
    Shutdown(Duration, ReplySender<Drained>),
}

/// How the end went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Cores that had not finished by the deadline. Empty when no connection was cut.
    pub pending: Vec<CoreId>,
}

impl Client {
    pub(crate) fn new(calls: MailboxSender<Call>) -> Self {
        Self { calls }
    }

    /// Makes a change; see [`Control::submit`]. Blocks until it is on disk and on every core, or refused.
    ///
    /// # Errors
    /// See [`Refusal`]. [`Refusal::Unconfirmed`] after [`CLIENT_TIMEOUT`], and when the control thread ended over it.
    pub fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        // Dropped without an answer, it may be with the store.
        self.ask_within(CLIENT_TIMEOUT, Refusal::Unconfirmed, |reply| {
            Call::Submit(Box::new(submission), reply)
        })?
    }

    /// An instance says that it is there; see [`Control::heartbeat`].
    ///
    /// # Errors
    /// [`Refusal::Rejected`] when the instance or this registration of it is not known, else as [`Client::submit`].
    pub fn heartbeat(&self, instance: InstanceId, generation: Option<Generation>) -> Result<(), Refusal> {
        Ok(self.ask(|reply| Call::Heartbeat(instance, generation, reply))??)
    }

    /// The configuration that is on disk.
    ///
    /// # Errors
    /// [`Refusal::Busy`], [`Refusal::ShuttingDown`] when the control thread has ended, [`Refusal::Unconfirmed`].
    pub fn desired(&self) -> Result<Desired, Refusal> {
        self.ask(Call::Desired)
    }

    /// How everything is.
    ///
    /// # Errors
    /// As [`Client::desired`].
    pub fn status(&self) -> Result<Status, Refusal> {
        self.ask(Call::Status)
    }

    /// How an instance is; `None` when it is not registered.
    ///
    /// # Errors
    /// As [`Client::desired`].
    pub fn instance_status(&self, instance: InstanceId) -> Result<Option<InstanceStatus>, Refusal> {
        self.ask(|reply| Call::InstanceStatus(instance, reply))
    }

    /// All metrics as Prometheus text.
    ///
    /// # Errors
    /// As [`Client::desired`].
    pub fn metrics(&self) -> Result<String, Refusal> {
        self.ask(Call::Metrics)
    }

    /// Begins the orderly end and waits for it: not ready, cores drain for `drain` at most, store closed. A second call
    /// may shorten the time. [`DRAIN_TIMEOUT`](ringway_model::limits::DRAIN_TIMEOUT) is
    /// usual.
    ///
    /// # Errors
    /// As [`Client::desired`]; [`Refusal::ShuttingDown`] when it has ended already.
    pub fn shutdown(&self, drain: Duration) -> Result<Drained, Refusal> {
        let timeout = drain.saturating_add(STORE_CLOSE_TIMEOUT).saturating_add(CLIENT_TIMEOUT);
        self.ask_within(timeout, Refusal::ShuttingDown, |reply| Call::Shutdown(drain, reply))
    }

    fn ask<T>(&self, call: impl FnOnce(ReplySender<T>) -> Call) -> Result<T, Refusal> {
        self.ask_within(CLIENT_TIMEOUT, Refusal::ShuttingDown, call)
    }

    fn ask_within<T>(
        &self,
        timeout: Duration,
        if_dropped: Refusal,
        call: impl FnOnce(ReplySender<T>) -> Call,
    ) -> Result<T, Refusal> {
        let (sender, receiver): (ReplySender<T>, ReplyReceiver<T>) = reply();
        self.calls.send(call(sender)).map_err(|error| match error {
            SendError::Full(_) => Refusal::Busy { retry_after: Duration::from_secs(1) },
            SendError::Closed(_) => Refusal::ShuttingDown,
        })?;
        receiver.wait(timeout).map_err(|error| match error {
            ReplyError::TimedOut => Refusal::Unconfirmed,
            ReplyError::Dropped => if_dropped,
        })
    }
}

impl Call {
    /// Does what is asked; who does not wait any more gets nothing.
    pub(crate) fn serve(self, control: &Control) {
        match self {
            Self::Submit(submission, reply) => {
                control.turn(|engine, now| engine.handle_submit(*submission, Asker::Client(reply), now))
            }
            Self::Heartbeat(instance, generation, reply) => {
                let _ = reply.send(control.heartbeat(&instance, generation));
            }
            Self::Desired(reply) => {
                let _ = reply.send(control.desired());
            }
            Self::Status(reply) => {
                let _ = reply.send(control.status());
            }
            Self::InstanceStatus(instance, reply) => {
                let _ = reply.send(control.instance_status(&instance));
            }
            Self::Metrics(reply) => {
                let mut text = String::new();
                control.metrics(&mut text);
                let _ = reply.send(text);
            }
            Self::Shutdown(drain, reply) => control.turn(|engine, now| {
                engine.handle_shutdown(now.tick.after(drain), Some(reply), now);
            }),
        }
    }
}
