//! Names to addresses, by the system's resolver on threads of its own. For the control thread.

use crate::core;
use crate::task::{spawn, until};
use ringway_model::Tick;
use ringway_model::limits::{DNS_ADDRESSES_MAX, DNS_IN_FLIGHT_MAX};
use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// The addresses of `name`, each with `port`, in the system's order, at most [`DNS_ADDRESSES_MAX`], none twice.
///
/// The blocking call runs on a thread of [`RuntimeOptions::blocking_threads`](crate::RuntimeOptions). At the deadline
/// it is left to itself; it still counts among the [`DNS_IN_FLIGHT_MAX`] until it ends, so that a resolver which
/// hangs costs a bounded number of threads and of waiting calls.
///
/// # Errors
/// `TimedOut` at `deadline`, `ResourceBusy` when too many calls are in flight, `Unsupported` on a runtime without
/// blocking threads, else the resolver's.
pub async fn resolve(name: &str, port: u16, deadline: Tick) -> io::Result<Vec<SocketAddr>> {
    let core = core::current()?;
    if !core.has_blocking_threads {
        return Err(ErrorKind::Unsupported.into());
    }
    if core.resolutions.get() >= DNS_IN_FLIGHT_MAX {
        return Err(ErrorKind::ResourceBusy.into());
    }
    core.resolutions.update(|count| count + 1);
    let name = name.to_owned();
    let call = monoio::spawn_blocking(move || (name.as_str(), port).to_socket_addrs().map(distinct));
    // A task of its own outlives our deadline, and counts the call until it really ends.
    let answer = Rc::new(RefCell::new(Answer::default()));
    let asked = Rc::clone(&answer);
    spawn(
        async move {
            let result = call.await.unwrap_or_else(|_| Err(ErrorKind::Interrupted.into()));
            core.resolutions.update(|count| count - 1);
            let mut answer = asked.borrow_mut();
            answer.result = Some(result);
            if let Some(waker) = answer.waker.take() {
                waker.wake();
            }
        },
        |_| {},
    );
    let answered = poll_fn(|cx| {
        let mut answer = answer.borrow_mut();
        match answer.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                answer.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    });
    until(answered, deadline).await.unwrap_or_else(|| Err(ErrorKind::TimedOut.into()))
}

#[derive(Default)]
struct Answer {
    result: Option<io::Result<Vec<SocketAddr>>>,
    waker: Option<Waker>,
}

fn distinct(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut distinct = Vec::new();
    for address in addresses {
        if !distinct.contains(&address) && distinct.len() < DNS_ADDRESSES_MAX {
            distinct.push(address);
        }
    }
    distinct
}
