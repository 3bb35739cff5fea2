//! Shares of a whole.

use std::fmt;

/// Percentage with two decimals, from 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Percent {
    /// 0 %.
    pub const ZERO: Self = Self(0);
    /// 100 %.
    pub const ALL: Self = Self(10_000);

    /// A whole percentage; beyond 100 it is 100.
    pub const fn whole(percent: u16) -> Self {
        if percent > 100 { Self::ALL } else { Self(percent * 100) }
    }

    /// A percentage in hundredths of a percent; `None` beyond 10,000.
    pub const fn from_hundredths(hundredths: u16) -> Option<Self> {
        if hundredths > Self::ALL.0 { None } else { Some(Self(hundredths)) }
    }

    /// Rounds a percentage to two decimals; `None` unless it is from 0 to 100.
    pub fn new(percent: f64) -> Option<Self> {
        let is_valid = (0.0..=100.0).contains(&percent);
        is_valid.then(|| Self((percent * 100.0).round() as u16))
    }

    /// Hundredths of a percent: 0 to 10,000.
    pub const fn hundredths(self) -> u16 {
        self.0
    }

    /// This share of a number, rounded down.
    pub const fn of(self, whole: u64) -> u64 {
        // In two parts, which cannot overflow.
        (whole / 10_000) * self.0 as u64 + (whole % 10_000) * self.0 as u64 / 10_000
    }
}

/// The number without the sign: `10`, `12.5`, `0.25`.
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.0 / 100, self.0 % 100);
        match decimals {
            0 => write!(f, "{whole}"),
            _ if decimals % 10 == 0 => write!(f, "{whole}.{}", decimals / 10),
            _ => write!(f, "{whole}.{decimals:02}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_two_decimals() {
        for (percent, text, hundredths) in [
            (0.0, "0", 0),
            (10.0, "10", 1_000),
            (12.5, "12.5", 1_250),
            (0.25, "0.25", 25),
            (100.0, "100", 10_000),
        ] {
            let parsed = Percent::new(percent);
            assert_eq!(parsed.map(|percent| percent.to_string()), Some(text.to_owned()));
            assert_eq!(parsed, Percent::from_hundredths(hundredths));
        }
        for invalid in [-0.1, 100.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Percent::new(invalid), None);
        }
        assert_eq!((Percent::whole(101), Percent::from_hundredths(10_001)), (Percent::ALL, None));
    }

    #[test]
    fn a_share_is_rounded_down_and_does_not_overflow() {
        assert_eq!((Percent::whole(10).of(19), Percent::whole(50).of(3), Percent::ALL.of(7)), (1, 1, 7));
        assert_eq!((Percent::ALL.of(u64::MAX), Percent::ZERO.of(u64::MAX)), (u64::MAX, 0));
    }
}
