//! Origin with the fault of one row of the catalogue, on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::row::*;
use crate::kit::{Connection, Gate, Origin};

/// Origin that responds to `/good/TOKEN` with the token, and misbehaves otherwise.
pub(super) struct Misbehaving {
    pub(super) origin: Origin,
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) fault: Row,
    /// Faults on accept are active only while this is set.
    pub(super) active: AtomicBool,
    /// Opened by the client once it has its response, and by the origin once it has misbehaved after it.
    pub(super) answered: Gate,
    pub(super) done: Gate,
}

impl Misbehaving {
    pub(super) fn new(fault: Row) -> Self {
        let shared =
            Shared { fault, active: AtomicBool::new(false), answered: Gate::new(), done: Gate::new() };
        let shared = Arc::new(shared);
        let inner = Arc::clone(&shared);
        Self { origin: Origin::script(move |connection| inner.serve(connection)), shared }
    }
}

impl Shared {
    fn serve(&self, connection: &mut Connection) {
        if let Does::OnAccept(act) = &self.fault.does
            && self.active.load(Ordering::SeqCst)
            && self.goes_on(act(connection), connection).is_none()
        {
            return;
        }
        while let Ok(mut request) = connection.request_head() {
            let is_good = request.target().starts_with("/good/");
            let reads_first = !matches!(self.fault.does, Does::OnHead(_));
            if (is_good || reads_first) && connection.body(&mut request).is_err() {
                return;
            }
            connection.remember(&request);
            let then = match &self.fault.does {
                _ if is_good => {
                    connection.reply(200, &request.target().as_bytes()["/good/".len()..]);
                    Then::Serves
                }
                Does::OnHead(act) => {
                    let then = act(connection);
                    // It continues to read a request after its response.
                    if matches!(then, Then::Serves) && connection.body(&mut request).is_err() {
                        return;
                    }
                    then
                }
                Does::Answers(act) => act(connection),
                Does::Later(act) => {
                    connection.send(OK);
                    if !self.answered.pass() {
                        return;
                    }
                    let then = act(connection);
                    if matches!(then, Then::Closes | Then::Resets) {
                        // The end itself comes when this script has returned: who waits asks the record.
                        self.goes_on(then, connection);
                        return;
                    }
                    self.done.open();
                    then
                }
                Does::Refuses | Does::OnAccept(_) => return,
            };
            if self.goes_on(then, connection).is_none() {
                return;
            }
        }
    }

    /// `None` when the script is over.
    fn goes_on(&self, then: Then, connection: &mut Connection) -> Option<()> {
        match then {
            Then::Serves => Some(()),
            Then::Waits => {
                connection.until_closed();
                None
            }
            Then::Closes => None,
            Then::Resets => {
                connection.reset();
                None
            }
        }
    }
}
