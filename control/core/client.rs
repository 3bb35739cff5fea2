//! Handle to the control plane for other threads: embedders, signal handlers, the main thread.

use std::sync::Arc;
use std::time::Duration;

use crate::limits::{CLIENT_TIMEOUT, CONFIG_REQUEST_TIMEOUT, STORE_CLOSE_TIMEOUT};
use ringway_bridge::{MailboxSender, ReplyError, ReplyReceiver, ReplySender, SendError, reply};
use ringway_model::{Desired, Generation, InstanceId, Owner, Rejection, SetVersion};
use ringway_net::spawn;
use ringway_traffic::samples::SampledHeads;

use crate::configuration::{Applied, ConfigError, ReloadRequest};
use crate::control::Control;
use crate::engine::{Drained, ReplyTo};
use crate::simulation::Simulation;
use crate::status::{InstanceStatus, Status};
use crate::submission::{Receipt, Refusal, Submission};
use crate::trial::{NoTrial, TrialStatus};

/// The control plane for any thread that may block. Clones use the same control thread.
#[derive(Clone, Debug)]
pub struct Client {
    calls: MailboxSender<Call>,
}

/// Call to the control thread.
#[derive(Debug)]
pub(crate) enum Call {
    Submit(Box<Submission>, ReplySender<Result<Receipt, Refusal>>),
    Heartbeat(InstanceId, Option<Generation>, ReplySender<Result<(), Rejection>>),
    Desired(ReplySender<Desired>),
    Status(ReplySender<Status>),
    InstanceStatus(InstanceId, ReplySender<Option<InstanceStatus>>),
    Metrics(ReplySender<String>),
    Trial(ReplySender<Option<TrialStatus>>),
    RefusedVersion(Owner, ReplySender<Option<SetVersion>>),
    PromoteTrial(ReplySender<Result<(), NoTrial>>),
    AbortTrial(ReplySender<Result<(), NoTrial>>),
    Samples(ReplySender<Vec<Arc<SampledHeads>>>),
    Simulation(ReplySender<Simulation>),
    ReloadConfiguration(ReplySender<Result<Applied, ConfigError>>),
    Shutdown(Duration, ReplySender<Drained>),
}

impl Client {
    pub(crate) fn new(calls: MailboxSender<Call>) -> Self {
        Self { calls }
    }

