//! Resources: everything that is configured, of every kind, behind one table of kinds.
//!
//! A new kind needs its type with a [`Configured`] impl in a file of its own, a line in the table below, a
//! map in [`Desired`](crate::Desired), and a record format in the store. Code that treats all kinds alike
//! (deltas, store, exports, counts) works by [`Kind::ALL`] and stays as it is.

use std::fmt;
use std::sync::Arc;

use crate::{
    App, CanaryState, Certificate, ConfigVersion, Domain, EndpointOverride, Instance, Middleware, Owner,
    Plugin, Policy, Route, Script,
};

/// Properties that resources of all kinds have.
pub trait Configured {
    /// The key, unique within the kind.
    fn key(&self) -> &str;

    /// The owner.
    fn owner(&self) -> &Owner;

    /// The resource without which this one cannot exist; its kind stands earlier in [`Kind::ALL`].
    fn parent(&self) -> Option<(Kind, &str)>;
}

macro_rules! kinds {
    ($($type:ident = $tag:literal, $name:literal, $plural:literal;)+) => {
        /// Kind of a resource.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $(#[doc = concat!("The kind of [`", stringify!($type), "`](struct@crate::", stringify!($type), ").")] $type,)+
        }

        impl Kind {
            /// Number of kinds.
            pub const COUNT: usize = [$($tag),+].len();
            /// All kinds, parents first; new ones come last, because stored marks count by position.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$type),+];

            /// The singular name, as messages and exports have it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$type => $name,)+
                }
            }

            /// The plural name, as messages and the tables of a store have it.
            pub const fn plural(self) -> &'static str {
                match self {
                    $(Self::$type => $plural,)+
                }
            }

            /// The number that stands for the kind in stored checksums: never 0, never reused.
            pub const fn tag(self) -> u8 {
                match self {
                    $(Self::$type => $tag,)+
                }
            }
        }

        /// A resource of any kind. A clone costs one atomic increment.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Resource {
            $(#[doc = concat!("One [`", stringify!($type), "`](struct@crate::", stringify!($type), ").")] $type(Arc<$type>),)+
        }

        impl Resource {
            /// The kind.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$type(_) => Kind::$type,)+
                }
            }

            fn configured(&self) -> &dyn Configured {
                match self {
                    $(Self::$type(resource) => &**resource,)+
                }
            }
        }

        $(impl From<Arc<$type>> for Resource {
            fn from(resource: Arc<$type>) -> Self {
                Self::$type(resource)
            }
        }

        impl From<$type> for Resource {
            fn from(resource: $type) -> Self {
                Self::$type(Arc::new(resource))
            }
        })+
    };
}

kinds! {
    App = 1, "app", "apps";
    Instance = 2, "instance", "instances";
    Domain = 3, "domain", "domains";
    Policy = 4, "policy", "policies";
    Route = 5, "route", "routes";
    ConfigVersion = 6, "version", "versions";
    Certificate = 7, "certificate", "certificates";
    CanaryState = 8, "canary", "canaries";
    EndpointOverride = 9, "override", "overrides";
    Middleware = 10, "middleware", "middlewares";
    Plugin = 11, "plugin", "plugins";
    Script = 12, "script", "scripts";
}

impl Kind {
    /// Parses the singular name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// The position in [`Kind::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Resource {
    /// See [`Configured::key`].
    pub fn key(&self) -> &str {
        self.configured().key()
    }

    /// See [`Configured::owner`].
    pub fn owner(&self) -> &Owner {
        self.configured().owner()
    }

    /// See [`Configured::parent`].
    pub fn parent(&self) -> Option<(Kind, &str)> {
        self.configured().parent()
    }
}

/// One resource that a change wrote or removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// The resource has this value now.
    Put(Resource),
    /// The resource is gone; this was its last value.
    Remove(Resource),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_unique_names_and_tags() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index);
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
            assert_ne!(kind.tag(), 0);
            let same = |other: &Kind| other.tag() == kind.tag() || other.plural() == kind.plural();
            assert_eq!(Kind::ALL.iter().filter(|other| same(other)).count(), 1, "{kind}");
        }
    }
}
