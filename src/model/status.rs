//! Ranges of response statuses in settings: `503` or `502-504`.

use std::fmt;
use std::ops::RangeInclusive;

/// Parse error of a range of statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusRangeError {
    /// Neither three digits, nor twice three digits with a `-` between them.
    Form,
    /// Outside of the accepted statuses.
    Bounds,
    /// The end of a range is smaller than its beginning.
    Order,
}

/// Parses a status or a range of them, all within `bounds`.
pub(crate) fn parse_range(
    text: &str,
    bounds: &RangeInclusive<u16>,
) -> Result<RangeInclusive<u16>, StatusRangeError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (parse(first.trim(), bounds)?, parse(last.trim(), bounds)?);
    if first > last { Err(StatusRangeError::Order) } else { Ok(first..=last) }
}

fn parse(text: &str, bounds: &RangeInclusive<u16>) -> Result<u16, StatusRangeError> {
    let is_number = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let status = text.parse().ok().filter(|_| is_number).ok_or(StatusRangeError::Form)?;
    if bounds.contains(&status) { Ok(status) } else { Err(StatusRangeError::Bounds) }
}

/// Formats a range in the form of [`parse_range`].
pub(crate) struct Shown(pub(crate) RangeInclusive<u16>);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.start() == self.0.end() {
            true => write!(f, "{}", self.0.start()),
            false => write!(f, "{}-{}", self.0.start(), self.0.end()),
        }
    }
}
