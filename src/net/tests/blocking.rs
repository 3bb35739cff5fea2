use std::cell::Cell;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;

use crate::limits::BLOCKING_CALLS_MAX;

use crate::{RuntimeOptions, blocking, join, run, spawn, yield_now};

fn with_threads<T, F: Future<Output = T>>(main: impl FnOnce() -> F) -> T {
    let options = RuntimeOptions { blocking_threads: 2, ..RuntimeOptions::default() };
    run(options, |_| main()).unwrap()
}

#[test]
fn runs_on_another_thread_and_returns_the_result() {
    let here = thread::current().id();
    let there = with_threads(|| async { blocking(|| thread::current().id()).await.unwrap() });
    assert_ne!(here, there);
}

#[test]
fn the_runtime_runs_on_meanwhile() {
    with_threads(|| async {
        let (sender, receiver) = mpsc::sync_channel(1);
        let (answer, ()) =
            join(blocking(move || receiver.recv().unwrap()), async move { sender.send(7).unwrap() }).await;
        assert_eq!(answer.unwrap(), 7);
    });
}

#[test]
fn a_panic_is_an_error_and_the_threads_run_on() {
    with_threads(|| async {
        for _ in 0..4 {
            let error = blocking(|| panic!("on purpose")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Interrupted);
        }
        assert_eq!(blocking(|| 1).await.unwrap(), 1);
    });
}

#[test]
fn limits_calls_in_progress() {
    with_threads(|| async {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let ended = Rc::new(Cell::new(0));
        for _ in 0..BLOCKING_CALLS_MAX {
            let (gate, ended) = (Arc::clone(&gate), Rc::clone(&ended));
            let call = async move {
                let wait =
                    move || drop(gate.1.wait_while(gate.0.lock().unwrap(), |is_open| !*is_open).unwrap());
                blocking(wait).await.unwrap();
                ended.set(ended.get() + 1);
            };
            spawn(call, |panic| panic!("{panic:?}"));
        }
        yield_now().await;
        assert_eq!(blocking(|| ()).await.unwrap_err().kind(), ErrorKind::ResourceBusy);
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        while ended.get() < BLOCKING_CALLS_MAX {
            yield_now().await;
        }
        assert!(blocking(|| ()).await.is_ok(), "a place is free again");
    });
}

#[test]
fn is_unsupported_without_threads() {
    let result = run(RuntimeOptions::default(), |_| async { blocking(|| ()).await }).unwrap();
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Unsupported);
}
