//! Dates as HTTP and JSON write them.

use ringway_model::Timestamp;

/// Appends an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
pub(crate) fn push_http(out: &mut Vec<u8>, at: Timestamp) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let c = Civil::of(at);
    let text = format_args!(
        "{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
        DAYS[(c.days % 7) as usize],
        c.day,
        MONTHS[c.month as usize - 1],
        c.year,
        c.hour,
        c.minute,
        c.second
    )
    .to_string();
    out.extend_from_slice(text.as_bytes());
}

/// Appends an RFC 3339 date in UTC with seconds: `1994-11-06T08:49:37Z`.
pub(crate) fn push_rfc3339(out: &mut Vec<u8>, at: Timestamp) {
    let c = Civil::of(at);
    let text =
        format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", c.year, c.month, c.day, c.hour, c.minute, c.second);
    out.extend_from_slice(text.as_bytes());
}

struct Civil {
    days: u64,
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Civil {
    /// The proleptic Gregorian calendar from days since 1970-01-01, in eras of 400 years that begin on 1 March, so
    /// that the leap day is the last of its year.
    fn of(at: Timestamp) -> Self {
        let seconds = at.0 / 1000;
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Self { days, year, month, day, hour: rest / 3600, minute: rest / 60 % 60, second: rest % 60 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(seconds: u64) -> (String, String) {
        let (mut http, mut json) = (Vec::new(), Vec::new());
        push_http(&mut http, Timestamp(seconds * 1000));
        push_rfc3339(&mut json, Timestamp(seconds * 1000));
        (String::from_utf8_lossy(&http).into_owned(), String::from_utf8_lossy(&json).into_owned())
    }

    #[test]
    fn writes_known_dates() {
        for (seconds, http, json) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00Z"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00Z"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT", "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(both(seconds), (http.to_owned(), json.to_owned()));
        }
    }
}
