//! HTTP/2 flood protection: limits of frames per time window, and protocol violations; both end the
//! connection with GOAWAY.
//!
//! No I/O and no clock. The `h2` crate has limits of its own; these do not depend on its version, count
//! frames that it does not, and name the violation. Violations are detected here where the crate detects
//! none, or has another error code than RFC 9113 demands.
//!
//! ```text
//! bytes in ──► FrameScanner ──► frames, settings ──► counters, checks ──► Violation ──► GOAWAY, closed, counted
//! bytes out ─► FrameScanner ──► our resets, DATA ─────┘      └► the bytes before it ──► h2
//! ```

use std::ops::ControlFlow;
use std::rc::Rc;

use crate::limits;
use h2::Reason;
use ringway_model::Tick;

use super::fields::{Fields, Malformed};
use super::frames::{
    CONTINUATION, DATA, END_STREAM, Frame, FrameEvent, FrameScanner, HEADERS, PING, PREFACE_BYTES,
    RST_STREAM, SETTINGS, Setting, WINDOW_UPDATE,
};

/// Flood protection of one client connection.
pub(crate) struct FloodGuard {
    inbound: FrameScanner,
    outbound: FrameScanner,
    /// The client's first SETTINGS were received.
    has_settings: bool,
    /// CONTINUATION frames of the current header block.
    continuations: u32,
    /// Last stream that the client has opened.
    last_stream: u32,
    fields: Fields,
    /// Current header block: its stream, and whether it is trailers.
    block: (u32, bool),
    malformed: Rc<Malformed>,
    /// Bytes of DATA received since the last take.
    data_bytes: u64,
    /// Streams that the client has ended and we have not, oldest first: no more HEADERS or DATA may come on
    /// them.
    ended: Vec<u32>,
    window: Counters,
    since: Tick,
    violation: Option<Violation>,
}

/// Limit exceeded by a client, or its violation of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Streams reset by the client: rapid reset (CVE-2023-44487).
    Resets,
    /// Streams reset by us for errors of the client (CVE-2025-8671).
    Errors,
    /// CONTINUATION frames of one header block (CVE-2024-27316).
    Continuations,
    /// Empty DATA.
    EmptyData,
    /// PING.
    Pings,
    /// SETTINGS.
    Settings,
    /// PRIORITY, and frames without a meaning here.
    Idle,
    /// WINDOW_UPDATE beyond those due for sent DATA.
    WindowUpdates,
    /// No SETTINGS after the preface (RFC 9113 §3.4).
    Preface,
    /// Invalid length of a frame (RFC 9113 §4.2).
    FrameSize,
    /// HEADERS or DATA after the end of a request (RFC 9113 §5.1).
    Closed,
    /// Window above the maximum (RFC 9113 §6.5.2).
    FlowControl,
}

impl Violation {
    /// Label in metrics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::Errors => "errors",
            Self::Continuations => "continuations",
            Self::EmptyData => "empty_data",
            Self::Pings => "pings",
            Self::Settings => "settings",
            Self::Idle => "idle_frames",
            Self::WindowUpdates => "window_updates",
            Self::Preface => "preface",
            Self::FrameSize => "frame_size",
            Self::Closed => "closed",
            Self::FlowControl => "flow_control",
        }
    }

    /// Error code of GOAWAY.
    pub(crate) fn reason(self) -> Reason {
        match self {
            Self::Preface => Reason::PROTOCOL_ERROR,
            Self::FrameSize => Reason::FRAME_SIZE_ERROR,
            Self::Closed => Reason::STREAM_CLOSED,
            Self::FlowControl => Reason::FLOW_CONTROL_ERROR,
            Self::Resets
            | Self::Errors
            | Self::Continuations
            | Self::EmptyData
            | Self::Pings
            | Self::Settings
            | Self::Idle
            | Self::WindowUpdates => Reason::ENHANCE_YOUR_CALM,
        }
    }
}

/// Frames since the start of the time window.
#[derive(Default)]
struct Counters {
    /// Requests.
    opened: u32,
    resets: u32,
    errors: u32,
    empty_data: u32,
    pings: u32,
    settings: u32,
    idle: u32,
    window_updates: u32,
    /// DATA frames sent.
    data_sent: u32,
}

impl FloodGuard {
    /// Flood protection of a new connection.
    pub(crate) fn new(now: Tick) -> Self {
        Self {
            inbound: FrameScanner::after(PREFACE_BYTES),
            outbound: FrameScanner::after(0),
            has_settings: false,
            continuations: 0,
            last_stream: 0,
            fields: Fields::default(),
            block: (0, false),
            malformed: Rc::default(),
            data_bytes: 0,
            ended: Vec::new(),
            window: Counters::default(),
            since: now,
            violation: None,
        }
    }

