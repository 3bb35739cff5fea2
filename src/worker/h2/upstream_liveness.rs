//! Watch over an endpoint's HTTP/2 connection: liveness, floods of frames that belong to no request, and
//! malformed trailers.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::rc::Rc;

use crate::limits;
use ringway_model::Tick;

use super::fields::{Fields, Malformed};
use super::frames::{DATA, Frame, FrameEvent, FrameScanner, HEADERS, PING, PREFACE_BYTES, RST_STREAM};
use super::liveness::Liveness;
use super::pipe::Watch;

/// Watch over one connection to an endpoint.
pub(super) struct UpstreamWatch {
    pub(super) liveness: RefCell<Liveness>,
    inbound: RefCell<FrameScanner>,
    outbound: RefCell<FrameScanner>,
    responses: RefCell<Responses>,
    /// Frames received without data, since `since`.
    frames: Cell<u32>,
    /// Requests in progress at `since`, and HEADERS and DATA sent since then: what those frames may belong
    /// to.
    causes: Cell<u32>,
    since: Cell<Tick>,
    /// Bytes of DATA received.
    data_bytes: Cell<u64>,
    /// Requests in progress.
    pub(super) active: Cell<usize>,
    is_flood: Cell<bool>,
}

/// State of the responses, as far as it takes to recognise trailers.
#[derive(Default)]
struct Responses {
    fields: Fields,
    /// Stream of the current header block, and whether the response ends with it.
    block: (u32, bool),
    /// Streams whose final head was received, and whose end was not.
    begun: Vec<u32>,
    malformed: Rc<Malformed>,
}

impl UpstreamWatch {
    pub(super) fn new(now: Tick) -> Self {
        Self {
            liveness: RefCell::new(Liveness::new(now)),
            inbound: RefCell::new(FrameScanner::after(0)),
            outbound: RefCell::new(FrameScanner::after(PREFACE_BYTES)),
            responses: RefCell::default(),
            frames: Cell::new(0),
            causes: Cell::new(0),
            since: Cell::new(now),
            data_bytes: Cell::new(0),
            active: Cell::new(0),
            is_flood: Cell::new(false),
        }
    }

    /// Whether the endpoint floods the connection, which must end then.
    pub(super) fn is_flood(&self) -> bool {
        self.is_flood.get()
    }

    /// Streams whose trailers had pseudo-fields, for their readers.
    pub(super) fn malformed(&self) -> Rc<Malformed> {
        self.responses.borrow().malformed.clone()
    }

    /// Returns the bytes of DATA received since the last call.
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
            HEADERS => self.block = (frame.stream, frame.ends_stream()),
            RST_STREAM => self.forget(frame.stream),
            DATA if frame.ends_stream() => self.forget(frame.stream),
            _ => {}
        }
    }

    /// Ends a header block: trailers, if the final head was received before.
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

impl Watch for UpstreamWatch {
    /// Bounds the frames: an endpoint that sends frames without responses would keep the core to itself.
    fn on_read(&self, bytes: &[u8], now: Tick) -> usize {
        self.liveness.borrow_mut().note_bytes(now);
        if now.since(self.since.get()) >= limits::H2_FLOOD_WINDOW {
            self.since.set(now);
            self.frames.set(0);
            self.causes.set(u32::try_from(self.active.get()).unwrap_or(u32::MAX));
        }
        self.inbound.borrow_mut().scan(bytes, |event| {
            match event {
                FrameEvent::Frame(frame) => self.on_frame(frame),
                FrameEvent::Fields(part) => self.responses.borrow_mut().fields.feed(part),
                FrameEvent::EndOfFields => self.responses.borrow_mut().end_block(),
                FrameEvent::Setting(_) => {}
            }
            ControlFlow::Continue(())
        });
        let due = self.causes.get().saturating_mul(limits::H2_UPSTREAM_FRAMES_PER_REQUEST_MAX);
        if self.frames.get() > due.max(limits::H2_UPSTREAM_FRAMES_MAX) {
            self.is_flood.set(true);
        }
        if self.is_flood.get() { 0 } else { bytes.len() }
    }

    fn on_written(&self, bytes: &[u8]) {
        self.outbound.borrow_mut().scan(bytes, |event| {
            if let FrameEvent::Frame(frame) = event {
                match frame.kind {
                    HEADERS | DATA => self.causes.update(|causes| causes.saturating_add(1)),
                    RST_STREAM => self.responses.borrow_mut().forget(frame.stream),
                    _ => {}
                }
            }
            ControlFlow::Continue(())
        });
    }
}

/// Streams with trailers to recognise: more than a connection has at one time, unless the endpoint allows
/// more.
const BEGUN_MAX: usize = 1024;
