//! The clock, wake-ups from other threads, name resolution.

use super::*;
use crate::{Notified, Waits, join, resolve};
use std::io::{ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::thread;

#[test]
fn the_clock_is_shared_by_threads_and_monotonic() {
    let before = clock::now();
    let elsewhere = thread::spawn(clock::now).join().unwrap();
    let after = clock::now();
    assert!(before <= elsewhere && elsewhere <= after);
    let (milliseconds, micros) = (clock::now(), clock::now_micros());
    assert!(micros / 1000 >= milliseconds.0);
    // 2020, in milliseconds: the system's clock is set, and in the right unit.
    assert!(clock::timestamp().0 > 1_577_836_800_000);
}

#[test]
fn another_thread_wakes_a_core() {
    on_both_drivers(|| async {
        let (mut sender, receiver) = UnixStream::pair().unwrap();
        let mut notified = Notified::new(receiver).unwrap();
        let waiting = notified.wait_until(within(Duration::from_millis(1))).await;
        assert_eq!(kind(waiting), ErrorKind::TimedOut);
        let thread = thread::spawn(move || {
            sender.write_all(&[1]).unwrap();
            sender
        });
        assert_eq!(notified.wait().await.unwrap(), 1);
        let mut sender = joined(thread).await;
        sender.write_all(&[1; 100]).unwrap();
        let bytes = notified.wait().await.unwrap() + notified.wait().await.unwrap();
        assert_eq!(bytes, 100, "more than it takes at once is announced again");
        drop(sender);
        assert_eq!(kind(notified.wait().await), ErrorKind::UnexpectedEof);
    });
}

#[test]
fn resolves_names_on_other_threads() {
    for driver in [DriverChoice::IoUring, DriverChoice::Epoll] {
        let options = RuntimeOptions { driver, blocking_threads: 2, ..RuntimeOptions::default() };
        run(options, |_| async {
            for _ in 0..50 {
                let (name, number) =
                    join(resolve("localhost", 80, soon()), resolve("127.0.0.1", 81, soon())).await;
                assert!(name.unwrap().iter().all(|addr| addr.ip().is_loopback() && addr.port() == 80));
                assert_eq!(number.unwrap(), ["127.0.0.1:81".parse().unwrap()]);
            }
            // An invalid name: refused without a query.
            assert!(resolve("a\0b", 80, soon()).await.is_err());
        })
        .unwrap();
    }
}

/// A resolution past its deadline counts until it ends.
#[test]
fn resolutions_past_their_deadline_leak_nothing() {
    let options = RuntimeOptions { blocking_threads: 1, ..RuntimeOptions::default() };
    run(options, |_| async {
        let core = crate::core::current().unwrap();
        for _ in 0..100 {
            match resolve("localhost", 80, Tick(0)).await {
                Ok(_) => {}
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::ResourceBusy), "{error}")
                }
            }
            assert!(core.resolutions.get() <= ringway_model::limits::DNS_IN_FLIGHT_MAX);
        }
        let deadline = soon();
        while core.resolutions.get() > 0 {
            assert!(clock::now() < deadline, "a resolution was never counted off");
            crate::sleep(Duration::from_millis(1)).await;
        }
        resolve("localhost", 80, soon()).await.unwrap();
    })
    .unwrap();
}

#[test]
fn a_data_core_does_not_resolve() {
    on_both_drivers(|| async {
        assert_eq!(kind(resolve("localhost", 80, soon()).await), ErrorKind::Unsupported);
    });
}

#[test]
fn a_wait_without_a_socket_ends_by_readiness_deadline_or_cancellation() {
    on_both_drivers(|| async {
        let waits = Waits::new().unwrap();
        let never = |_: &mut std::task::Context<'_>| std::task::Poll::<std::io::Result<u8>>::Pending;
        assert_eq!(kind(waits.read(within(Duration::from_millis(1)), never).await), ErrorKind::TimedOut);
        // Both sides wait at the same time; only the cancelled one ends.
        let write = waits.write(within(Duration::from_millis(1)), never);
        let cancel = async { waits.cancel_reads() };
        let ((read, written), ()) = join(join(waits.read(soon(), never), write), cancel).await;
        assert_eq!((kind(read), kind(written)), (ErrorKind::Interrupted, ErrorKind::TimedOut));
        let ready = |_: &mut std::task::Context<'_>| std::task::Poll::Ready(Ok(7));
        assert_eq!(kind(waits.read(soon(), ready).await), ErrorKind::Interrupted, "a cancellation sticks");
        waits.resume_reads();
        assert_eq!(waits.read(Tick(0), ready).await.unwrap(), 7, "what is ready wins over the deadline");
    });
}
