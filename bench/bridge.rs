//! Cost of passing a value to a core: the queue alone, with its wake-up byte, and a round trip between
//! threads.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use ringway_bridge::{blocking_mailbox, mailbox, slot, wake_pair};

use crate::harness::Harness;

pub(crate) fn run(bench: &mut Harness) {
    if !bench.wants("bridge") {
        return;
    }
    let (waker, _source) = wake_pair().expect("a pair of sockets");
    let (mut sender, receiver) = slot(waker);
    let snapshot = Arc::new([0u64; 64]);
    // The flag is set after the first value: no further byte is written until the receiver clears it.
    bench.line("bridge: publish into a slot and take it, flag up", || {
        sender.publish(Arc::clone(&snapshot));
        receiver.take()
    });
    let (waker, source) = wake_pair().expect("a pair of sockets");
    let (sender, receiver) = mailbox(16, waker);
    let mut stream = source.stream().expect("a second descriptor");
    let mut byte = [0; 16];
    bench.line("bridge: send one value with its wake-up byte and take both", || {
        sender.send(7u64).expect("there is room");
        let read = stream.read(&mut byte);
        source.rearm();
        (read.is_ok(), receiver.try_recv().is_ok())
    });
    if bench.is_counting() {
        return;
    }
    let (ask, asked) = blocking_mailbox::<u64>(16);
    let (answer, answered) = blocking_mailbox::<u64>(16);
    let echo = std::thread::spawn(move || {
        while let Ok(value) = asked.recv_timeout(Duration::from_secs(60)) {
            if answer.send(value).is_err() {
                return;
            }
        }
    });
    bench.line("bridge: there and back between two threads", || {
        ask.send(7).expect("there is room");
        answered.recv_timeout(Duration::from_secs(10)).is_ok()
    });
    drop(ask);
    echo.join().expect("the thread ends with the channel");
}
