//! The handle by which tasks on the control thread reach the plane.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::limits::DNS_TIMEOUT;
use ringway_certs::Certificates;
use ringway_model::{AppId, Desired, Generation, Hostname, InstanceId, Rejection, Revision, Tick};
use ringway_net::{clock, spawn};

use crate::engine::{Asker, Engine};
use crate::status::{AppStatus, Drained, InstanceStatus, Status};
use crate::submission::{Receipt, Refusal, Submission};
use crate::time::Now;

/// The control plane, for tasks on its thread (the admin API is one). Cheap to clone; see [`Client`](crate::Client) for
/// other threads.
#[derive(Clone)]
pub struct Control {
    engine: Rc<RefCell<Engine>>,
}

/// Where a task waits for its answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) result: Option<Result<Receipt, Refusal>>,
    pub(crate) waker: Option<Waker>,
}

impl Control {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine: Rc::new(RefCell::new(engine)) }
    }

    /// Makes a change. When this returns a receipt, the change is on disk and on every core that the receipt does not
    /// name as pending; that takes as long as an fsync and a wake-up of the cores, at most
    /// [`APPLY_DEADLINE`](crate::limits::APPLY_DEADLINE) after the store is done.
    ///
    /// May be dropped: the change takes its course all the same.
    ///
    /// # Errors
    /// See [`Refusal`]; nothing has changed then.
    pub async fn submit(&self, submission: Submission) -> Result<Receipt, Refusal> {
        let answer = Rc::new(RefCell::new(Answer::default()));
        let asker = Asker::Task(Rc::clone(&answer));
        self.turn(|engine, now| engine.handle_submit(submission, asker, now));
        poll_fn(|cx| {
            let mut answer = answer.borrow_mut();
            match answer.result.take() {
                Some(result) => Poll::Ready(result),
                None => {
                    answer.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// An instance says that it is there. It has a lease from the first heartbeat on. Nothing is stored.
    ///
    /// # Errors
    /// [`Rejection::UnknownInstance`], [`Rejection::Deregistered`] when heartbeats had stopped, and [`Rejection::StaleGeneration`] when the given generation is not the present one:
    /// the message comes from a process that has been replaced.
    pub fn heartbeat(&self, instance: &InstanceId, generation: Option<Generation>) -> Result<(), Rejection> {
        self.turn(|engine, now| engine.handle_heartbeat(instance, generation, now))
    }

    /// The configuration that is on disk. A clone is a few pointers.
    pub fn desired(&self) -> Desired {
        self.engine.borrow().desired().clone()
    }

    /// The revision of the configuration that is on disk.
    pub fn revision(&self) -> Revision {
        self.engine.borrow().desired().revision()
    }

    /// How an instance is; `None` when it is not registered. A few lookups.
    pub fn instance_status(&self, instance: &InstanceId) -> Option<InstanceStatus> {
        self.engine.borrow().instance_status(instance, Now::read())
    }

    /// How the drain of an instance's registration ended; `None` while it is under way, and when it is long over.
    pub fn drained(&self, instance: &InstanceId, generation: Generation) -> Option<Drained> {
        self.engine.borrow().drains().ended(instance, generation)
    }

    /// Why requests for an app find no healthy instance, and what becomes of them; `None` while there is one.
    pub fn outage(&self, app: &AppId) -> Option<String> {
        self.engine.borrow().outage(app)
    }

    /// How everything is. Looks at every instance: some 20 ns each.
    pub fn status(&self) -> Status {
        self.engine.borrow().status(Now::read())
    }

    /// The apps by trouble, then by traffic; `most` of them. Looks at every instance and counter: some 0.1 ms for 1,000 apps.
    pub fn app_statuses(&self, most: usize) -> Vec<AppStatus> {
        self.engine.borrow().app_statuses(most, Now::read())
    }

    /// Certificates; `None` when none are looked after.
    pub fn certificates(&self) -> Option<Certificates> {
        self.engine.borrow().certificates().cloned()
    }

    /// Whether every core serves and the process is not ending.
    pub fn is_ready(&self) -> bool {
        self.engine.borrow().is_ready()
    }

    /// Appends all metrics as Prometheus text.
    pub fn metrics(&self, out: &mut String) {
        self.engine.borrow().metrics(Now::read(), out);
    }

    /// Begins the orderly end: cores drain until `deadline`, then the store is closed and the thread ends.
    pub fn shut_down(&self, deadline: Tick) {
        self.turn(|engine, now| engine.handle_shutdown(deadline, None, now));
    }

    /// Runs one event through the engine, then everything that follows from it.
    pub(crate) fn turn<T>(&self, event: impl FnOnce(&mut Engine, Now) -> T) -> T {
        let now = Now::read();
        let mut engine = self.engine.borrow_mut();
        let result = event(&mut engine, now);
        let names = engine.advance(now);
        drop(engine);
        for name in names {
            self.resolve(name);
        }
        result
    }

    /// Asks the system's resolver, on a thread of its own.
    fn resolve(&self, name: Hostname) {
        let (control, asked) = (self.clone(), name.clone());
        let question = async move {
            // The port is put to the addresses by the compiler.
            let result = ringway_net::resolve(asked.as_str(), 0, clock::now().after(DNS_TIMEOUT)).await;
            let addresses = result.map(|found| found.iter().map(|address| address.ip()).collect());
            control.turn(|engine, now| engine.handle_addresses(&asked, addresses, now));
        };
        let control = self.clone();
        spawn(question, move |panic| {
            tracing::error!(%panic, %name, "a name resolution panicked");
            let failure = Err(std::io::ErrorKind::Other.into());
            control.turn(|engine, now| engine.handle_addresses(&name, failure, now));
        });
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").finish_non_exhaustive()
    }
}