    /// Checks bytes of the client; returns the number of bytes before the violation.
    pub(crate) fn on_read(&mut self, bytes: &[u8], now: Tick) -> usize {
        if now.since(self.since) >= limits::H2_FLOOD_WINDOW {
            self.window = Counters::default();
            self.since = now;
        }
        if self.violation.is_some() {
            return 0;
        }
        let mut inbound = std::mem::take(&mut self.inbound);
        let passed = inbound.scan(bytes, |event| {
            self.violation = match event {
                FrameEvent::Frame(frame) => self.check(frame).or_else(|| self.count_read(frame)),
                FrameEvent::Setting(setting) => check_setting(setting),
                FrameEvent::Fields(part) => {
                    self.fields.feed(part);
                    None
                }
                FrameEvent::EndOfFields => {
                    self.end_block();
                    None
                }
            };
            if self.violation.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.inbound = inbound;
        passed
    }

    /// Counts bytes that we sent. A violation takes effect with the next bytes of the client, which has
    /// caused it.
    pub(crate) fn on_written(&mut self, bytes: &[u8]) {
        let mut outbound = std::mem::take(&mut self.outbound);
        outbound.scan(bytes, |event| {
            if let FrameEvent::Frame(frame) = event {
                self.count_written(frame);
            }
            ControlFlow::Continue(())
        });
        self.outbound = outbound;
    }

    /// Streams whose trailers had pseudo-fields, for their readers.
    pub(super) fn malformed(&self) -> Rc<Malformed> {
        self.malformed.clone()
    }

    /// Returns the bytes of DATA received since the last call.
    pub(super) fn take_data_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.data_bytes)
    }

    fn end_block(&mut self) {
        let (stream, is_trailers) = self.block;
        if self.fields.end().has_pseudo && is_trailers {
            self.malformed.put(stream);
        }
    }

    /// Returns the violation, if there was one.
    pub(crate) fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// Checks a frame against the protocol. Each violation ends the connection, also one for which RFC 9113
    /// would have the stream reset (§5.4.1).
    fn check(&mut self, frame: Frame) -> Option<Violation> {
        if !std::mem::replace(&mut self.has_settings, true) && frame.kind != SETTINGS {
            return Some(Violation::Preface);
        }
        if !frame.has_valid_size() {
            return Some(Violation::FrameSize);
        }
        if matches!(frame.kind, HEADERS | DATA) && self.ended.contains(&frame.stream) {
            return Some(Violation::Closed);
        }
        if frame.kind == RST_STREAM {
            self.forget(frame.stream);
        } else if frame.ends_stream() {
            // Streams that we reset before their end came stay in the list until they are evicted.
            if self.ended.len() == ENDED_MAX {
                self.ended.remove(0);
            }
            self.ended.push(frame.stream);
        }
        None
    }

    fn forget(&mut self, stream: u32) {
        self.ended.retain(|ended| *ended != stream);
    }

    /// Counts a frame of the client against its limit.
    fn count_read(&mut self, frame: Frame) -> Option<Violation> {
        let window = &mut self.window;
        match frame.kind {
            DATA => {
                self.data_bytes += frame.len as u64;
                window.empty_data += u32::from(!frame.has_data() && frame.flags & END_STREAM == 0);
                (window.empty_data > limits::H2_EMPTY_DATA_MAX).then_some(Violation::EmptyData)
            }
            HEADERS => {
                self.continuations = 0;
                // HEADERS open a new stream; on an older one they are trailers.
                self.block = (frame.stream, frame.stream <= self.last_stream);
                self.last_stream = self.last_stream.max(frame.stream);
                window.opened += 1;
                None
            }
            CONTINUATION => {
                self.continuations += 1;
                (self.continuations > limits::H2_CONTINUATIONS_MAX).then_some(Violation::Continuations)
            }
            RST_STREAM => {
                window.resets += 1;
                // A client may cancel requests, but not most of them.
                let is_flood = window.resets > limits::H2_RESETS_MAX && window.resets > window.opened / 2;
                is_flood.then_some(Violation::Resets)
            }
            PING => {
                window.pings += 1;
                (window.pings > limits::H2_PINGS_MAX).then_some(Violation::Pings)
            }
            SETTINGS => {
                window.settings += 1;
                (window.settings > limits::H2_SETTINGS_MAX).then_some(Violation::Settings)
            }
            WINDOW_UPDATE => {
                window.window_updates += 1;
                let due = limits::H2_WINDOW_UPDATES_MAX.max(window.data_sent.saturating_mul(4));
                (window.window_updates > due).then_some(Violation::WindowUpdates)
            }
            // PRIORITY, PUSH_PROMISE, GOAWAY, and unknown types.
            _ => {
                window.idle += 1;
                let due = limits::H2_IDLE_FRAMES_MAX.max(window.opened.saturating_mul(4));
                (window.idle > due).then_some(Violation::Idle)
            }
        }
    }

    fn count_written(&mut self, frame: Frame) {
        if frame.kind == RST_STREAM || frame.ends_stream() {
            self.forget(frame.stream);
        }
        match frame.kind {
            DATA => self.window.data_sent += 1,
            // NO_ERROR follows an early response, INTERNAL_ERROR and CANCEL are caused by the app: none by
            // the client.
            RST_STREAM if !matches!(frame.code, 0x0 | 0x2 | 0x8) => {
                self.window.errors += 1;
                if self.window.errors > limits::H2_ERRORS_MAX {
                    self.violation = self.violation.or(Some(Violation::Errors));
                }
            }
            _ => {}
        }
    }
}

/// Checks a setting by itself. The `h2` crate checks the others, with the error codes of RFC 9113 §6.5.2.
fn check_setting(setting: Setting) -> Option<Violation> {
    (setting.id == INITIAL_WINDOW_SIZE && setting.value > WINDOW_MAX).then_some(Violation::FlowControl)
}

/// RFC 9113 §6.9.1.
const WINDOW_MAX: u32 = (1 << 31) - 1;
/// RFC 9113 §6.5.2.
const INITIAL_WINDOW_SIZE: u16 = 0x4;
/// The limit of concurrent requests of a client; beyond it, the `h2` crate detects the violation.
const ENDED_MAX: usize = limits::H2_STREAMS_MAX as usize;

#[cfg(test)]
#[path = "flood_tests.rs"]
mod tests;
