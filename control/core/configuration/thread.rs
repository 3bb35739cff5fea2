//! The threads of the configuration: one makes the changes and watches the files, the other answers
//! questions.
//!
//! Files may be on a disk that hangs, and large documents take a while; neither may delay the control thread,
//! and a question about a large document no change.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use ringway_bridge::{MailboxReceiver, SlotReceiver, TryRecvError, Waker, slot, wake_pair};
use ringway_model::Tick;
use ringway_net::clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::configurator::Configurator;
use super::governance::Reserved;
use super::jobs::{self, Changes, Channels, Job};
use super::plane::Plane;
use super::questions::Questions;
use super::requests::ConfigurationStatus;
use super::startup::Started;

/// State of the configuration, for the control thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notice {
    pub(crate) status: ConfigurationStatus,
    pub(crate) reserved: Reserved,
}

/// Control thread's ends.
#[derive(Debug)]
pub(crate) struct ConfigurationLink {
    pub(crate) channels: Channels,
    pub(crate) notices: SlotReceiver<Notice>,
}

/// Starts the threads. They end when the control thread's ends are dropped.
///
/// # Errors
/// The system's: no thread or descriptor is left.
pub(crate) fn start(
    plane: Arc<dyn Plane>,
    started: Started,
    of_control: Waker,
) -> io::Result<ConfigurationLink> {
    let (waker, wake) = wake_pair()?;
    let stream = wake.stream()?;
    let (channels, changes, questions) = jobs::channels(waker, wake, of_control.clone());
    let (sender, notices) = slot(of_control);
    let configurator = Configurator::new(plane, started, sender);
    let answers = configurator.questions();
    thread::Builder::new()
        .name("ringway-config".to_owned())
        .spawn(move || run(configurator, &changes, stream))?;
    thread::Builder::new().name("ringway-queries".to_owned()).spawn(move || answer(answers, &questions))?;
    Ok(ConfigurationLink { channels, notices })
}

fn answer(mut answers: Questions, questions: &MailboxReceiver<Job<Questions>>) {
    loop {
        match questions.recv_timeout(WAIT_MAX) {
            Ok(question) => guarded(|| question.run(&mut answers)),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Closed) => return,
        }
    }
}

fn run(mut configurator: Configurator, changes: &Changes, mut stream: UnixStream) {
    loop {
        let now = clock::now();
        guarded(|| configurator.advance(now));
        match wait(&configurator, &stream, configurator.next_deadline().min(now.after(WAIT_MAX))) {
            Ok(Woken::ByJobs) => {
                // Only the end of the stream matters: every sender was dropped.
                if matches!(stream.read(&mut [0; 64]), Ok(0)) {
                    return;
                }
                changes.wake.rearm();
                while let Ok(job) = changes.jobs.try_recv() {
                    guarded(|| job.run(&mut configurator));
                    guarded(|| configurator.advance(clock::now()));
                }
            }
            Ok(Woken::Otherwise) => {}
            Err(error) => {
                tracing::error!(%error, "configuration thread stopped: it cannot wait for events");
                return;
            }
        }
    }
}

enum Woken {
    ByJobs,
    Otherwise,
}

/// Waits for a request, an event of the files, or the deadline.
fn wait(configurator: &Configurator, stream: &UnixStream, deadline: Tick) -> io::Result<Woken> {
    let mut descriptors = vec![PollFd::new(stream, PollFlags::IN)];
    descriptors
        .extend(configurator.descriptor().map(|events| PollFd::from_borrowed_fd(events, PollFlags::IN)));
    // A tick more: the clock of deadlines is coarse, and a wait that ends before it would spin.
    let timeout = clock::now().until(deadline) + TICK;
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
    match poll(&mut descriptors, Some(&timeout)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    match descriptors[0].revents().is_empty() {
        true => Ok(Woken::Otherwise),
        false => Ok(Woken::ByJobs),
    }
}

/// Runs a step; a panic costs this step, whose caller gets no answer.
fn guarded(step: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(step)).is_err() {
        tracing::error!("a request about the configuration panicked; it has no effect");
    }
}

/// Longest wait: a missed deadline costs no more.
const WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(10);

/// Resolution of the clock of deadlines.
const TICK: std::time::Duration = std::time::Duration::from_millis(1);
