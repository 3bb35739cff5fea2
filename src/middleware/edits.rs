//! Edits of header fields.

use ringway_wire::headers::{self, FieldError};

/// Fields to remove from a head and lines to add. Removals come first, whatever the order of the calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Names, each with a line feed behind it: one buffer for all.
    removed: String,
    lines: Vec<u8>,
}

impl Edits {
    /// Removes all received lines of a field.
    pub fn remove(&mut self, name: &str) {
        self.removed.extend([name, "\n"]);
    }

    /// Removes a field: all received lines, and those of earlier edits.
    ///
    /// # Errors
    /// The name is invalid (RFC 9110 §5.1); nothing is removed then.
    pub fn unset(&mut self, name: &str) -> Result<(), FieldError> {
        if !headers::is_token(name.as_bytes()) {
            return Err(FieldError::Name);
        }
        self.withdraw(name);
        self.remove(name);
        Ok(())
    }

    /// Removes all received lines of a field whose name stands in a head.
    pub(crate) fn remove_received(&mut self, name: &[u8]) {
        // Names are tokens, which are ASCII.
        if let Ok(name) = std::str::from_utf8(name) {
            self.remove(name);
        }
    }

    /// Takes back the lines of a field that were added.
    pub fn withdraw(&mut self, name: &str) {
        if values(&self.lines, name).next().is_some() {
            let kept = split(&self.lines).filter(|(known, _)| !known.eq_ignore_ascii_case(name.as_bytes()));
            self.lines = kept.flat_map(|(_, line)| line).copied().collect();
        }
    }

    /// Adds a line.
    ///
    /// # Errors
    /// Name or value is invalid (RFC 9110 §5.1, §5.5); nothing is added then.
    pub fn append(&mut self, name: &str, value: &[u8]) -> Result<(), FieldError> {
        headers::push_field(&mut self.lines, name, value)
    }

    /// Replaces every line of a field by one, those of earlier edits too.
    ///
    /// # Errors
    /// As [`append`](Self::append); nothing is replaced then.
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), FieldError> {
        let earlier = self.lines.len();
        self.append(name, value)?;
        if values(&self.lines[..earlier], name).next().is_some() {
            let others = split(&self.lines[..earlier]).filter(|(known, _)| !is_name(known, name));
            let others = others.map(|(_, line)| line).chain([&self.lines[earlier..]]);
            self.lines = others.flatten().copied().collect();
        }
        self.remove(name);
        Ok(())
    }

    /// Names to remove.
    pub fn removed(&self) -> impl Iterator<Item = &str> {
        self.removed.split_terminator('\n')
    }

    /// The same as one text, each with a line feed behind it.
    pub fn removed_names(&self) -> &str {
        &self.removed
    }

    /// Adds a line whose value `fill` writes; none where that is empty or cannot stand in a field.
    pub(crate) fn append_with(&mut self, name: &str, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.lines.len();
        self.lines.extend_from_slice(name.as_bytes());
        self.lines.extend_from_slice(b": ");
        let value_at = self.lines.len();
        fill(&mut self.lines);
        let value = &self.lines[value_at..];
        match !value.is_empty() && headers::is_field_value(value) && headers::is_token(name.as_bytes()) {
            true => self.lines.extend_from_slice(b"\r\n"),
            false => self.lines.truncate(start),
        }
    }

    /// Forgets all edits; small buffers stay for the next ones.
    pub(crate) fn clear(&mut self) {
        self.removed.clear();
        self.lines.clear();
        if self.removed.capacity() > KEPT_BYTES_MAX || self.lines.capacity() > KEPT_BYTES_MAX {
            *self = Self::default();
        }
    }

    /// Whether lines of this name are removed.
    pub fn removes(&self, name: &[u8]) -> bool {
        self.removed().any(|removed| removed.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Values of a field that are added, one per line; the name is case-insensitive.
    pub fn added<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e [u8]> {
        values(&self.lines, name)
    }

    /// Names and values that are added.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        fields(&self.lines)
    }

    /// Lines to add, each with its CRLF.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Applies the edits to the field lines of a local reply, except to its framing fields and its request
    /// id.
    pub fn apply(&self, lines: &mut Vec<u8>) {
        let is_removed = |name: &[u8]| self.removes(name) && !KEPT.iter().any(|kept| is_name(name, kept));
        let kept = split(lines).filter(|(name, _)| !is_removed(name)).map(|(_, line)| line);
        *lines = kept.chain([self.lines.as_slice()]).flatten().copied().collect();
    }

    /// Whether there are no edits.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.lines.is_empty()
    }
}

/// 4 KiB: a buffer of edits that is kept for the next request of its connection.
const KEPT_BYTES_MAX: usize = 4 * 1024;

/// Fields of a local reply that edits cannot remove.
const KEPT: &[&str] = &["Content-Length", "Transfer-Encoding", "Connection", "X-Request-ID"];

/// Returns names and values of `lines`.
pub(crate) fn fields(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    split(lines).map(|(name, line)| (name, line.get(name.len() + 1..).unwrap_or_default().trim_ascii()))
}

/// Returns the values of a field in `lines`, one per line; the name is case-insensitive.
pub(crate) fn values<'a>(lines: &'a [u8], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields(lines).filter(|(known, _)| is_name(known, name)).map(|(_, value)| value)
}

fn is_name(received: &[u8], name: &str) -> bool {
    received.eq_ignore_ascii_case(name.as_bytes())
}

/// Splits a head into pairs of name and line, each line with its CRLF.
fn split(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    lines.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let end = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        (&line[..end], line)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LINES: &[u8] = b"Content-Length: 2\r\nX-A: 1\r\nx-a: 2\r\nWWW-Authenticate: Bearer\r\n";

    #[test]
    fn fields_are_found_in_any_case() {
        assert_eq!(values(LINES, "x-A").collect::<Vec<_>>(), [b"1", b"2"]);
        assert_eq!(values(LINES, "www-authenticate").collect::<Vec<_>>(), [b"Bearer"]);
        assert_eq!(values(LINES, "x").count(), 0);
    }

    #[test]
    fn edits_remove_first_then_add_and_keep_framing() {
        let (mut edits, mut lines) = (Edits::default(), LINES.to_vec());
        edits.set("X-A", b"3").unwrap();
        edits.append("Vary", b"Origin").unwrap();
        edits.remove("content-length");
        edits.apply(&mut lines);
        assert_eq!(lines, b"Content-Length: 2\r\nWWW-Authenticate: Bearer\r\nX-A: 3\r\nVary: Origin\r\n");
    }

    #[test]
    fn a_line_that_is_set_again_stands_once() {
        let mut edits = Edits::default();
        for (name, value) in [("X-A", "1"), ("X-B", "2"), ("x-a", "3"), ("X-B", "4\r\n")] {
            let _ = edits.set(name, value.as_bytes());
        }
        assert_eq!(edits.lines(), b"X-B: 2\r\nx-a: 3\r\n");
    }

    #[test]
    fn a_line_that_would_split_the_head_is_refused() {
        let mut edits = Edits::default();
        assert!(edits.append("X-A", b"1\r\nX-B: 2").is_err());
        assert!(edits.set("X A", b"1").is_err());
        assert!(edits.is_empty());
    }
}
