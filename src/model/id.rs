//! Identifiers: parsed texts that users choose, and counters.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::{Hostname, Target, limits};

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// 1 to [`limits::ID_BYTES_MAX`] bytes of `A-Z a-z 0-9 - _ . : @`, beginning with a letter or digit:
        /// safe in a header field, a path segment, a log line and a metric label. Cloning costs one atomic
        /// increment.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses an identifier.
            ///
            /// # Errors
            /// The text has another form.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                check(text)?;
                Ok(Self(text.into()))
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0)
            }
        }
    };
}

text_id! {
    /// Id of an app: a set of interchangeable instances.
    AppId
}
text_id! {
    /// Id of one running instance; unique over all apps.
    InstanceId
}
text_id! {
    /// Id of a tenant. Opaque to ringway: sent to the app in `X-Tenant-ID`.
    TenantId
}

text_id! {
    /// Id of a route; unique over all owners.
    RouteId
}
text_id! {
    /// Id of a named policy; unique over all owners.
    PolicyId
}

text_id! {
    /// Id of a named chain of middleware stages; unique over all owners.
    MiddlewareId
}
text_id! {
    /// Id of a plugin; unique over all owners.
    PluginId
}

impl AppId {
    /// The id of the app that serves a host by the resolver's response. A registered app cannot have such an
    /// id.
    pub fn resolved(host: &Hostname) -> Self {
        Self(format!("{RESOLVED}{host}").into())
    }

    /// The id that all targets of the forward proxy have.
    pub fn of_destinations() -> Self {
        Self(format!("{RESOLVED}forward").into())
    }

    /// Whether it was made by [`AppId::resolved`] or [`AppId::of_destinations`].
    pub fn is_resolved(&self) -> bool {
        self.0.starts_with(RESOLVED)
    }
}

impl InstanceId {
    /// The id of a target of the forward proxy, by its first address.
    pub fn of_destination(address: std::net::SocketAddr) -> Self {
        Self(format!("{RESOLVED}{address}").into())
    }

    /// The id of one target of such a host.
    pub fn resolved(host: &Hostname, target: &Target) -> Self {
        Self(format!("{RESOLVED}{host}@{target}").into())
    }
}

/// First character of the ids of discovered apps and instances; registered ids begin with a letter or digit.
const RESOLVED: char = '~';

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Number of accepted changes. Revision 0 is the empty configuration. Revisions only rise: a rollback is
    /// a new revision with old content.
    Revision(u64)
}
number! {
    /// Number of published snapshots: one for every revision, and one for every new set of DNS addresses of
    /// an unchanged revision. A core refuses a serial that is not newer than its own.
    Serial(u64)
}
number! {
    /// Fencing token of a registration: the revision that registered the instance. A message with an older
    /// generation comes from a process that has been replaced.
    Generation(u64)
}
number! {
    /// Number of a data core, from 0 in the order in which workers were started.
    CoreId(u16)
}

impl Revision {
    /// The revision after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Serial {
    /// The serial after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Parse error of an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdError {
    /// Empty.
    Empty,
    /// Longer than [`limits::ID_BYTES_MAX`].
    TooLong,
    /// Not beginning with a letter or digit.
    Start,
    /// A character outside `A-Z a-z 0-9 - _ . : @`.
    Character(char),
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("must not be empty"),
            Self::TooLong => write!(f, "must not be longer than {} bytes", limits::ID_BYTES_MAX),
            Self::Start => f.write_str("must begin with a letter or digit"),
            Self::Character(c) => {
                write!(f, "must not contain {:?}; allowed are letters, digits and - _ . : @", c)
            }
        }
    }
}

impl std::error::Error for IdError {}

fn check(text: &str) -> Result<(), IdError> {
    let Some(first) = text.bytes().next() else { return Err(IdError::Empty) };
    if text.len() > limits::ID_BYTES_MAX {
        return Err(IdError::TooLong);
    }
    let strange = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '@'));
    if let Some(c) = text.chars().find(strange) {
        return Err(IdError::Character(c));
    }
    if !first.is_ascii_alphanumeric() {
        return Err(IdError::Start);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_common_forms_of_ids() {
        for text in ["app1", "app1-prod-node-1", "billing:eu@2", "A", "0", &"x".repeat(limits::ID_BYTES_MAX)]
        {
            assert_eq!(AppId::parse(text).map(|id| id.as_str().to_owned()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn errors_name_the_mistake() {
        assert_eq!(TenantId::parse(""), Err(IdError::Empty));
        assert_eq!(TenantId::parse(&"x".repeat(limits::ID_BYTES_MAX + 1)), Err(IdError::TooLong));
        assert_eq!(TenantId::parse("-a"), Err(IdError::Start));
        assert_eq!(TenantId::parse("a/b"), Err(IdError::Character('/')));
        assert_eq!(TenantId::parse("a\r\nX-Evil: 1"), Err(IdError::Character('\r')));
        assert_eq!(TenantId::parse("ä"), Err(IdError::Character('ä')));
    }
}
