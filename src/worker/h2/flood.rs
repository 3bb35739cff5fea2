//! What a client may do to a connection that costs it less than us, and what none may do at all: seen by the heads of the frames that
//! pass, and by the settings among them.
//!
//! No I/O and no clock. Every count has a bound in a window of time; beyond it the connection ends with GOAWAY. The
//! `h2` crate has bounds of its own; these do not depend on its version, count what it does not, and say what it was. Faults that
//! these show are found here where the crate finds none, or has another code for them than RFC 9113 demands.
//!
//! ```text
//! bytes in ──► Scanner ──► heads, settings ──► counts, faults ──► Abuse ──► GOAWAY, closed, counted
//! bytes out ─► Scanner ──► our resets, DATA ────┘      └► what came before ──► h2
//! ```

use std::ops::ControlFlow;
use std::rc::Rc;

use crate::limits;
use h2::Reason;
use ringway_model::Tick;

use super::fields::{Fields, Malformed};

/// Counts what happens on one connection.
pub(crate) struct Guard {
    inbound: Scanner,
    outbound: Scanner,
    /// The client's SETTINGS came.
    is_greeted: bool,
    /// Of the header block that is being received.
    continuations: u32,
    /// The last stream that the client has opened.
    last_stream: u32,
    fields: Fields,
    /// Of the header block that is being received: its stream, and whether it is trailers.
    block: (u32, bool),
    malformed: Rc<Malformed>,
    /// Bytes of DATA that came, in all.
    data_bytes: u64,
    /// Streams that the client has ended and we have not, oldest first: nothing more of a request may come on them.
    ended: Vec<u32>,
    window: Counts,
    since: Tick,
    abuse: Option<Abuse>,
}

/// What a client did too much of, or what none may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Abuse {
    /// Requests taken back (CVE-2023-44487).
    Resets,
    /// Errors that made us reset streams (CVE-2025-8671).
    Errors,
    /// Pieces of one header block (CVE-2024-27316).
    Continuations,
    /// DATA without data.
    EmptyData,
    /// Pings.
    Pings,
    /// Settings.
    Settings,
    /// Priorities, and frames that mean nothing here.
    Idle,
    /// Window updates without data to account for them.
    WindowUpdates,
    /// Something else than SETTINGS behind the preface (RFC 9113 §3.4).
    Preface,
    /// A frame that is longer or shorter than its kind may be (RFC 9113 §4.2).
    FrameSize,
    /// More of a request whose end has come (RFC 9113 §5.1).
    Closed,
    /// A window beyond what any may be (RFC 9113 §6.5.2).
    FlowControl,
}

impl Abuse {
    /// The word in metrics and logs.
    pub(crate) fn word(self) -> &'static str {
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

    /// What the client is told.
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

#[derive(Default)]
struct Counts {
    /// Requests begun.
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

impl Guard {
    /// A connection of which nothing has passed yet.
    pub(crate) fn new(now: Tick) -> Self {
        Self {
            inbound: Scanner::after(PREFACE_BYTES),
            outbound: Scanner::after(0),
            is_greeted: false,
            continuations: 0,
            last_stream: 0,
            fields: Fields::default(),
            block: (0, false),
            malformed: Rc::default(),
            data_bytes: 0,
            ended: Vec::new(),
            window: Counts::default(),
            since: now,
            abuse: None,
        }
    }

    /// Looks at what the client sent; how many of the bytes stand before what was too much.
    pub(crate) fn read(&mut self, bytes: &[u8], now: Tick) -> usize {
        if now.since(self.since) >= limits::H2_ABUSE_WINDOW {
            self.window = Counts::default();
            self.since = now;
        }
        if self.abuse.is_some() {
            return 0;
        }
        let mut inbound = std::mem::take(&mut self.inbound);
        let passed = inbound.scan(bytes, |seen| {
            self.abuse = match seen {
                Seen::Frame(frame) => self.fault(frame).or_else(|| self.count_read(frame)),
                Seen::Setting(setting) => setting.fault(),
                Seen::Fields(part) => {
                    self.fields.feed(part);
                    None
                }
                Seen::EndOfFields => {
                    self.end_block();
                    None
                }
            };
            if self.abuse.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.inbound = inbound;
        passed
    }

    /// Looks at what we sent. What is too much is told with the next bytes of the client, which caused it.
    pub(crate) fn written(&mut self, bytes: &[u8]) {
        let mut outbound = std::mem::take(&mut self.outbound);
        outbound.scan(bytes, |seen| {
            if let Seen::Frame(frame) = seen {
                self.count_written(frame);
            }
            ControlFlow::Continue(())
        });
        self.outbound = outbound;
    }

    /// Streams whose trailers had pseudo-fields, for those who read them.
    pub(super) fn malformed(&self) -> Rc<Malformed> {
        self.malformed.clone()
    }

    /// Bytes of DATA that came since this was asked last.
    pub(super) fn take_data_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.data_bytes)
    }

