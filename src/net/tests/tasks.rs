//! The runtime, tasks, yielding, and shutdown.

use super::*;
use crate::{
    Listener, PanicMessage, Stream, bind_reuseport, cores, pinned_core, sleep, spawn, timeout, yield_now,
};
use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::{ErrorKind, Read, Write};
use std::rc::Rc;
use std::thread;

#[test]
fn names_its_driver() {
    assert_eq!("auto".parse(), Ok(DriverChoice::Auto));
    assert_eq!("epoll".parse(), Ok(DriverChoice::Epoll));
    assert_eq!("io_uring".parse(), Ok(DriverChoice::IoUring));
    assert!("kqueue".parse::<DriverChoice>().is_err());
    let used = |driver| {
        run(
            RuntimeOptions { driver, ..RuntimeOptions::default() },
            |driver| async move { driver.to_string() },
        )
        .unwrap()
    };
    assert_eq!(used(DriverChoice::Epoll), "epoll");
    assert!(used(DriverChoice::IoUring).starts_with("io_uring"));
}

#[test]
fn without_io_uring_it_is_epoll_unless_demanded() {
    // The runtime's switch simulates a kernel or a seccomp profile without io_uring.
    in_a_process_of_its_own("tests::tasks::falls_back_to_epoll", &[("MONOIO_FORCE_LEGACY_DRIVER", "1")]);
}

#[test]
#[ignore = "needs a variable in the environment of the whole process: started by the test above"]
fn falls_back_to_epoll() {
    let used =
        |driver| run(RuntimeOptions { driver, ..RuntimeOptions::default() }, |driver| async move { driver });
    assert_eq!(used(DriverChoice::Auto).unwrap(), Driver::Epoll);
    assert_eq!(kind(used(DriverChoice::IoUring)), ErrorKind::Unsupported);
}

#[test]
fn pins_its_thread_or_runs_unpinned() {
    let core = cores()[0];
    let pinned = |core| {
        let options = RuntimeOptions { name: "pinned".into(), core: Some(core), ..RuntimeOptions::default() };
        run(options, |_| async { pinned_core() }).unwrap()
    };
    assert_eq!(pinned(core), Some(core));
    for none in [1023, 1024, usize::MAX] {
        assert_eq!(pinned(none), None);
    }
    assert_eq!(pinned_core(), None, "the runtime is gone");
}

#[test]
fn one_runtime_per_thread() {
    on_both_drivers(|| async {
        assert_eq!(kind(run(RuntimeOptions::default(), |_| async {})), ErrorKind::Other);
    });
    let stray = StdStream::connect(TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    assert!(TcpStream::from_std(stray.unwrap()).is_err(), "no runtime here");
}

#[test]
fn a_panic_ends_its_task_only_and_is_reported() {
    on_both_drivers(|| async {
        let reports = Rc::new(RefCell::new(Vec::new()));
        let report = |reports: &Rc<RefCell<Vec<String>>>| {
            let reports = Rc::clone(reports);
            move |message: PanicMessage| reports.borrow_mut().push(message.to_string())
        };
        let (stream, mut peer) = pair();
        spawn(
            async move {
                let (read, _) = stream.read(buf(), soon()).await;
                panic!("read {}", read.unwrap());
            },
            report(&reports),
        );
        spawn(
            async {
                let _bomb = Bomb;
                sleep(Duration::from_millis(1)).await;
            },
            report(&reports),
        );
        spawn(async { std::panic::panic_any(7) }, report(&reports));
        spawn(async { panic!("twice") }, |_| panic!("in the report as well"));
        let survived = Rc::new(Cell::new(false));
        let surviving = Rc::clone(&survived);
        spawn(async move { surviving.set(true) }, |_| {});
        peer.write_all(b"xyz").unwrap();
        until(|| reports.borrow().len() == 3 && survived.get()).await;
        let mut reports = reports.take();
        reports.sort();
        assert_eq!(reports, ["a panic without a message", "boom at drop", "read 3"]);
        // The connection was dropped with its task.
        until(|| {
            yield_probe(&peer);
            matches!((&peer).read(&mut [0]), Ok(0))
        })
        .await;
    });
}

fn yield_probe(peer: &StdStream) {
    peer.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("boom at drop");
    }
}

/// A task that yields in a loop starves neither timers nor I/O.
#[test]
fn yielding_does_not_starve_timers_and_io() {
    on_both_drivers(|| async {
        let (stream, mut peer) = pair();
        let rounds = Rc::new(Cell::new(0));
        let ticks = Rc::new(Cell::new(0));
        let ended = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let ended = Rc::clone(&ended);
            let (rounds, ticks) = (Rc::clone(&rounds), Rc::clone(&ticks));
            let deadline = soon();
            spawn(
                async move {
                    while (rounds.get() < 20 || ticks.get() < 5) && clock::now() < deadline {
                        yield_now().await;
                    }
                    ended.set(ended.get() + 1);
                },
                |_| {},
            );
        }
        let ticking = Rc::clone(&ticks);
        spawn(
            async move {
                for _ in 0..5 {
                    sleep(Duration::from_millis(1)).await;
                    ticking.set(ticking.get() + 1);
                }
            },
            |_| {},
        );
        let echo = thread::spawn(move || {
            let mut byte = [0];
            for _ in 0..20 {
                peer.read_exact(&mut byte).unwrap();
                peer.write_all(&byte).unwrap();
            }
        });
        for _ in 0..20 {
            stream.write_all(vec![1], crate::WriteRate::until(soon())).await.0.unwrap();
            assert_eq!(stream.read(buf(), soon()).await.0.unwrap(), 1);
            rounds.set(rounds.get() + 1);
        }
        joined(echo).await;
        until(|| ended.get() == 3).await;
        assert_eq!((rounds.get(), ticks.get()), (20, 5));
    });
}

