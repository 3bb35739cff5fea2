//! The `Date` line of responses that came without one (RFC 9110 §6.6.1), made once a second.

use std::cell::{Cell, Ref, RefCell};

use ringway_model::Timestamp;

/// Cached `Date` line, renewed once a second.
#[derive(Default)]
pub(crate) struct DateLine {
    second: Cell<u64>,
    line: RefCell<Vec<u8>>,
}

impl DateLine {
    /// Returns the line for `now`, with its CRLF.
    pub(crate) fn at(&self, now: Timestamp) -> Ref<'_, [u8]> {
        let second = now.0 / 1000;
        if self.second.replace(second) != second || self.line.borrow().is_empty() {
            *self.line.borrow_mut() = format!("Date: {}\r\n", now.to_http_date()).into_bytes();
        }
        Ref::map(self.line.borrow(), Vec::as_slice)
    }
}
