//! HTTP dates in their three forms (RFC 9110 §5.6.7).
//!
//! ```text
//! Sun, 06 Nov 1994 08:49:37 GMT     IMF-fixdate
//! Sunday, 06-Nov-94 08:49:37 GMT    RFC 850, obsolete
//! Sun Nov  6 08:49:37 1994          asctime, obsolete
//! ```
//! Names and `GMT` are accepted in any case, for some origins write them so; blanks and digits must be exact.

use ringway_model::Timestamp;

/// Parses a date into seconds since the Unix epoch. The weekday must be one, but is not compared with the
/// date. `now` gives the century of years with two digits.
pub fn parse_http_date(text: &[u8], now: Timestamp) -> Option<i64> {
    match text.len() {
        29 => parse_imf_fixdate(text),
        24 if text.get(3) == Some(&b' ') => parse_asctime(text),
        _ => parse_rfc850(text, now),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn parse_imf_fixdate(text: &[u8]) -> Option<i64> {
    let (weekday, rest) = text.split_first_chunk::<3>()?;
    position(weekday, &WEEKDAYS, 3)?;
    let [b',', b' ', d1, d2, b' ', m1, m2, m3, b' ', y1, y2, y3, y4, b' ', time @ .., b' ', z1, z2, z3] =
        rest
    else {
        return None;
    };
    is_gmt([z1, z2, z3])?;
    let month = position(&[*m1, *m2, *m3], &MONTHS, 3)?;
    seconds(number(&[*y1, *y2, *y3, *y4])?, month, number(&[*d1, *d2])?, parse_time(time)?)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn parse_rfc850(text: &[u8], now: Timestamp) -> Option<i64> {
    let comma = text.iter().position(|byte| *byte == b',')?;
    let (weekday, rest) = text.split_at(comma);
    WEEKDAYS.iter().find(|name| name.as_bytes().eq_ignore_ascii_case(weekday))?;
    let [b',', b' ', d1, d2, b'-', m1, m2, m3, b'-', y1, y2, b' ', time @ .., b' ', z1, z2, z3] = rest else {
        return None;
    };
    is_gmt([z1, z2, z3])?;
    // A year that seems to be more than 50 years ahead is the latest past one with these digits.
    let this = i64::try_from(now.civil().year).ok()?;
    let mut year = this / 100 * 100 + number(&[*y1, *y2])?;
    if year > this + 50 {
        year -= 100;
    }
    let month = position(&[*m1, *m2, *m3], &MONTHS, 3)?;
    seconds(year, month, number(&[*d1, *d2])?, parse_time(time)?)
}

/// `Sun Nov  6 08:49:37 1994`
fn parse_asctime(text: &[u8]) -> Option<i64> {
    let (weekday, rest) = text.split_first_chunk::<3>()?;
    position(weekday, &WEEKDAYS, 3)?;
    let [b' ', m1, m2, m3, b' ', d1, d2, b' ', time @ .., b' ', y1, y2, y3, y4] = rest else { return None };
    let day = if *d1 == b' ' { number(&[*d2])? } else { number(&[*d1, *d2])? };
    let month = position(&[*m1, *m2, *m3], &MONTHS, 3)?;
    seconds(number(&[*y1, *y2, *y3, *y4])?, month, day, parse_time(time)?)
}

/// Parses `08:49:37` into seconds of the day. A leap second is the first of the next minute.
fn parse_time(text: &[u8]) -> Option<i64> {
    let [h1, h2, b':', m1, m2, b':', s1, s2] = text else { return None };
    let (hour, minute, second) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?, number(&[*s1, *s2])?);
    (hour < 24 && minute < 60 && second <= 60).then_some(hour * 3600 + minute * 60 + second)
}

fn is_gmt(zone: [&u8; 3]) -> Option<()> {
    zone.map(u8::to_ascii_uppercase).eq(b"GMT").then_some(())
}

/// Place of a name, compared by its first `len` bytes.
fn position(name: &[u8], names: &[&str], len: usize) -> Option<usize> {
    names.iter().position(|known| known.as_bytes()[..len].eq_ignore_ascii_case(name))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// Seconds since the epoch of a day of the Gregorian calendar; `month` counts from 0.
fn seconds(year: i64, month: usize, day: i64, time: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if day < 1 || day > *days.get(month)? {
        return None;
    }
    // Eras of 400 years that begin on 1 March, so that the leap day is the last of its year.
    let month = i64::try_from(month).ok()?;
    let (year, month) = if month < 2 { (year - 1, month + 10) } else { (year, month - 2) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some((era * 146_097 + day_of_era - 719_468) * 86_400 + time)
}

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