    fn end_block(&mut self) {
        let (stream, is_trailers) = self.block;
        if self.fields.end().has_pseudo && is_trailers {
            self.malformed.put(stream);
        }
    }

    /// What the client did too much of, or should not have done.
    pub(crate) fn abuse(&self) -> Option<Abuse> {
        self.abuse
    }

    /// What no client may do, and this frame does. All of it ends the connection, also what an answer to its stream would be enough
    /// for (RFC 9113 §5.4.1).
    fn fault(&mut self, frame: Frame) -> Option<Abuse> {
        if !std::mem::replace(&mut self.is_greeted, true) && frame.kind != SETTINGS {
            return Some(Abuse::Preface);
        }
        if !frame.has_a_possible_size() {
            return Some(Abuse::FrameSize);
        }
        if matches!(frame.kind, HEADERS | DATA) && self.ended.contains(&frame.stream) {
            return Some(Abuse::Closed);
        }
        if frame.kind == RST_STREAM {
            self.forget(frame.stream);
        } else if frame.ends_a_message() {
            // Streams that we had reset before their ends came are never answered: they make room.
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

    /// What the client does too much of with this frame.
    fn count_read(&mut self, frame: Frame) -> Option<Abuse> {
        let window = &mut self.window;
        match frame.kind {
            DATA => {
                self.data_bytes += frame.len as u64;
                window.empty_data += u32::from(!frame.has_data() && frame.flags & END_STREAM == 0);
                (window.empty_data > limits::H2_EMPTY_DATA_MAX).then_some(Abuse::EmptyData)
            }
            HEADERS => {
                self.continuations = 0;
                // A stream is opened with the head of its request: what comes on an older one are trailers.
                self.block = (frame.stream, frame.stream <= self.last_stream);
                self.last_stream = self.last_stream.max(frame.stream);
                window.opened += 1;
                None
            }
            CONTINUATION => {
                self.continuations += 1;
                (self.continuations > limits::H2_CONTINUATIONS_MAX).then_some(Abuse::Continuations)
            }
            RST_STREAM => {
                window.resets += 1;
                // A client may change its mind, but not about most of what it asks for.
                let is_flood = window.resets > limits::H2_RESETS_MAX && window.resets > window.opened / 2;
                is_flood.then_some(Abuse::Resets)
            }
            PING => {
                window.pings += 1;
                (window.pings > limits::H2_PINGS_MAX).then_some(Abuse::Pings)
            }
            SETTINGS => {
                window.settings += 1;
                (window.settings > limits::H2_SETTINGS_MAX).then_some(Abuse::Settings)
            }
            WINDOW_UPDATE => {
                window.window_updates += 1;
                let due = limits::H2_WINDOW_UPDATES_MAX.max(window.data_sent.saturating_mul(4));
                (window.window_updates > due).then_some(Abuse::WindowUpdates)
            }
            // PRIORITY, PUSH_PROMISE, GOAWAY, and whatever else there may be.
            _ => {
                window.idle += 1;
                let due = limits::H2_IDLE_FRAMES_MAX.max(window.opened.saturating_mul(4));
                (window.idle > due).then_some(Abuse::Idle)
            }
        }
    }

    fn count_written(&mut self, frame: Frame) {
        if frame.kind == RST_STREAM || frame.ends_a_message() {
            self.forget(frame.stream);
        }
        match frame.kind {
            DATA => self.window.data_sent += 1,
            // NO_ERROR follows an early answer, INTERNAL_ERROR and CANCEL are the app's doing: none is the client's.
            RST_STREAM if !matches!(frame.code, 0x0 | 0x2 | 0x8) => {
                self.window.errors += 1;
                if self.window.errors > limits::H2_ERRORS_MAX {
                    self.abuse = self.abuse.or(Some(Abuse::Errors));
                }
            }
            _ => {}
        }
    }
}

/// Finds the frame heads and the settings in a stream of bytes, however it is cut.
#[derive(Default)]
pub(super) struct Scanner {
    /// What is there of a head, and of what follows it that says more: the error code of a RST_STREAM, the length of padding.
    head: [u8; HEAD_BYTES + CODE_BYTES],
    have: usize,
    /// Bytes until the next head.
    skip: usize,
    /// These bytes are settings.
    has_settings: bool,
    /// What is there of one.
    setting: [u8; SETTING_BYTES],
    setting_have: usize,
    /// Of these bytes, so many at first are no fields, and so many behind them are; nothing where they belong to no header block.
    fields: Option<(usize, usize)>,
    /// The header block ends with them.
    is_last: bool,
}

/// What a [`Scanner`] finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen<'a> {
    /// A frame, by its head.
    Frame(Frame),
    /// One setting of the SETTINGS whose head was seen last.
    Setting(Setting),
    /// A part of the header block whose frame was seen last.
    Fields(&'a [u8]),
    /// All of that block was seen.
    EndOfFields,
}

/// RFC 9113 §6.5.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    id: u16,
    value: u32,
}

impl Setting {
    /// What is wrong with it by itself. Of the others the crate knows, and says what RFC 9113 §6.5.2 names.
    fn fault(self) -> Option<Abuse> {
        (self.id == INITIAL_WINDOW_SIZE && self.value > WINDOW_MAX).then_some(Abuse::FlowControl)
    }
}

/// What a frame's head says (RFC 9113 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) len: usize,
    pub(super) kind: u8,
    flags: u8,
    pub(super) stream: u32,
    /// Of a RST_STREAM.
    code: u32,
    /// Of DATA and HEADERS: bytes behind the data, and the one that says how many.
    padding: usize,
}

impl Frame {
    pub(super) fn ends_a_message(self) -> bool {
        matches!(self.kind, HEADERS | DATA) && self.flags & END_STREAM != 0
    }

