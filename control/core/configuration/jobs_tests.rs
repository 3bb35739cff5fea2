#![allow(clippy::unwrap_used)]
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::mpsc;
use std::task::{Context, Poll};

use ringway_bridge::wake_pair;
use ringway_model::Desired;

use super::super::plane::Plane;
use super::super::startup::{ConfigurationSettings, prepare};
use super::super::thread;
use super::*;
use crate::simulation::Simulation;
use crate::submission::{Receipt, Refusal, Submission};
use crate::trial::TrialStatus;
use crate::trial::probation::Probation;

/// A control thread that is not there: these requests need none.
struct Nobody;

impl Plane for Nobody {
    fn desired(&self) -> Result<Desired, Refusal> {
        Err(Refusal::ShuttingDown)
    }

    fn submit(&self, _: Submission) -> Result<Receipt, Refusal> {
        Err(Refusal::ShuttingDown)
    }

    fn trial(&self) -> Result<Option<TrialStatus>, Refusal> {
        Err(Refusal::ShuttingDown)
    }

    fn simulation(&self) -> Result<Simulation, Refusal> {
        Err(Refusal::ShuttingDown)
    }
}

fn poll<F: Future>(future: &mut Pin<&mut F>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop()))
}

/// Queues whose threads are the test.
fn queues() -> (Caller, Changes, MailboxReceiver<Job<Questions>>) {
    let ((of_changes, wake), (of_control, _)) = (wake_pair().unwrap(), wake_pair().unwrap());
    let (channels, changes, questions) = channels(of_changes, wake, of_control);
    (Caller::new(channels), changes, questions)
}

fn questions() -> Questions {
    Questions::new(Arc::new(Nobody), Default::default(), Default::default())
}

#[test]
fn a_change_is_made_while_a_question_is_being_answered() {
    let (of_control, woken) = wake_pair().unwrap();
    let of_routes = Default::default();
    let settings = ConfigurationSettings::default();
    let started =
        prepare(Desired::default(), settings, of_routes, &mut Probation::default(), Default::default());
    let link = thread::start(Arc::new(Nobody), started.unwrap(), of_control).unwrap();
    let caller = Caller::new(link.channels);
    let (begun, has_begun) = mpsc::channel();
    let (release, gate) = mpsc::channel::<()>();
    let mut question = pin!(caller.question(move |_| {
        begun.send(()).unwrap();
        gate.recv().is_ok()
    }));
    assert!(poll(&mut question).is_pending());
    has_begun.recv().unwrap();
    // Further questions wait behind it.
    let mut second = pin!(caller.question(|_| "second"));
    assert!(poll(&mut second).is_pending());
    for number in 0..3 {
        let mut change = pin!(caller.change(move |_| number));
        assert!(poll(&mut change).is_pending());
        assert_eq!(answered(&caller, &woken, &mut change), Ok(number));
        assert!(poll(&mut question).is_pending() && poll(&mut second).is_pending());
    }
    release.send(()).unwrap();
    assert_eq!(answered(&caller, &woken, &mut question), Ok(true));
    assert_eq!(answered(&caller, &woken, &mut second), Ok("second"));
}

/// Waits for an answer, as the control thread does.
fn answered<F: Future>(caller: &Caller, woken: &WakeSource, future: &mut Pin<&mut F>) -> F::Output {
    let mut stream = woken.stream().unwrap();
    stream.set_nonblocking(false).unwrap();
    loop {
        woken.rearm();
        caller.advance(Tick(0));
        if let Poll::Ready(answer) = poll(future) {
            return answer;
        }
        std::io::Read::read(&mut stream, &mut [0; 64]).unwrap();
    }
}

#[test]
fn a_full_queue_of_questions_refuses_questions_only() {
    let (caller, changes, receiver) = queues();
    let mut waiting: Vec<_> =
        (0..CONFIG_QUESTIONS_MAX).map(|number| Box::pin(caller.question(move |_| number))).collect();
    for question in &mut waiting {
        assert!(poll(&mut question.as_mut()).is_pending());
    }
    let mut further = pin!(caller.question(|_| 0));
    assert_eq!(poll(&mut further), Poll::Ready(Err(Unanswered::Full)));
    let mut change = pin!(caller.change(|_| 0));
    assert!(poll(&mut change).is_pending());
    assert_eq!(changes.jobs.waiting(), 1);
    // They are answered in their order, and each makes room for one.
    let mut questions = questions();
    receiver.try_recv().unwrap().run(&mut questions);
    caller.advance(Tick(0));
    assert_eq!(poll(&mut waiting[0].as_mut()), Poll::Ready(Ok(0)));
    assert!(poll(&mut waiting[1].as_mut()).is_pending());
    let mut further = pin!(caller.question(|_| 0));
    assert!(poll(&mut further).is_pending());
}

#[test]
fn a_full_queue_of_changes_refuses_changes_only() {
    let (caller, _changes, receiver) = queues();
    let mut waiting: Vec<_> = (0..CONFIG_CHANGES_MAX).map(|_| Box::pin(caller.change(|_| 0))).collect();
    for change in &mut waiting {
        assert!(poll(&mut change.as_mut()).is_pending());
    }
    let mut further = pin!(caller.change(|_| 0));
    assert_eq!(poll(&mut further), Poll::Ready(Err(Unanswered::Full)));
    let mut question = pin!(caller.question(|_| 0));
    assert!(poll(&mut question).is_pending());
    assert_eq!(receiver.waiting(), 1);
}

#[test]
fn a_question_without_a_caller_is_not_answered_and_a_change_is_made() {
    let (caller, changes, receiver) = queues();
    let (sender, done) = mpsc::channel();
    {
        let of_question = sender.clone();
        let mut question = pin!(caller.question(move |_| of_question.send("question")));
        let mut change = pin!(caller.change(move |_| sender.send("change")));
        assert!(poll(&mut question).is_pending() && poll(&mut change).is_pending());
    }
    receiver.try_recv().unwrap().run(&mut questions());
    assert!(done.try_recv().is_err(), "nobody waits for it");
    let started = prepare(
        Desired::default(),
        ConfigurationSettings::default(),
        Default::default(),
        &mut Probation::default(),
        Default::default(),
    );
    let (notices, _) = ringway_bridge::slot(wake_pair().unwrap().0);
    let mut configurator = Configurator::new(Arc::new(Nobody), started.unwrap(), notices);
    changes.jobs.try_recv().unwrap().run(&mut configurator);
    assert_eq!(done.try_recv(), Ok("change"));
}
