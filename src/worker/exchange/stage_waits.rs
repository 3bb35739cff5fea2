//! Requests whose stage waits for the control plane: for newer credentials, and for the verification of a
//! password.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use ahash::AHashMap;
use ringway_middleware::{Credentials, KnownCredentials};
use ringway_model::{CredentialSource, Tick};
use ringway_traffic::report::{PasswordJob, Report};

use crate::core::Core;
use crate::limits;
use crate::runtime::Runtime;

/// Waiting requests of one core.
#[derive(Default)]
pub(crate) struct StageWaits {
    sources: RefCell<AHashMap<CredentialSource, Refresh>>,
    passwords: RefCell<AHashMap<u64, Password>>,
    next_ticket: Cell<u64>,
}

/// Refreshes of one source. There are as many as the configuration has had.
#[derive(Default)]
struct Refresh {
    /// Refreshes that have ended.
    ended: u64,
    /// The control thread is asked no more often than once in a while, unless its last answer was news.
    asked_at: Option<Tick>,
    /// Credentials in force when it was asked.
    asked_with: KnownCredentials,
    is_asked: bool,
    waiters: Vec<Waker>,
}

#[derive(Default)]
struct Password {
    result: Option<Option<bool>>,
    waiter: Option<Waker>,
}

impl StageWaits {
    /// Ends the refresh of a source.
    pub(crate) fn handle_settled(&self, source: &CredentialSource) {
        let mut sources = self.sources.borrow_mut();
        let Some(refresh) = sources.get_mut(source) else { return };
        refresh.ended += 1;
        refresh.is_asked = false;
        let waiters = std::mem::take(&mut refresh.waiters);
        drop(sources);
        waiters.into_iter().for_each(Waker::wake);
    }

    /// Takes the result of a password, for whose request it is.
    pub(crate) fn handle_verified(&self, ticket: u64, is_right: Option<bool>) {
        if let Some(password) = self.passwords.borrow_mut().get_mut(&ticket) {
            password.result = Some(is_right);
            if let Some(waiter) = password.waiter.take() {
                waiter.wake();
            }
        }
    }
}

/// Asks for newer credentials, waits for them for [`CREDENTIALS_TIMEOUT`](limits::CREDENTIALS_TIMEOUT), and
/// returns the newest.
pub(crate) async fn refresh<R: Runtime>(
    core: &Core<R>,
    source: &CredentialSource,
) -> Option<Arc<Credentials>> {
    let before = begin_refresh(core, source);
    if let Some(before) = before {
        let wait = poll_fn(|cx| {
            let mut sources = core.stage_waits.sources.borrow_mut();
            match sources.get_mut(source) {
                Some(refresh) if refresh.ended == before => {
                    if !refresh.waiters.iter().any(|waiter| waiter.will_wake(cx.waker())) {
                        refresh.waiters.push(cx.waker().clone());
                    }
                    Poll::Pending
                }
                _ => Poll::Ready(()),
            }
        });
        // Without an answer in time the request goes on with what there is.
        let _ = core.runtime.timeout(wait, limits::CREDENTIALS_TIMEOUT).await;
    }
    core.tables().snapshot.credentials(source).cloned()
}

/// Asks the control thread, unless it is asked already. Returns the number of refreshes that have ended;
/// `None` where the last answer is too recent for another.
fn begin_refresh<R: Runtime>(core: &Core<R>, source: &CredentialSource) -> Option<u64> {
    let now = core.runtime.now();
    let mut sources = core.stage_waits.sources.borrow_mut();
    if sources.len() >= limits::CREDENTIAL_SOURCES_MAX && !sources.contains_key(source) {
        sources.retain(|_, refresh| refresh.is_asked);
    }
    let refresh = sources.entry(source.clone()).or_default();
    let known = KnownCredentials(core.tables().snapshot.credentials(source).cloned());
    let is_lost = refresh.asked_at.is_some_and(|at| now >= at.after(limits::CREDENTIALS_TIMEOUT));
    if !refresh.is_asked || is_lost {
        let is_recent = refresh.asked_at.is_some_and(|at| now < at.after(limits::CREDENTIALS_TIMEOUT));
        if is_recent && refresh.asked_with == known {
            return None;
        }
        let report =
            Report::CredentialsWanted { core: core.id, source: source.clone(), known: known.clone() };
        if core.reports.send(report).is_err() {
            return None;
        }
        refresh.is_asked = true;
        refresh.asked_at = Some(now);
        refresh.asked_with = known;
    }
    Some(refresh.ended)
}

/// Verifies a password on a thread for it. `None` when too many wait. The stage's own timeout bounds the
/// wait.
pub(crate) async fn verify_password<R: Runtime>(
    core: &Core<R>,
    hash: Arc<str>,
    password: Box<[u8]>,
) -> Option<bool> {
    let waits = &core.stage_waits;
    if waits.passwords.borrow().len() >= limits::PASSWORDS_WAITING_MAX {
        return None;
    }
    let ticket = waits.next_ticket.get();
    waits.next_ticket.set(ticket + 1);
    let entry = Entry { core, ticket };
    waits.passwords.borrow_mut().insert(ticket, Password::default());
    let job = PasswordJob { ticket, hash, password };
    core.reports.send(Report::PasswordWanted { core: core.id, job }).ok()?;
    poll_fn(|cx| {
        let mut passwords = entry.core.stage_waits.passwords.borrow_mut();
        let Some(password) = passwords.get_mut(&ticket) else { return Poll::Ready(None) };
        match password.result {
            Some(result) => Poll::Ready(result),
            None => {
                password.waiter = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

/// Entry of a waiting password, removed when its request goes.
struct Entry<'c, R: Runtime> {
    core: &'c Core<R>,
    ticket: u64,
}

impl<R: Runtime> Drop for Entry<'_, R> {
    fn drop(&mut self) {
        self.core.stage_waits.passwords.borrow_mut().remove(&self.ticket);
    }
}
