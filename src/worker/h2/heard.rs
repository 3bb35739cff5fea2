//! What is heard of an endpoint on a connection of HTTP/2: signs of life, and floods of frames that belong to no request.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;

use ringway_model::{Tick, limits};

use super::guard::{DATA, HEADERS, PREFACE_BYTES, Scanner, Seen};
use super::pipe::Watch;

/// What was heard on one connection.
pub(super) struct Heard {
    /// Something came since the last look.
    is_new: Cell<bool>,
    inbound: RefCell<Scanner>,
    outbound: RefCell<Scanner>,
    /// Frames that came, without those with data, and what they may belong to; both since `since`.
    frames: Cell<u32>,
    reasons: Cell<u32>,
    since: Cell<Tick>,
    /// Requests under way.
    pub(super) active: Cell<usize>,
    is_flood: Cell<bool>,
}

impl Heard {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            is_new: Cell::new(false),
            inbound: RefCell::new(Scanner::after(0)),
            outbound: RefCell::new(Scanner::after(PREFACE_BYTES)),
            frames: Cell::new(0),
            reasons: Cell::new(0),
            since: Cell::new(now),
            active: Cell::new(0),
            is_flood: Cell::new(false),
        }
    }

    /// Whether the endpoint has sent anything since this was asked last.
    pub(super) fn take_new(&self) -> bool {
        self.is_new.take()
    }

    /// Whether the endpoint floods the connection: it is to be ended.
    pub(super) fn is_flood(&self) -> bool {
        self.is_flood.get()
    }
}

impl Watch for Heard {
    /// An endpoint that sends frames without end, and no answers, would have the core to itself.
    fn on_read(&self, bytes: &[u8], now: Tick) -> usize {
        self.is_new.set(true);
        if now.since(self.since.get()) >= limits::H2_ABUSE_WINDOW {
            self.since.set(now);
            self.frames.set(0);
            self.reasons.set(u32::try_from(self.active.get()).unwrap_or(u32::MAX));
        }
        self.inbound.borrow_mut().scan(bytes, |seen| {
            if let Seen::Frame(frame) = seen
                && (frame.kind != DATA || !frame.has_data())
            {
                self.frames.update(|frames| frames.saturating_add(1));
            }
            ControlFlow::Continue(())
        });
        let due = self.reasons.get().saturating_mul(limits::H2_UPSTREAM_FRAMES_PER_REQUEST_MAX);
        if self.frames.get() > due.max(limits::H2_UPSTREAM_FRAMES_MAX) {
            self.is_flood.set(true);
        }
        if self.is_flood.get() { 0 } else { bytes.len() }
    }

    fn on_written(&self, bytes: &[u8]) {
        self.outbound.borrow_mut().scan(bytes, |seen| {
            if let Seen::Frame(frame) = seen
                && matches!(frame.kind, HEADERS | DATA)
            {
                self.reasons.update(|reasons| reasons.saturating_add(1));
            }
            ControlFlow::Continue(())
        });
    }
}