    /// Whether DATA bring any.
    pub(super) fn has_data(self) -> bool {
        self.len > self.padding
    }

    /// Whether it answers a PING or SETTINGS.
    pub(super) fn is_ack(self) -> bool {
        self.flags & ACK != 0
    }

    /// Where the fields of a header block lie behind what was read with the head, if it has any: what stands before them, and their
    /// length.
    fn fields(self) -> Option<(usize, usize)> {
        let front = match self.kind {
            HEADERS if self.flags & WITH_PRIORITY != 0 => PRIORITY_BYTES,
            HEADERS | CONTINUATION => 0,
            _ => return None,
        };
        Some((front, self.len.saturating_sub(self.padding + front)))
    }

    /// Whether a frame of this kind may be so long, by its head alone (RFC 9113 §4.2 and §6). A length of padding that does not
    /// fit is another error, and so is a frame on the wrong stream.
    fn has_a_possible_size(self) -> bool {
        let has = |flag: u8| usize::from(self.flags & flag != 0);
        let is_possible = match self.kind {
            DATA => self.len >= has(PADDED),
            HEADERS => self.len >= has(PADDED) + PRIORITY_BYTES * has(WITH_PRIORITY),
            PRIORITY => self.len == PRIORITY_BYTES,
            RST_STREAM | WINDOW_UPDATE => self.len == CODE_BYTES,
            SETTINGS if has(ACK) == 1 => self.len == 0,
            SETTINGS => self.len.is_multiple_of(SETTING_BYTES),
            PING => self.len == PING_BYTES,
            GOAWAY => self.len >= GOAWAY_BYTES_MIN,
            _ => true,
        };
        is_possible && self.len <= FRAME_BYTES_MAX
    }
}

impl Scanner {
    /// One whose first frame stands behind so many bytes.
    pub(super) fn after(skip: usize) -> Self {
        Self { skip, ..Self::default() }
    }

