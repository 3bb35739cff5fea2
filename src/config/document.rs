//! Documents: what is read of all sources, and the valid configuration made from it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ringway_model::{ForwardSpec, Kind, OperatorSet, SetVersion};

use crate::{Finding, GovernanceRule, Place};

/// One text of a configuration: a file, or the document of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Name in findings: the path as given, or `request`.
    pub name: Arc<str>,
    /// YAML, or JSON if its first character is `{` or `[`; Lua where the name ends with `.lua`.
    pub text: String,
}

impl Source {
    /// Whether it is a Lua script that documents name, and no document.
    pub fn is_script(&self) -> bool {
        self.name.ends_with(".lua")
    }
}

/// Result of reading a configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The document; `None` when there is an error.
    pub document: Option<Document>,
    /// Values of the static sections, as far as they could be read.
    pub statics: Vec<StaticValue>,
    /// Errors and warnings, by file and position: at most
    /// [`DOCUMENT_FINDINGS_MAX`](crate::limits::DOCUMENT_FINDINGS_MAX), and one that counts the rest.
    pub findings: Vec<Finding>,
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Values of the static sections, in the order of the text: settings of the process.
    pub statics: Vec<StaticValue>,
    /// Routes, pools, policies, certificates, chains and plugins.
    pub set: Arc<OperatorSet>,
    /// Places of the resources of `set`.
    pub places: Places,
    /// Fields of its routes that are checked after the reading.
    pub checked_later: CheckedLater,
    /// Sections of resources that the sources have.
    pub sections: Sections,
    /// Rules for changes.
    pub governance: Vec<GovernanceRule>,
    /// Time of a trial on one core, `canary.bake`.
    pub bake: Option<Duration>,
    /// The forward proxy: a setting of the process, and no part of `canonical`.
    pub forward: Option<Arc<ForwardSpec>>,
    /// Routes, pools, policies, rules and trial as one JSON text, which reads back to the same values;
    /// the same for all documents that mean the same.
    pub canonical: Arc<str>,
    /// Hash of `canonical`.
    pub version: SetVersion,
}

/// Sections of resources that a document has. A missing one leaves the resources of its kind as they are, an
/// empty one removes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sections {
    /// `policies`, or a section that makes one.
    pub policies: bool,
    /// `pools`, or a section that makes pools.
    pub pools: bool,
    /// `routes`, or a section that makes routes.
    pub routes: bool,
    /// `traffic_management`: it belongs to the routes, which have none without it.
    pub traffic: bool,
    /// Rules of `cache`: they belong to the routes, which have none without them but those in place.
    pub cache: bool,
    /// `tls.certificates`, or `certificates`.
    pub certificates: bool,
    /// `middleware`.
    pub middlewares: bool,
    /// `plugins`.
    pub plugins: bool,
    /// `scripts`.
    pub scripts: bool,
    /// `governance`.
    pub governance: bool,
}

/// Section that chains, or pools, come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Routes,
    Pools,
    Middlewares,
    Plugins,
}

impl Sections {
    pub(crate) fn has(self, origin: Origin) -> bool {
        match origin {
            Origin::Routes => self.routes,
            Origin::Pools => self.pools,
            Origin::Middlewares => self.middlewares,
            Origin::Plugins => self.plugins,
        }
    }
}

/// A scalar of a static section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticValue {
    /// JSON pointer in the words of the document: `/server/timeouts/idle`.
    pub path: Arc<str>,
    /// The text as written, without its quotes.
    pub value: Arc<str>,
    /// Position of the value.
    pub place: Place,
}

/// Places of resources. A clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places(Arc<[Ids; Kind::COUNT]>);

/// Places by the ids of one kind.
type Ids = HashMap<Arc<str>, Place, ahash::RandomState>;

/// Fields of routes that are checked after the reading, because the reader does not compile them: regular
/// expressions and redirects. A clone shares them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckedLater(Arc<Fields>);

/// Places by route and field.
type Fields = HashMap<(Arc<str>, &'static str), FieldPlace, ahash::RandomState>;

/// Path and place of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPlace {
    /// JSON pointer.
    pub pointer: String,
    /// Place of the value, if its position is known.
    pub place: Option<Place>,
}

impl CheckedLater {
    /// The field of a route.
    pub fn get(&self, route: &str, field: &'static str) -> Option<&FieldPlace> {
        self.0.get(&(route.into(), field))
    }
}

impl FromIterator<((Arc<str>, &'static str), FieldPlace)> for CheckedLater {
    fn from_iter<I: IntoIterator<Item = ((Arc<str>, &'static str), FieldPlace)>>(fields: I) -> Self {
        Self(Arc::new(fields.into_iter().collect()))
    }
}

impl Places {
    /// The place of a resource: that of its id.
    pub fn get(&self, kind: Kind, id: &str) -> Option<&Place> {
        self.0[kind.index()].get(id)
    }
}

impl FromIterator<((Kind, Arc<str>), Place)> for Places {
    fn from_iter<I: IntoIterator<Item = ((Kind, Arc<str>), Place)>>(places: I) -> Self {
        let mut by_kind: [Ids; Kind::COUNT] = Default::default();
        for ((kind, id), place) in places {
            by_kind[kind.index()].insert(id, place);
        }
        Self(Arc::new(by_kind))
    }
}
