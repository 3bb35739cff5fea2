//! What is heard of an endpoint on a connection of HTTP/2: signs of life, floods of frames that belong to no request, and trailers
//! that are malformed.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::rc::Rc;

use crate::limits;
use ringway_model::Tick;

use super::fields::{Fields, Malformed};
use super::flood::{DATA, Frame, HEADERS, PING, PREFACE_BYTES, RST_STREAM, Scanner, Seen};
use super::liveness::Liveness;
use super::pipe::Watch;

/// What was heard on one connection.
pub(super) struct Heard {
    pub(super) liveness: RefCell<Liveness>,
    inbound: RefCell<Scanner>,
    outbound: RefCell<Scanner>,
    responses: RefCell<Responses>,
    /// Frames that came, without those with data, and what they may belong to; both since `since`.
    frames: Cell<u32>,
    reasons: Cell<u32>,
    since: Cell<Tick>,
    /// Bytes of DATA that came.
    data_bytes: Cell<u64>,
    /// Requests under way.
    pub(super) active: Cell<usize>,
    is_flood: Cell<bool>,
}

/// The heads of responses and what follows them, as far as it takes to know trailers.
#[derive(Default)]
struct Responses {
    fields: Fields,
    /// The stream of the header block that is being received, and whether the response ends with it.
    block: (u32, bool),
    /// Streams whose final head has come, and whose end has not.
    begun: Vec<u32>,
    malformed: Rc<Malformed>,
}

impl Heard {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            liveness: RefCell::new(Liveness::new(now)),
            inbound: RefCell::new(Scanner::after(0)),
            outbound: RefCell::new(Scanner::after(PREFACE_BYTES)),
            responses: RefCell::default(),
            frames: Cell::new(0),
            reasons: Cell::new(0),
            since: Cell::new(now),
            data_bytes: Cell::new(0),
            active: Cell::new(0),
            is_flood: Cell::new(false),
        }
    }

    /// Whether the endpoint floods the connection: it is to be ended.
    pub(super) fn is_flood(&self) -> bool {
        self.is_flood.get()
    }

    /// Streams whose trailers had pseudo-fields, for those who read them.
    pub(super) fn malformed(&self) -> Rc<Malformed> {
        self.responses.borrow().malformed.clone()
    }

    /// Bytes of DATA that came since this was asked last.
    pub(super) fn take_data_bytes(&self) -> u64 {
        self.data_bytes.take()
    }

    fn on_frame(&self, frame: Frame) {
        if frame.kind != DATA || !frame.has_data() {
            self.frames.update(|frames| frames.saturating_add(1));
        }
        match frame.kind {
            DATA => {
                self.data_bytes.update(|bytes| bytes + frame.len as u64);
                self.liveness.borrow_mut().note_message();
            }
            HEADERS => self.liveness.borrow_mut().note_message(),
            PING if frame.is_ack() => self.liveness.borrow_mut().note_pong(),
            _ => {}
        }
        self.responses.borrow_mut().on_frame(frame);
    }
}

impl Responses {
    fn on_frame(&mut self, frame: Frame) {
        match frame.kind {
            HEADERS => self.block = (frame.stream, frame.ends_a_message()),
            RST_STREAM => self.forget(frame.stream),
            DATA if frame.ends_a_message() => self.forget(frame.stream),
            _ => {}
        }
    }

    /// A header block is complete: trailers, if the final head has come before.
    fn end_block(&mut self) {
        let (stream, is_end) = self.block;
        let block = self.fields.end();
        if self.begun.contains(&stream) {
            if block.has_pseudo {
                self.malformed.put(stream);
            }
        } else if !block.is_interim && !is_end {
            if self.begun.len() == BEGUN_MAX {
                self.begun.remove(0);
            }
            self.begun.push(stream);
        }
        if is_end {
            self.forget(stream);
        }
    }

    fn forget(&mut self, stream: u32) {
        self.begun.retain(|begun| *begun != stream);
    }
}

impl Watch for Heard {
    /// An endpoint that sends frames without end, and no answers, would have the core to itself.
    fn on_read(&self, bytes: &[u8], now: Tick) -> usize {
        self.liveness.borrow_mut().note_bytes(now);
        if now.since(self.since.get()) >= limits::H2_ABUSE_WINDOW {
            self.since.set(now);
            self.frames.set(0);
            self.reasons.set(u32::try_from(self.active.get()).unwrap_or(u32::MAX));
        }
        self.inbound.borrow_mut().scan(bytes, |seen| {
            match seen {
                Seen::Frame(frame) => self.on_frame(frame),
                Seen::Fields(part) => self.responses.borrow_mut().fields.feed(part),
                Seen::EndOfFields => self.responses.borrow_mut().end_block(),
                Seen::Setting(_) => {}
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
            if let Seen::Frame(frame) = seen {
                match frame.kind {
                    HEADERS | DATA => self.reasons.update(|reasons| reasons.saturating_add(1)),
                    RST_STREAM => self.responses.borrow_mut().forget(frame.stream),
                    _ => {}
                }
            }
            ControlFlow::Continue(())
        });
    }
}

/// More requests than a connection to an endpoint ever has at one time, but where that asks for more.
const BEGUN_MAX: usize = 1024;