/// Tasks that wait for ever hold a listener, a connection and a buffer in the kernel: all are gone when `run`
/// returns.
#[test]
fn nothing_stays_open_when_the_runtime_ends() {
    for driver in [DriverChoice::IoUring, DriverChoice::Epoll] {
        let dropped = Rc::new(Cell::new(false));
        let dropping = Rc::clone(&dropped);
        let (addr, mut peer) = run(RuntimeOptions { driver, ..RuntimeOptions::default() }, |_| async move {
            let listener =
                Listener::from_std(bind_reuseport("127.0.0.1:0".parse().unwrap(), 8).unwrap()).unwrap();
            let addr = listener.local_addr();
            spawn(async move { drop(listener.accept().await) }, |_| {});
            let (stream, peer) = pair();
            spawn(async move { drop(stream.read(buf(), Tick::NEVER).await) }, |_| {});
            let flag = SetOnDrop(dropping);
            spawn(
                async move {
                    pending::<()>().await;
                    drop(flag);
                },
                |_| {},
            );
            yield_now().await;
            (addr, peer)
        })
        .unwrap();
        assert!(dropped.get());
        assert_eq!(kind(StdStream::connect(addr)), ErrorKind::ConnectionRefused);
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    }
}

/// After such a panic the port is free for a new thread.
#[test]
fn nothing_stays_open_when_main_panics() {
    for driver in [DriverChoice::IoUring, DriverChoice::Epoll] {
        let (tell, told) = std::sync::mpsc::channel();
        let panicked = thread::spawn(move || {
            run(RuntimeOptions { driver, ..RuntimeOptions::default() }, |_| async move {
                let listener =
                    Listener::from_std(bind_reuseport("127.0.0.1:0".parse().unwrap(), 8).unwrap()).unwrap();
                tell.send(listener.local_addr()).unwrap();
                spawn(async move { drop(listener.accept().await) }, |_| {});
                yield_now().await;
                panic!("main");
            })
        })
        .join();
        assert!(panicked.is_err());
        assert_eq!(kind(StdStream::connect(told.recv().unwrap())), ErrorKind::ConnectionRefused);
    }
}

struct SetOnDrop(Rc<Cell<bool>>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// Deadlines that never expire cost no scan: the reaper sleeps until the earliest.
#[test]
fn the_reaper_sleeps_while_no_deadline_passes() {
    on_both_drivers(|| async {
        let core = crate::core::current().unwrap();
        let (stream, mut peer) = pair();
        for _ in 0..200 {
            peer.write_all(b"x").unwrap();
            assert_eq!(stream.read(buf(), within(Duration::from_secs(3600))).await.0.unwrap(), 1);
        }
        assert_eq!(core.reaper.scans(), 0);
        assert_eq!(kind(stream.readable(within(Duration::from_millis(1))).await), ErrorKind::TimedOut);
        assert_eq!(core.reaper.scans(), 1);
    });
}

#[test]
fn many_deadlines_expire_each_on_its_own_stream() {
    on_both_drivers(|| async {
        let pairs: Vec<_> = (0..50).map(|_| pair()).collect();
        let ended = Rc::new(Cell::new(0));
        let mut peers = Vec::new();
        for (at, (stream, mut peer)) in pairs.into_iter().enumerate() {
            if at % 2 == 0 {
                peer.write_all(b"x").unwrap();
            }
            peers.push(peer);
            let ended = Rc::clone(&ended);
            spawn(
                async move {
                    let deadline = within(Duration::from_millis(at as u64));
                    let (first, buf) =
                        stream.read(buf(), soon().min(if at % 2 == 0 { soon() } else { deadline })).await;
                    assert_eq!(first.is_ok(), at % 2 == 0);
                    assert_eq!(kind(stream.read(buf, deadline).await.0), ErrorKind::TimedOut);
                    ended.set(ended.get() + 1);
                },
                |_| {},
            );
        }
        until(|| ended.get() == 50).await;
    });
}

/// Waits until `condition` holds; fails when it never does.
async fn until(mut condition: impl FnMut() -> bool) {
    let deadline = soon();
    while !condition() {
        assert!(clock::now() < deadline, "waited in vain");
        sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_future_is_dropped_when_its_timer_is_over() {
    on_both_drivers(|| async {
        let (begun, held) = (clock::now_micros(), Rc::new(()));
        let guard = Rc::clone(&held);
        let never = async move {
            pending::<()>().await;
            drop(guard);
        };
        assert_eq!(timeout(never, sleep(Duration::from_millis(20))).await, None);
        assert!(clock::now_micros() - begun >= 20_000, "early");
        assert_eq!(Rc::strong_count(&held), 1);
        assert_eq!(timeout(async { 1 }, sleep(Duration::ZERO)).await, Some(1), "ready together");
        assert_eq!(timeout(async { 2 }, pending()).await, Some(2));
    });
}
