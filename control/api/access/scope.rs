//! Scopes of tokens, and the access that operations need.

use std::fmt;

/// Permission of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Reads everything: registrations, status, metrics, the configuration and its history.
    Read,
    /// Registers, changes and removes apps, instances, domains, certificates and webhooks, and reads them.
    Register,
    /// Purges the cache, and reads what is stored; of one tenant, where the token names one.
    Purge,
    /// Applies and rolls back configurations, purges the cache, and reads everything.
    Apply,
    /// Everything.
    Admin,
}

impl Scope {
    /// All scopes.
    pub const ALL: [Self; 5] = [Self::Read, Self::Register, Self::Purge, Self::Apply, Self::Admin];

    /// Name in files and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Register => "register",
            Self::Purge => "purge",
            Self::Apply => "apply",
            Self::Admin => "admin",
        }
    }

    /// Parses the name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Set of scopes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every permission.
    pub const ADMIN: Self = Self(1 << Scope::Admin as u8);
    /// Purges alone.
    pub const PURGE: Self = Self(1 << Scope::Purge as u8);

    /// Parses names separated by commas; `None` for an unknown one, or without any.
    pub fn parse(text: &str) -> Option<Self> {
        text.split(',').map(Scope::parse).collect::<Option<Self>>()
    }

    /// Whether an operation with this access is permitted.
    pub(crate) fn permit(self, access: Access) -> bool {
        let permitting: &[Scope] = match access {
            Access::Open => return true,
            Access::Registrations => &[Scope::Read, Scope::Register, Scope::Apply, Scope::Admin],
            Access::Cache => &[Scope::Read, Scope::Purge, Scope::Apply, Scope::Admin],
            Access::Scoped(Scope::Read) => &[Scope::Read, Scope::Apply, Scope::Admin],
            Access::Scoped(Scope::Purge) => &[Scope::Purge, Scope::Apply, Scope::Admin],
            Access::Scoped(Scope::Register) => &[Scope::Register, Scope::Admin],
            Access::Scoped(Scope::Apply) => &[Scope::Apply, Scope::Admin],
            Access::Scoped(Scope::Admin) => &[Scope::Admin],
        };
        permitting.iter().any(|scope| self.0 & scope.bit() != 0)
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |bits, scope| bits | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for scope in Scope::ALL.into_iter().filter(|scope| self.0 & scope.bit() != 0) {
            write!(f, "{separator}{scope}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scopes({self})")
    }
}

/// Access that an operation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// None: health probes of load balancers and orchestrators.
    Open,
    /// Reads registrations: every scope but `purge` permits it, because a client that registers must see the
    /// result.
    Registrations,
    /// Reads the cache.
    Cache,
    /// A scope that includes this one.
    Scoped(Scope),
}

impl Access {
    /// Least scope that permits it.
    pub(crate) fn scope(self) -> Option<Scope> {
        match self {
            Self::Open => None,
            Self::Registrations | Self::Cache => Some(Scope::Read),
            Self::Scoped(scope) => Some(scope),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_scope_permits_its_operations_and_no_others() {
        // Columns: open, registrations, cache, read, register, purge, apply, admin.
        let columns = [
            Access::Open,
            Access::Registrations,
            Access::Cache,
            Access::Scoped(Scope::Read),
            Access::Scoped(Scope::Register),
            Access::Scoped(Scope::Purge),
            Access::Scoped(Scope::Apply),
            Access::Scoped(Scope::Admin),
        ];
        for (scopes, expected) in [
            ("read", [true, true, true, true, false, false, false, false]),
            ("register", [true, true, false, false, true, false, false, false]),
            ("purge", [true, false, true, false, false, true, false, false]),
            ("apply", [true, true, true, true, false, true, true, false]),
            ("register,apply", [true, true, true, true, true, true, true, false]),
            ("admin", [true, true, true, true, true, true, true, true]),
        ] {
            let set = Scopes::parse(scopes).unwrap();
            assert_eq!(columns.map(|access| set.permit(access)), expected, "{scopes}");
        }
        assert!(!Scopes::default().permit(Access::Registrations), "no scope permits nothing but probes");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in
            ["read", "register", "purge", "apply", "admin", "read,register", "register,purge,apply,admin"]
        {
            assert_eq!(Scopes::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Scopes::parse("apply,read").unwrap().to_string(), "read,apply");
        for text in ["", "Read", "write", "read,", ",read", "read apply", "read,,apply"] {
            assert_eq!(Scopes::parse(text), None, "{text:?}");
        }
    }
}
