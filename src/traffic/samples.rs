//! Samples of request heads: the last ones of a core, by which a change is simulated before it is made.
//!
//! One request of `SAMPLE_INTERVAL` is kept, as an HTTP/1.1 head without a body and without values that may
//! be secrets. Memory is taken at the first sample, and never more than `SAMPLE_BYTES_MAX` and its index.

use std::collections::VecDeque;
use std::fmt;

use ringway_wire::h1::{RequestHead, TargetForm};

use crate::limits::{
    SAMPLE_BYTES_MAX, SAMPLE_FIELD_BYTES_MAX, SAMPLE_FIELDS_MAX, SAMPLE_INTERVAL, SAMPLE_LINE_BYTES_MAX,
    SAMPLES_MAX,
};

/// Request samples of one core.
#[derive(Debug, Default)]
pub struct Samples {
    /// Requests until the next sample.
    left: u8,
    ring: Ring,
    /// The head being encoded.
    head: Vec<u8>,
}

impl Samples {
    /// Counts a request. Returns whether it is to be [recorded](Samples::record).
    #[inline]
    pub fn is_due(&mut self) -> bool {
        let is_due = self.left == 0;
        self.left = if is_due { SAMPLE_INTERVAL - 1 } else { self.left - 1 };
        is_due
    }

    /// Records a request whose head is in `buf`; one with a very long target is left out. Copies at most
    /// 4 KiB, and allocates at the first call only.
    #[cold]
    pub fn record(&mut self, request: &RequestHead, buf: &[u8]) {
        self.head.clear();
        if encode(request, buf, &mut self.head) {
            self.ring.push(&self.head);
        }
    }

    /// Copies the samples, the oldest first.
    pub fn copy(&self) -> SampledHeads {
        let mut heads = SampledHeads::default();
        for head in self.ring.iter() {
            heads.push(head);
        }
        heads
    }
}

/// Sampled request heads, each parsable as HTTP/1.1.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SampledHeads {
    bytes: Vec<u8>,
    /// End of each head in `bytes`.
    ends: Vec<usize>,
}

impl SampledHeads {
    /// Number of heads.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The heads, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }

    /// Adds a head.
    pub fn push(&mut self, head: &[u8]) {
        self.bytes.extend_from_slice(head);
        self.ends.push(self.bytes.len());
    }
}

impl fmt::Debug for SampledHeads {
    /// Omits the heads, which clients sent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SampledHeads").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Byte strings in a buffer of fixed size; the oldest make room.
#[derive(Default)]
struct Ring {
    bytes: Box<[u8]>,
    /// Start and length of each string, the oldest first.
    entries: VecDeque<(usize, usize)>,
    /// Start of the next string.
    next: usize,
}

impl Ring {
    fn push(&mut self, string: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes = vec![0; SAMPLE_BYTES_MAX].into();
            self.entries.reserve_exact(SAMPLES_MAX);
        }
        if string.len() > self.bytes.len() {
            return;
        }
        if self.next + string.len() > self.bytes.len() {
            // The rest of the buffer stays unused in this round.
            while self.entries.front().is_some_and(|(start, _)| *start >= self.next) {
                self.entries.pop_front();
            }
            self.next = 0;
        }
        let end = self.next + string.len();
        while self.entries.len() >= SAMPLES_MAX
            || self.entries.front().is_some_and(|(start, _)| (self.next..end).contains(start))
        {
            self.entries.pop_front();
        }
        self.bytes[self.next..end].copy_from_slice(string);
        self.entries.push_back((self.next, string.len()));
        self.next = end;
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.iter().map(|(start, len)| &self.bytes[*start..start + len])
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

/// Writes a head with the first fields of a request; false when its request line is too long.
fn encode(request: &RequestHead, buf: &[u8], out: &mut Vec<u8>) -> bool {
    let target = match request.target_form() {
        TargetForm::Origin | TargetForm::Absolute => request.path_and_query(buf),
        TargetForm::Authority | TargetForm::Asterisk => request.target(buf),
    };
    let host = request.host();
    if target.len() + host.len() > SAMPLE_LINE_BYTES_MAX {
        return false;
    }
    for part in [request.method_str(buf), " ", target, " HTTP/1.1\r\nHost: ", host, "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    let end = out.len() + SAMPLE_FIELD_BYTES_MAX;
    for field in request.fields(buf).take(SAMPLE_FIELDS_MAX) {
        let is_host = field.name.eq_ignore_ascii_case(b"host");
        let value: &[u8] = if is_secret(field.name) { b"" } else { field.value };
        if is_host || out.len() + field.name.len() + value.len() + 4 > end {
            continue;
        }
        for part in [field.name, b": ", value, b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
    true
}

/// Whether the value of a field may be a secret.
fn is_secret(name: &[u8]) -> bool {
    SECRET_WORDS
        .iter()
        .any(|word| name.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes())))
}

/// Parts of the names of fields with secrets: `Authorization`, `Cookie`, `X-Api-Key`, `X-CSRF-Token`.
const SECRET_WORDS: &[&str] =
    &["auth", "cookie", "token", "key", "secret", "pass", "session", "signature", "credential", "jwt"];

#[cfg(test)]
#[path = "samples_tests.rs"]
mod tests;
