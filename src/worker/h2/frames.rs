//! Scanner of HTTP/2 frames: headers of frames, settings, and header blocks, without I/O, however the bytes
//! are cut.

use std::ops::ControlFlow;

/// Incremental scanner of frames in a stream of bytes.
#[derive(Default)]
pub(super) struct FrameScanner {
    /// Received part of a frame header, and of what follows it: the error code of RST_STREAM, the length of
    /// padding.
    head: [u8; HEAD_BYTES + CODE_BYTES],
    have: usize,
    /// Bytes until the next frame header.
    skip: usize,
    /// Those bytes are settings.
    has_settings: bool,
    /// Received part of a setting.
    setting: [u8; SETTING_BYTES],
    setting_have: usize,
    /// Of those bytes, the number that precede the fields, and the number of fields; `None` outside of header
    /// blocks.
    fields: Option<(usize, usize)>,
    /// The header block ends with those bytes.
    is_last: bool,
}

/// Event of a [`FrameScanner`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameEvent<'a> {
    /// Header of a frame.
    Frame(Frame),
    /// One setting of the last frame.
    Setting(Setting),
    /// Part of the header block of the last frame.
    Fields(&'a [u8]),
    /// End of a header block.
    EndOfFields,
}

/// Setting (RFC 9113 §6.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) id: u16,
    pub(super) value: u32,
}

/// Frame header (RFC 9113 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) len: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// Error code of RST_STREAM.
    pub(super) code: u32,
    /// Bytes of padding of DATA and HEADERS, with the byte of its length.
    pub(super) padding: usize,
}

impl Frame {
    /// Whether it ends the sender's side of the stream.
    pub(super) fn ends_stream(self) -> bool {
        matches!(self.kind, HEADERS | DATA) && self.flags & END_STREAM != 0
    }

    /// Whether DATA have data.
    pub(super) fn has_data(self) -> bool {
        self.len > self.padding
    }

    /// Whether it is the ACK of PING or SETTINGS.
    pub(super) fn is_ack(self) -> bool {
        self.flags & ACK != 0
    }

    /// Position of the fields after the bytes that were read with the header: the number of bytes before
    /// them, and their length.
    fn fields(self) -> Option<(usize, usize)> {
        let front = match self.kind {
            HEADERS if self.flags & WITH_PRIORITY != 0 => PRIORITY_BYTES,
            HEADERS | CONTINUATION => 0,
            _ => return None,
        };
        Some((front, self.len.saturating_sub(self.padding + front)))
    }

    /// Whether the length is valid for the type, by the header alone (RFC 9113 §4.2 and §6). Padding that
    /// does not fit and frames on the wrong stream are other errors.
    pub(super) fn has_valid_size(self) -> bool {
        let has = |flag: u8| usize::from(self.flags & flag != 0);
        let is_valid = match self.kind {
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
        is_valid && self.len <= FRAME_BYTES_MAX
    }
}

impl FrameScanner {
    /// A scanner whose first frame follows `skip` bytes.
    pub(super) fn after(skip: usize) -> Self {
        Self { skip, ..Self::default() }
    }

    /// Passes the events to `on_event`, which may end the scan; returns the number of bytes before the frame
    /// where it ended.
    pub(super) fn scan(
        &mut self,
        all: &[u8],
        mut on_event: impl FnMut(FrameEvent<'_>) -> ControlFlow<()>,
    ) -> usize {
        let mut bytes = all;
        // Start of the current frame header, which may precede these bytes.
        let mut begin = 0;
        loop {
            let (skipped, rest) = bytes.split_at(self.skip.min(bytes.len()));
            self.skip -= skipped.len();
            bytes = rest;
            if self.has_settings && self.read_settings(skipped, &mut on_event).is_break() {
                return begin;
            }
            if self.fields.is_some() && self.read_fields(skipped, &mut on_event).is_break() {
                return begin;
            }
            if bytes.is_empty() {
                return all.len();
            }
            if self.have == 0 {
                begin = all.len() - bytes.len();
            }
            let needed = match self.have {
                HEAD_BYTES.. => HEAD_BYTES + self.more(),
                _ => HEAD_BYTES,
            };
            let taken = (needed - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < needed {
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
            if on_event(FrameEvent::Frame(frame)).is_break() {
                return begin;
            }
        }
    }

    /// Bytes after a complete header that are read with it.
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
        on_event: &mut impl FnMut(FrameEvent<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let Some((front, left)) = &mut self.fields else { return ControlFlow::Continue(()) };
        let (before, rest) = bytes.split_at((*front).min(bytes.len()));
        *front -= before.len();
        let part = &rest[..(*left).min(rest.len())];
        *left -= part.len();
        if !part.is_empty() {
            on_event(FrameEvent::Fields(part))?;
        }
        if self.skip == 0 {
            self.fields = None;
            if self.is_last {
                on_event(FrameEvent::EndOfFields)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn read_settings(
        &mut self,
        bytes: &[u8],
        on_event: &mut impl FnMut(FrameEvent<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for &byte in bytes {
            self.setting[self.setting_have] = byte;
            self.setting_have = (self.setting_have + 1) % SETTING_BYTES;
            if self.setting_have == 0 {
                let [a, b, c, d, e, f] = self.setting;
                let (id, value) = (u16::from_be_bytes([a, b]), u32::from_be_bytes([c, d, e, f]));
                on_event(FrameEvent::Setting(Setting { id, value }))?;
            }
        }
        ControlFlow::Continue(())
    }
}

/// Connection preface (RFC 9113 §3.4).
pub(super) const PREFACE_BYTES: usize = 24;
pub(super) const HEAD_BYTES: usize = 9;
const CODE_BYTES: usize = 4;
const PADDING_BYTES: usize = 1;
const PRIORITY_BYTES: usize = 5;
const SETTING_BYTES: usize = 6;
const PING_BYTES: usize = 8;
const GOAWAY_BYTES_MIN: usize = 8;
/// Default of SETTINGS_MAX_FRAME_SIZE (RFC 9113 §4.2), which is not raised.
const FRAME_BYTES_MAX: usize = 16_384;

// Types and flags of frames (RFC 9113 §6).
pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const PRIORITY: u8 = 0x2;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const PING: u8 = 0x6;
pub(super) const GOAWAY: u8 = 0x7;
pub(super) const WINDOW_UPDATE: u8 = 0x8;
pub(super) const CONTINUATION: u8 = 0x9;
pub(super) const END_STREAM: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
pub(super) const ACK: u8 = 0x1;
pub(super) const PADDED: u8 = 0x8;
pub(super) const WITH_PRIORITY: u8 = 0x20;

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
