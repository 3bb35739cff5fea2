//! Text forms of timestamps: the Gregorian calendar, in UTC.

use crate::Timestamp;

/// Date and time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// 0 is Sunday.
    pub weekday: u8,
    /// With the century.
    pub year: u64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

impl Timestamp {
    /// The date and time in UTC. Some ten integer operations.
    pub fn civil(self) -> Civil {
        let seconds = self.0 / 1000;
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        // Eras of 400 years that begin on 1 March, so that the leap day is the last of its year.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        Civil {
            // 1970-01-01 was a Thursday.
            weekday: ((days + 4) % 7) as u8,
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8,
            hour: (rest / 3600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
        }
    }

    /// Formats as an IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
    pub fn to_http_date(self) -> String {
        const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
        const MONTHS: [&str; 12] =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let c = self.civil();
        let (weekday, month) = (DAYS[usize::from(c.weekday)], MONTHS[usize::from(c.month) - 1]);
        format!(
            "{weekday}, {:02} {month} {:04} {:02}:{:02}:{:02} GMT",
            c.day, c.year, c.hour, c.minute, c.second
        )
    }

    /// Formats as RFC 3339 in UTC with seconds: `1994-11-06T08:49:37Z`.
    pub fn to_rfc3339(self) -> String {
        let c = self.civil();
        format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", c.year, c.month, c.day, c.hour, c.minute, c.second)
    }

    /// Formats as RFC 3339 with the milliseconds as the shortest fraction: `1994-11-06T08:49:37.25Z`. Times
    /// after the year 9999, the last that RFC 3339 can represent, become its last millisecond.
    pub fn to_rfc3339_millis(self) -> String {
        let at = self.min(LAST_RFC3339);
        let mut text = at.to_rfc3339();
        let millis = at.0 % 1000;
        if millis != 0 {
            let fraction = format!("{millis:03}");
            text.pop();
            text.push('.');
            text.push_str(fraction.trim_end_matches('0'));
            text.push('Z');
        }
        text
    }
}

/// 9999-12-31T23:59:59.999Z.
const LAST_RFC3339: Timestamp = Timestamp(253_402_300_799_999);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_known_dates() {
        for (seconds, http, json) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00Z"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00Z"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT", "2100-03-01T00:00:00Z"),
        ] {
            let at = Timestamp(seconds * 1000 + 999);
            assert_eq!((at.to_http_date().as_str(), at.to_rfc3339().as_str()), (http, json));
        }
    }

    #[test]
    fn writes_milliseconds_as_the_shortest_fraction() {
        for (millis, text) in [
            (784_111_777_000, "1994-11-06T08:49:37Z"),
            (784_111_777_250, "1994-11-06T08:49:37.25Z"),
            (784_111_777_007, "1994-11-06T08:49:37.007Z"),
            (LAST_RFC3339.0, "9999-12-31T23:59:59.999Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp(millis).to_rfc3339_millis(), text);
        }
    }
}
