//! Optional fields of an access-log line.

use std::fmt;
use std::str::FromStr;

/// Optional fields of the access log. All other fields are always present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogFields {
    /// Address of the client.
    pub client_ip: bool,
    /// `User-Agent` of the client.
    pub user_agent: bool,
    /// Hash of the tenant.
    pub tenant: bool,
    /// Query of the request target, which may hold tokens and personal data.
    pub query: bool,
    /// `Referer` of the client; its query only together with [`query`](Self::query).
    pub referer: bool,
}

/// Invalid entry in a list of fields: its number, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFieldsError(pub usize);

impl LogFields {
    /// Names of the fields, in the order of display.
    pub const NAMES: [&str; 5] = ["client_ip", "user_agent", "tenant", "query", "referer"];

    fn of(&self) -> [bool; 5] {
        [self.client_ip, self.user_agent, self.tenant, self.query, self.referer]
    }

    fn switch(&mut self, name: &str) -> Option<&mut bool> {
        Some(match name {
            "client_ip" => &mut self.client_ip,
            "user_agent" => &mut self.user_agent,
            "tenant" => &mut self.tenant,
            "query" => &mut self.query,
            "referer" => &mut self.referer,
            _ => return None,
        })
    }
}

impl Default for LogFields {
    fn default() -> Self {
        Self { client_ip: true, user_agent: true, tenant: true, query: false, referer: false }
    }
}

impl FromStr for LogFields {
    type Err = LogFieldsError;

    /// Parses comma-separated changes to the default: `+query,-user_agent`. A name without a sign is added.
    fn from_str(text: &str) -> Result<Self, LogFieldsError> {
        let mut fields = Self::default();
        for (at, item) in text.split(',').map(str::trim).enumerate().filter(|(_, item)| !item.is_empty()) {
            let (is_shown, name) = match item.strip_prefix('-') {
                Some(name) => (false, name),
                None => (true, item.strip_prefix('+').unwrap_or(item)),
            };
            *fields.switch(name).ok_or(LogFieldsError(at + 1))? = is_shown;
        }
        Ok(fields)
    }
}

impl fmt::Display for LogFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = Self::NAMES.into_iter().zip(self.of());
        for (at, (name, is_shown)) in fields.enumerate() {
            let (comma, sign) = (if at == 0 { "" } else { "," }, if is_shown { '+' } else { '-' });
            write!(f, "{comma}{sign}{name}")?;
        }
        Ok(())
    }
}

impl fmt::Display for LogFieldsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = LogFields::NAMES.join(", ");
        write!(
            f,
            "must be fields with + or - before them, as in +query,-user_agent; entry {} is none of {names}",
            self.0
        )
    }
}

impl std::error::Error for LogFieldsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_modifies_the_default() {
        let default = LogFields::default();
        assert_eq!("".parse(), Ok(default));
        assert_eq!("+query, referer".parse(), Ok(LogFields { query: true, referer: true, ..default }));
        assert_eq!(
            "-client_ip,-user_agent".parse(),
            Ok(LogFields { client_ip: false, user_agent: false, ..default })
        );
        assert_eq!("+query,-query".parse(), Ok(default), "the last one counts");
        assert_eq!("+query,+cookie".parse::<LogFields>(), Err(LogFieldsError(2)));
        assert_eq!(default.to_string().parse(), Ok(default));
    }

    #[test]
    fn every_name_is_a_switch_of_its_own() {
        for (at, name) in LogFields::NAMES.into_iter().enumerate() {
            let (mut on, mut off) = (LogFields::default(), LogFields::default());
            *on.switch(name).expect("a switch") = true;
            *off.switch(name).expect("a switch") = false;
            let differs: Vec<usize> = (0..5).filter(|at| on.of()[*at] != off.of()[*at]).collect();
            assert_eq!(differs, [at], "{name}");
        }
    }
}