    /// Tells each frame whose head has come whole, and its settings. One that it is to stop at ends the scan; how many of the bytes
    /// stand before that frame.
    pub(super) fn scan(&mut self, all: &[u8], mut on_seen: impl FnMut(Seen<'_>) -> ControlFlow<()>) -> usize {
        let mut bytes = all;
        // Where the head stands that is being read. It may have begun before these bytes.
        let mut begin = 0;
        loop {
            let (skipped, rest) = bytes.split_at(self.skip.min(bytes.len()));
            self.skip -= skipped.len();
            bytes = rest;
            if self.has_settings && self.read_settings(skipped, &mut on_seen).is_break() {
                return begin;
            }
            if self.fields.is_some() && self.read_fields(skipped, &mut on_seen).is_break() {
                return begin;
            }
            if bytes.is_empty() {
                return all.len();
            }
            if self.have == 0 {
                begin = all.len() - bytes.len();
            }
            let want = match self.have {
                HEAD_BYTES.. => HEAD_BYTES + self.more(),
                _ => HEAD_BYTES,
            };
            let taken = (want - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < want {
                return all.len();
            }
            let more = self.more();
            if self.have < HEAD_BYTES + more {
                continue;
            }
            let [a, b, c, kind, flags, s, t, u, v, code @ ..] = self.head;
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            let (code, padding) = match more {
                CODE_BYTES => (u32::from_be_bytes(code), 0),
                PADDING_BYTES => (0, PADDING_BYTES + usize::from(code[0])),
                _ => (0, 0),
            };
            // The first bit is reserved.
            let stream = u32::from_be_bytes([s & 0x7f, t, u, v]);
            self.skip = len - (self.have - HEAD_BYTES);
            self.have = 0;
            self.has_settings = kind == SETTINGS;
            self.setting_have = 0;
            let frame = Frame { len, kind, flags, stream, code, padding };
            self.fields = frame.fields();
            self.is_last = flags & END_HEADERS != 0;
            if on_seen(Seen::Frame(frame)).is_break() {
                return begin;
            }
        }
    }

    /// Bytes behind a whole head that are read with it.
    fn more(&self) -> usize {
        let [a, b, c, kind, flags, ..] = self.head;
        let len = u32::from_be_bytes([0, a, b, c]) as usize;
        match kind {
            RST_STREAM if len == CODE_BYTES => CODE_BYTES,
            DATA | HEADERS if flags & PADDED != 0 && len > 0 => PADDING_BYTES,
            _ => 0,
        }
    }

    fn read_fields(
        &mut self,
        bytes: &[u8],
        on_seen: &mut impl FnMut(Seen<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some((front, left)) = &mut self.fields else { return ControlFlow::Continue(()) };
        let (before, rest) = bytes.split_at((*front).min(bytes.len()));
        *front -= before.len();
        let part = &rest[..(*left).min(rest.len())];
        *left -= part.len();
        if !part.is_empty() {
            on_seen(Seen::Fields(part))?;
        }
        if self.skip == 0 {
            self.fields = None;
            if self.is_last {
                on_seen(Seen::EndOfFields)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn read_settings(
        &mut self,
        bytes: &[u8],
        on_seen: &mut impl FnMut(Seen<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for &byte in bytes {
            self.setting[self.setting_have] = byte;
            self.setting_have = (self.setting_have + 1) % SETTING_BYTES;
            if self.setting_have == 0 {
                let [a, b, c, d, e, f] = self.setting;
                let (id, value) = (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]));
                on_seen(Seen::Setting(Setting { id, value }))?;
            }
        }
        ControlFlow::Continue(())
    }
}

/// RFC 9113 §3.4.
pub(super) const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const CODE_BYTES: usize = 4;
const PADDING_BYTES: usize = 1;
const PRIORITY_BYTES: usize = 5;
const SETTING_BYTES: usize = 6;
const PING_BYTES: usize = 8;
const GOAWAY_BYTES_MIN: usize = 8;
/// What a peer may send to one that has not asked for more (RFC 9113 §4.2), as we have not.
const FRAME_BYTES_MAX: usize = 16_384;
/// RFC 9113 §6.9.1.
const WINDOW_MAX: u32 = (1 << 31) - 1;
/// As many requests as a client may have at one time; of more, the crate names the fault.
const ENDED_MAX: usize = limits::H2_STREAMS_MAX as usize;

// RFC 9113 §6.
pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
const PRIORITY: u8 = 0x2;
pub(super) const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
pub(super) const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const ACK: u8 = 0x1;
// RFC 9113 §6.5.2.
const INITIAL_WINDOW_SIZE: u16 = 0x4;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;

#[cfg(test)]
#[path = "flood_tests.rs"]
mod tests;
