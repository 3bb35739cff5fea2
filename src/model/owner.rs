//! Owner of a resource: the source that configured it and alone may change it.

use std::fmt;

/// Source of a resource. Its text form stands in stored records and in reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// `api`: the registration API, one change at a time.
    #[default]
    Api,
    /// `file`: the operator's files.
    File,
    /// `admin`: the operator's changes over the configuration API.
    Admin,
    /// `resolver`: target discovery on demand. Its resources live in snapshots only and are never stored.
    Resolver,
}

impl Owner {
    /// Whether it is the operator of the process, whose resources are replaced as one set.
    pub fn is_operator(&self) -> bool {
        matches!(self, Self::File | Self::Admin)
    }

    /// Parses the text form.
    ///
    /// # Errors
    /// The text names no owner that this version knows.
    pub fn parse(text: &str) -> Result<Self, OwnerError> {
        match text {
            "api" => Ok(Self::Api),
            "file" => Ok(Self::File),
            "admin" => Ok(Self::Admin),
            "resolver" => Ok(Self::Resolver),
            _ => Err(OwnerError),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "api",
            Self::File => "file",
            Self::Admin => "admin",
            Self::Resolver => "resolver",
        })
    }
}

/// A text that names no known owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerError;

impl fmt::Display for OwnerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not a known owner; known are api, file, admin and resolver")
    }
}

impl std::error::Error for OwnerError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        for owner in [Owner::Api, Owner::File, Owner::Admin, Owner::Resolver] {
            assert_eq!(Owner::parse(&owner.to_string()), Ok(owner));
        }
        assert_eq!(Owner::parse("bundle"), Err(OwnerError));
    }
}