    /// Applies a change; see [`Control::submit`]. Blocks until it is on disk and on every core, or refused.
    ///
    /// # Errors
    /// See [`Refusal`]. [`Refusal::Unconfirmed`] after `CLIENT_TIMEOUT`, and when the control thread ended
    /// meanwhile.
    pub fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        // Without a reply the change may be with the store.
        self.call_within(CLIENT_TIMEOUT, Refusal::Unconfirmed, |reply| {
            Call::Submit(Box::new(submission), reply)
        })?
    }

    /// Sends a heartbeat of an instance; see [`Control::heartbeat`].
    ///
    /// # Errors
    /// [`Refusal::Rejected`] when the instance or this registration of it is not known, else as
    /// [`Client::submit`].
    pub fn heartbeat(&self, instance: InstanceId, generation: Option<Generation>) -> Result<(), Refusal> {
        Ok(self.call(|reply| Call::Heartbeat(instance, generation, reply))??)
    }

    /// Configuration on disk.
    ///
    /// # Errors
    /// [`Refusal::Busy`], [`Refusal::ShuttingDown`] when the control thread has ended,
    /// [`Refusal::Unconfirmed`].
    pub fn desired(&self) -> Result<Desired, Refusal> {
        self.call(Call::Desired)
    }

    /// Status of the whole process.
    ///
    /// # Errors
    /// As [`Client::desired`].
    pub fn status(&self) -> Result<Status, Refusal> {
        self.call(Call::Status)
    }

    /// Status of an instance; `None` when it is not registered.
    ///
    /// # Errors
    /// As [`Client::desired`].
    pub fn instance_status(&self, instance: InstanceId) -> Result<Option<InstanceStatus>, Refusal> {
        self.call(|reply| Call::InstanceStatus(instance, reply))
    }

    /// All metrics as Prometheus text.
    ///
    /// # Errors
    /// As [`Client::desired`].
    pub fn metrics(&self) -> Result<String, Refusal> {
        self.call(Call::Metrics)
    }

    /// The configuration on trial, or the last one that was.
    ///
    /// # Errors
    /// As [`Client::desired`].
    pub fn trial(&self) -> Result<Option<TrialStatus>, Refusal> {
        self.call(Call::Trial)
    }

    /// The version of an owner that must not be tried again by itself: it was reverted on trial, or the
    /// process crashed with it. An explicit change may.
    ///
    /// # Errors
    /// As [`Client::desired`].
    pub fn refused_version(&self, owner: Owner) -> Result<Option<SetVersion>, Refusal> {
        self.call(|reply| Call::RefusedVersion(owner, reply))
    }

    /// Promotes the configuration on trial without waiting for the end of its bake time.
    ///
    /// # Errors
    /// As [`Client::desired`]; in the inner result, there is none.
    pub fn promote_trial(&self) -> Result<Result<(), NoTrial>, Refusal> {
        self.call(Call::PromoteTrial)
    }

    /// Reverts the configuration on trial.
    ///
    /// # Errors
    /// As [`Client::desired`]; in the inner result, there is none, or it is being stored already.
    pub fn abort_trial(&self) -> Result<Result<(), NoTrial>, Refusal> {
        self.call(Call::AbortTrial)
    }

    /// Copies of the configuration in force and samples of the last requests, to simulate changes on the
    /// caller's thread. Waits a second at most for the cores.
    ///
    /// # Errors
    /// As [`Client::desired`].
    pub fn simulation(&self) -> Result<Simulation, Refusal> {
        let samples = self.call(Call::Samples)?;
        let mut simulation = self.call(Call::Simulation)?;
        simulation.samples = samples;
        Ok(simulation)
    }

    /// Reads the operator's configuration files again, and applies them unless they are in force.
    ///
    /// # Errors
    /// See [`ConfigError`]; nothing is changed then.
    pub fn reload_configuration(&self) -> Result<Applied, ConfigError> {
        self.call_within(CONFIG_REQUEST_TIMEOUT + CLIENT_TIMEOUT, Refusal::Unconfirmed, |reply| {
            Call::ReloadConfiguration(reply)
        })?
    }

    /// Shuts down and waits for the end: the cores drain for at most `drain`, then the store is closed. A
    /// second call may shorten the time. [`DRAIN_TIMEOUT`](ringway_model::limits::DRAIN_TIMEOUT) is usual.
    ///
    /// # Errors
    /// As [`Client::desired`]; [`Refusal::ShuttingDown`] when it has ended already.
    pub fn shutdown(&self, drain: Duration) -> Result<Drained, Refusal> {
        let timeout = drain.saturating_add(STORE_CLOSE_TIMEOUT).saturating_add(CLIENT_TIMEOUT);
        self.call_within(timeout, Refusal::ShuttingDown, |reply| Call::Shutdown(drain, reply))
    }

    fn call<T>(&self, call: impl FnOnce(ReplySender<T>) -> Call) -> Result<T, Refusal> {
        self.call_within(CLIENT_TIMEOUT, Refusal::ShuttingDown, call)
    }

    fn call_within<T>(
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
    /// Runs the call; without a receiver its reply is dropped.
    pub(crate) fn run(self, control: &Control) {
        match self {
            Self::Submit(submission, reply) => {
                control.turn(|engine, now| engine.handle_submit(*submission, ReplyTo::Client(reply), now))
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
            Self::Trial(reply) => {
                let _ = reply.send(control.trial());
            }
            Self::RefusedVersion(owner, reply) => {
                let _ = reply.send(control.refused_version(&owner));
            }
            Self::PromoteTrial(reply) => {
                let _ = reply.send(control.promote_trial());
            }
            Self::AbortTrial(reply) => {
                let _ = reply.send(control.abort_trial());
            }
            Self::Samples(reply) => {
                control.turn(|engine, now| engine.handle_sample_request(reply, now));
            }
            Self::Simulation(reply) => {
                let _ = reply.send(control.simulation());
            }
            Self::ReloadConfiguration(reply) => {
                let configuration = control.configuration().clone();
                let request =
                    ReloadRequest { by: "signal".into(), reason: "reload".into(), force_size: false };
                let reload = async move {
                    // Without a receiver the result is in the log.
                    let _ = reply.send(configuration.reload(request).await);
                };
                spawn(reload, |panic| tracing::error!(%panic, "reload of the configuration panicked"));
            }
            Self::Shutdown(drain, reply) => control.turn(|engine, now| {
                engine.handle_shutdown(now.tick.after(drain), Some(reply), now);
            }),
        }
    }
}
