#![allow(clippy::unwrap_used)]

mod allocations;
mod blocking;
mod connections;
mod idle;
mod parts;
mod splice;
mod stream;
mod sync;
mod tasks;
mod tls;

use crate::{Driver, DriverChoice, RuntimeOptions, TcpStream, clock, run};
use ringway_model::Tick;
use std::io;
use std::net::{TcpListener, TcpStream as StdStream};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

/// Long enough that reaching it is a fault, not a slow machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a scenario once on io_uring and once on epoll.
fn on_both_drivers<F: Future<Output = ()>>(scenario: impl Fn() -> F) {
    for driver in [DriverChoice::IoUring, DriverChoice::Epoll] {
        let options = RuntimeOptions { driver, ..RuntimeOptions::default() };
        run(options, |used| {
            assert_eq!(used == Driver::Epoll, driver == DriverChoice::Epoll);
            scenario()
        })
        .unwrap();
    }
}

/// A connection: our end and the peer's, a blocking socket with a time limit.
fn pair() -> (TcpStream, StdStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = StdStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.set_write_timeout(Some(PATIENCE)).unwrap();
    peer.set_nodelay(true).unwrap();
    (TcpStream::from_std(ours).unwrap(), peer)
}

fn buf() -> Vec<u8> {
    Vec::with_capacity(4096)
}

fn within(duration: Duration) -> Tick {
    clock::now().after(duration)
}

fn soon() -> Tick {
    within(PATIENCE)
}

fn kind<T: std::fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
    result.unwrap_err().kind()
}

/// Awaits a thread without blocking the core that it talks to.
async fn joined<T>(thread: JoinHandle<T>) -> T {
    let deadline = soon();
    while !thread.is_finished() {
        assert!(clock::now() < deadline, "the other side hangs");
        crate::sleep(Duration::from_millis(1)).await;
    }
    thread.join().unwrap()
}

/// Runs one ignored test in a process of its own, because it changes what all threads share.
fn in_a_process_of_its_own(test: &str, variables: &[(&str, &str)]) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("1 passed"), "{test} did not run: {said}");
}
