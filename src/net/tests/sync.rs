use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use ringway_model::Tick;

use crate::sync::{Dropped, Notify, QueueFull, Semaphore, oneshot};
use crate::{RuntimeOptions, join, run, spawn, yield_now};

/// Polls once.
fn poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    match Pin::new(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn on_runtime<T>(main: impl Future<Output = T>) -> T {
    run(RuntimeOptions::default(), |_| main).unwrap()
}

#[test]
fn a_oneshot_delivers_its_value_before_and_after_the_wait_began() {
    let (sender, mut receiver) = oneshot();
    sender.send(1);
    assert_eq!(poll(&mut receiver), Some(Ok(1)));
    on_runtime(async {
        let (sender, receiver) = oneshot();
        let (received, ()) = join(receiver, async {
            yield_now().await;
            sender.send(2);
        })
        .await;
        assert_eq!(received, Ok(2));
    });
}

#[test]
fn a_dropped_sender_ends_the_wait() {
    on_runtime(async {
        let (sender, receiver) = oneshot::<u32>();
        let (received, ()) = join(receiver, async {
            yield_now().await;
            drop(sender);
        })
        .await;
        assert_eq!(received, Err(Dropped));
    });
}

#[test]
fn a_value_without_a_receiver_is_dropped() {
    let value = Rc::new(());
    let (sender, receiver) = oneshot();
    drop(receiver);
    sender.send(Rc::clone(&value));
    assert_eq!(Rc::strong_count(&value), 1);
}

#[test]
fn a_semaphore_serves_waiters_in_order_and_refuses_those_beyond_its_queue() {
    let semaphore = Semaphore::new(1, 2);
    let first = poll(&mut semaphore.acquire()).unwrap().unwrap();
    let (mut second, mut third) = (semaphore.acquire(), semaphore.acquire());
    assert!(poll(&mut second).is_none() && poll(&mut third).is_none());
    assert_eq!(semaphore.queued(), 2);
    assert_eq!(poll(&mut semaphore.acquire()).unwrap().unwrap_err(), QueueFull);
    drop(first);
    assert!(poll(&mut third).is_none(), "not before the second");
    let second = poll(&mut second).unwrap().unwrap();
    drop(second);
    assert!(poll(&mut third).unwrap().is_ok());
}

#[test]
fn a_released_permit_wakes_the_first_waiter() {
    on_runtime(async {
        let semaphore = Semaphore::new(1, 2);
        let permit = semaphore.acquire().await.unwrap();
        let ((), ()) = join(async { drop(semaphore.acquire().await.unwrap()) }, async {
            yield_now().await;
            drop(permit);
        })
        .await;
        assert_eq!(semaphore.free(), 1);
    });
}

#[test]
fn a_waiter_that_is_dropped_loses_no_permit() {
    let semaphore = Semaphore::new(1, 8);
    let first = poll(&mut semaphore.acquire()).unwrap().unwrap();
    let (mut waiting, mut served, mut last) = (semaphore.acquire(), semaphore.acquire(), semaphore.acquire());
    assert!(poll(&mut waiting).is_none() && poll(&mut served).is_none() && poll(&mut last).is_none());
    drop(waiting);
    drop(first);
    // It was served, and is dropped before it is polled.
    drop(served);
    let last = poll(&mut last).unwrap().unwrap();
    drop(last);
    assert_eq!((semaphore.free(), semaphore.queued()), (1, 0));
}

#[test]
fn forgotten_permits_come_back_when_they_are_added() {
    let semaphore = Semaphore::new(2, 8);
    poll(&mut semaphore.acquire()).unwrap().unwrap().forget();
    poll(&mut semaphore.acquire()).unwrap().unwrap().forget();
    let mut waiting = semaphore.acquire();
    assert!(poll(&mut waiting).is_none());
    semaphore.add(2);
    assert_eq!(semaphore.free(), 1, "one of the two goes to the waiter");
    assert!(poll(&mut waiting).unwrap().is_ok());
}

#[test]
fn a_notification_without_a_waiter_is_kept_once() {
    let notify = Notify::default();
    notify.notify();
    notify.notify();
    assert!(poll(&mut pin!(notify.notified())).is_some());
    assert!(poll(&mut pin!(notify.notified())).is_none());
}

#[test]
fn a_notification_wakes_the_waiter_and_a_deadline_ends_the_wait() {
    on_runtime(async {
        let notify = Rc::new(Notify::default());
        let (notified, is_done) = (Rc::clone(&notify), Rc::new(Cell::new(false)));
        let done = Rc::clone(&is_done);
        spawn(
            async move {
                notified.notified().await;
                done.set(true);
            },
            |panic| panic!("{panic}"),
        );
        yield_now().await;
        assert!(!is_done.get());
        notify.notify();
        while !is_done.get() {
            yield_now().await;
        }
        assert!(!notify.notified_until(Tick(0)).await);
        notify.notify();
        assert!(notify.notified_until(Tick::NEVER).await);
    });
}
