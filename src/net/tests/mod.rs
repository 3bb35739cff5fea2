#![allow(clippy::unwrap_used)]

mod stream;

use crate::{Driver, DriverChoice, RuntimeOptions, TcpStream, clock, run};
use ringway_model::Tick;
use std::io;
use std::net::{TcpListener, TcpStream as StdStream};
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
