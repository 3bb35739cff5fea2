//! Connection to the first address that accepts: attempts begin one after the other, and go on beside each
//! other (RFC 8305 §5).

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use ringway_forward::{Denial, limits};
use ringway_model::Tick;

use crate::core::Core;
use crate::runtime::Runtime;

/// Connection attempt under way.
type Attempt<'a, S> = Pin<Box<dyn Future<Output = std::io::Result<S>> + 'a>>;

/// Connects, until the deadline. Attempts that are not needed are dropped.
pub(super) async fn connect<R: Runtime>(
    core: &Core<R>,
    addresses: &[SocketAddr],
    deadline: Tick,
) -> Result<(R::Stream, SocketAddr), Denial> {
    let runtime = &core.runtime;
    let mut rest = addresses.iter().copied();
    let mut attempts: Vec<(SocketAddr, Attempt<'_, R::Stream>)> = Vec::new();
    let mut pause: Option<Pin<Box<dyn Future<Output = ()> + '_>>> = None;
    let mut denial = Denial::ConnectFailed;
    poll_fn(move |cx| {
        loop {
            let mut has_failed = false;
            let mut at = 0;
            while at < attempts.len() {
                let (address, attempt) = &mut attempts[at];
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(stream)) => return Poll::Ready(Ok((stream, *address))),
                    Poll::Ready(Err(error)) => {
                        denial = match error.kind() {
                            ErrorKind::TimedOut => Denial::ConnectTimedOut,
                            _ => Denial::ConnectFailed,
                        };
                        drop(attempts.swap_remove(at));
                        has_failed = true;
                    }
                    Poll::Pending => at += 1,
                }
            }
            let is_due = match &mut pause {
                Some(pause) => pause.as_mut().poll(cx).is_ready(),
                None => true,
            };
            if !is_due && !has_failed && !attempts.is_empty() {
                return Poll::Pending;
            }
            match rest.next() {
                Some(address) => {
                    attempts.push((address, Box::pin(runtime.connect(address, deadline))));
                    pause = Some(Box::pin(runtime.sleep(limits::CONNECT_ATTEMPT_DELAY)));
                }
                None if attempts.is_empty() => return Poll::Ready(Err(denial.clone())),
                None => return Poll::Pending,
            }
        }
    })
    .await
}
