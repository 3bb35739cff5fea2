//! What a client may do to a connection that costs it less than us: counted over the frame heads that pass.
//!
//! No I/O and no clock. Every count has a bound in a window of time; beyond it the connection ends with GOAWAY. The
//! `h2` crate has bounds of its own; these do not depend on its version, count what it does not, and say what it was.
//!
//! ```text
//! bytes in ──► Scanner ──► frame heads ──► counts ──► Abuse ──► GOAWAY, closed, counted
//! bytes out ─► Scanner ──► our resets, DATA ──┘
//! ```

use h2::Reason;
use ringway_model::{Tick, limits};

/// Counts what happens on one connection.
pub(crate) struct Guard {
    inbound: Scanner,
    outbound: Scanner,
    /// Of the header block that is being received.
    continuations: u32,
    window: Counts,
    since: Tick,
    abuse: Option<Abuse>,
}

/// What a client did too much of.
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
    /// A frame that is longer or shorter than its kind may be: once is too much (RFC 9113 §4.2).
    FrameSize,
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
            Self::FrameSize => "frame_size",
        }
    }

    /// What the client is told.
    pub(crate) fn reason(self) -> Reason {
        match self {
            // RFC 9113 §4.2: the code is a MUST, and the crate has another one for most of these.
            Self::FrameSize => Reason::FRAME_SIZE_ERROR,
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
            continuations: 0,
            window: Counts::default(),
            since: now,
            abuse: None,
        }
    }

    /// Looks at what the client sent. False once it has done too much of something.
    pub(crate) fn read(&mut self, bytes: &[u8], now: Tick) -> bool {
        if now.since(self.since) >= limits::H2_ABUSE_WINDOW {
            self.window = Counts::default();
            self.since = now;
        }
        let mut inbound = std::mem::take(&mut self.inbound);
        inbound.scan(bytes, |frame| self.count_read(frame));
        self.inbound = inbound;
        self.abuse.is_none()
    }

    /// Looks at what we sent. What is too much is told with the next bytes of the client, which caused it.
    pub(crate) fn written(&mut self, bytes: &[u8]) {
        let mut outbound = std::mem::take(&mut self.outbound);
        outbound.scan(bytes, |frame| self.count_written(frame));
        self.outbound = outbound;
    }

    /// What the client did too much of.
    pub(crate) fn abuse(&self) -> Option<Abuse> {
        self.abuse
    }

    fn count_read(&mut self, frame: Frame) {
        let window = &mut self.window;
        let too_much = match frame.kind {
            DATA => {
                window.empty_data += u32::from(frame.len == 0 && frame.flags & END_STREAM == 0);
                (window.empty_data > limits::H2_EMPTY_DATA_MAX).then_some(Abuse::EmptyData)
            }
            HEADERS => {
                self.continuations = 0;
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
        };
        let wrong = (!frame.has_a_possible_size()).then_some(Abuse::FrameSize);
        self.abuse = self.abuse.or(wrong).or(too_much);
    }

    fn count_written(&mut self, frame: Frame) {
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

/// Finds the frame heads in a stream of bytes, however it is cut.
#[derive(Default)]
pub(super) struct Scanner {
    /// What is there of a head, and of the error code of a RST_STREAM.
    head: [u8; HEAD_BYTES + CODE_BYTES],
    have: usize,
    /// Bytes until the next head.
    skip: usize,
}

/// What a frame's head says (RFC 9113 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) len: usize,
    pub(super) kind: u8,
    flags: u8,
    /// Of a RST_STREAM.
    code: u32,
}

impl Frame {
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

    pub(super) fn scan(&mut self, mut bytes: &[u8], mut on_frame: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let want = match self.have {
                HEAD_BYTES.. => HEAD_BYTES + CODE_BYTES,
                _ => HEAD_BYTES,
            };
            let taken = (want - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < want {
                return;
            }
            let [a, b, c, kind, flags, ..] = self.head;
            let len = u32::from_be_bytes([0, a, b, c]) as usize;
            if kind == RST_STREAM && len == CODE_BYTES && self.have == HEAD_BYTES {
                continue;
            }
            let code = match self.have {
                HEAD_BYTES => 0,
                _ => u32::from_be_bytes([self.head[9], self.head[10], self.head[11], self.head[12]]),
            };
            self.skip = len - (self.have - HEAD_BYTES);
            self.have = 0;
            on_frame(Frame { len, kind, flags, code });
        }
    }
}

/// RFC 9113 §3.4.
pub(super) const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const CODE_BYTES: usize = 4;
const PRIORITY_BYTES: usize = 5;
const SETTING_BYTES: usize = 6;
const PING_BYTES: usize = 8;
const GOAWAY_BYTES_MIN: usize = 8;
/// What a peer may send to one that has not asked for more (RFC 9113 §4.2), as we have not.
const FRAME_BYTES_MAX: usize = 16_384;

// RFC 9113 §6.
pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
const PRIORITY: u8 = 0x2;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const PADDED: u8 = 0x8;
const WITH_PRIORITY: u8 = 0x20;

#[cfg(test)]
mod tests;
