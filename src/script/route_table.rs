//! Table of the routes of one host: finds the route of a method and a path.
//!
//! A path is matched segment by segment. In each segment text precedes a parameter, and that the rest of the
//! path; a route whose method differs does not hide another one.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ringway_model::HostPattern;

use crate::declarations::{
    Declarations, FallbackDeclaration, FallbackKind, HookId, RouteDeclaration, RouteMethod,
};
use crate::failure::Place;
use crate::pattern::Segment;

/// Routes of one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTable {
    /// The first one is the root.
    nodes: Vec<Node>,
    not_found: Option<usize>,
    method_not_allowed: Option<usize>,
}

/// Segments of the path that led here have been matched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    texts: HashMap<Box<str>, usize>,
    parameter: Option<usize>,
    /// Routes that end here.
    routes: Routes,
    /// Routes that match all that follows.
    rest: Routes,
}

/// Indices of routes by method.
type Routes = BTreeMap<Option<RouteMethod>, usize>;

/// Result of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'d> {
    /// This route.
    Route(&'d RouteDeclaration, Parameters),
    /// No route; this is for such requests. For [`FallbackKind::MethodNotAllowed`] with the value of `Allow`.
    Fallback(&'d FallbackDeclaration, Option<Box<str>>),
    /// Routes match the path, for other methods: the value of `Allow`.
    MethodNotAllowed(Box<str>),
    /// No route matches the path.
    NotFound,
}

/// Names and values of the parameters of a path, decoded.
pub type Parameters = Vec<(Box<str>, Box<[u8]>)>;

/// Two routes, or two fallbacks, for the same requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The one that was declared first.
    pub first: Place,
    /// The other one.
    pub second: Place,
}

impl Default for RouteTable {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], not_found: None, method_not_allowed: None }
    }
}

impl RouteTable {
    /// Compiles the tables of all hosts.
    ///
    /// # Errors
    /// Routes that match the same requests.
    pub fn compile(
        declarations: &Declarations,
    ) -> Result<BTreeMap<Option<HostPattern>, Self>, Vec<Duplicate>> {
        let mut tables: BTreeMap<Option<HostPattern>, Self> = BTreeMap::new();
        let mut duplicates = Vec::new();
        for (index, route) in declarations.routes.iter().enumerate() {
            let table = tables.entry(route.host.clone()).or_default();
            if let Some(first) = table.insert(route, index) {
                let first = declarations.routes[first].place.clone();
                duplicates.push(Duplicate { first, second: route.place.clone() });
            }
        }
        for (index, fallback) in declarations.fallbacks.iter().enumerate() {
            let table = tables.entry(fallback.host.clone()).or_default();
            let slot = match fallback.kind {
                FallbackKind::NotFound => &mut table.not_found,
                FallbackKind::MethodNotAllowed => &mut table.method_not_allowed,
            };
            match slot {
                Some(first) => {
                    let first = declarations.fallbacks[*first].place.clone();
                    duplicates.push(Duplicate { first, second: fallback.place.clone() });
                }
                None => *slot = Some(index),
            }
        }
        if duplicates.is_empty() { Ok(tables) } else { Err(duplicates) }
    }

    /// Inserts a route; returns one that matches the same requests.
    fn insert(&mut self, route: &RouteDeclaration, index: usize) -> Option<usize> {
        let mut at = 0;
        for segment in route.pattern.segments() {
            at = match segment {
                Segment::Rest(_) => return first_of(&mut self.nodes[at].rest, route.method, index),
                Segment::Text(text) => match self.nodes[at].texts.get(text) {
                    Some(next) => *next,
                    None => {
                        let next = self.push();
                        self.nodes[at].texts.insert(text.clone(), next);
                        next
                    }
                },
                Segment::Parameter(_) => match self.nodes[at].parameter {
                    Some(next) => next,
                    None => {
                        let next = self.push();
                        self.nodes[at].parameter = Some(next);
                        next
                    }
                },
            };
        }
        first_of(&mut self.nodes[at].routes, route.method, index)
    }

    fn push(&mut self) -> usize {
        self.nodes.push(Node::default());
        self.nodes.len() - 1
    }

    /// Finds the route of a request, of the declarations that the table was compiled from. `path` is without
    /// its query, as sent. Visits each node once at most; allocates for parameters and failures only.
    pub fn find<'d>(&self, declarations: &'d Declarations, method: &str, path: &str) -> Found<'d> {
        let method = RouteMethod::parse(method);
        let mut search = Search { nodes: &self.nodes, method, allowed: BTreeSet::new() };
        let Some(path) = path.strip_prefix('/') else { return self.not_found(declarations) };
        if let Some(route) = search.find(0, Some(path)).and_then(|index| declarations.routes.get(index)) {
            return Found::Route(route, parameters(route.pattern.segments(), path));
        }
        if search.allowed.is_empty() {
            return self.not_found(declarations);
        }
        let allowed: Vec<&str> = search.allowed.iter().map(|method| method.as_str()).collect();
        let allowed = allowed.join(", ").into();
        match self.method_not_allowed.and_then(|index| declarations.fallbacks.get(index)) {
            Some(fallback) => Found::Fallback(fallback, Some(allowed)),
            None => Found::MethodNotAllowed(allowed),
        }
    }

    fn not_found<'d>(&self, declarations: &'d Declarations) -> Found<'d> {
        match self.not_found.and_then(|index| declarations.fallbacks.get(index)) {
            Some(fallback) => Found::Fallback(fallback, None),
            None => Found::NotFound,
        }
    }
}

fn first_of(routes: &mut Routes, method: Option<RouteMethod>, index: usize) -> Option<usize> {
    match routes.get(&method) {
        Some(first) => Some(*first),
        None => {
            routes.insert(method, index);
            None
        }
    }
}

struct Search<'t> {
    nodes: &'t [Node],
    method: Option<RouteMethod>,
    /// Methods of routes that match the path.
    allowed: BTreeSet<RouteMethod>,
}

impl Search<'_> {
    /// Index of the route for `path`, from this node on; `None` is the path's end. As deep as a pattern has
    /// segments at most.
    fn find(&mut self, at: usize, path: Option<&str>) -> Option<usize> {
        let nodes = self.nodes;
        let node = &nodes[at];
        let Some(path) = path else { return self.choose(&node.routes) };
        let (segment, after) = match path.split_once('/') {
            Some((segment, after)) => (segment, Some(after)),
            None => (path, None),
        };
        let text = node.texts.get(segment).copied();
        let parameter = node.parameter.filter(|_| !segment.is_empty());
        let found = text.and_then(|next| self.find(next, after));
        let found = found.or_else(|| parameter.and_then(|next| self.find(next, after)));
        found.or_else(|| self.choose(&node.rest))
    }

    fn choose(&mut self, routes: &Routes) -> Option<usize> {
        let of_get = || match self.method {
            Some(RouteMethod::Head) => routes.get(&Some(RouteMethod::Get)),
            _ => None,
        };
        let own = self.method.and_then(|method| routes.get(&Some(method)));
        let found = own.or_else(of_get).or_else(|| routes.get(&None)).copied();
        if found.is_none() {
            self.allowed.extend(routes.keys().copied().flatten());
            if self.allowed.contains(&RouteMethod::Get) {
                self.allowed.insert(RouteMethod::Head);
            }
        }
        found
    }
}

/// Values of the parameters of a pattern that matches `path`.
fn parameters(segments: &[Segment], path: &str) -> Parameters {
    let mut values = Vec::new();
    let mut rest = path;
    for segment in segments {
        let (first, after) = rest.split_once('/').unwrap_or((rest, ""));
        match segment {
            Segment::Text(_) => {}
            Segment::Parameter(name) => values.push((name.clone(), decode(first.as_bytes(), false).into())),
            Segment::Rest(name) => values.push((name.clone(), decode(rest.as_bytes(), false).into())),
        }
        rest = after;
    }
    values
}

/// Decodes `%41`, and `+` as a space where `plus` says so; incomplete sequences stay as they are.
pub(crate) fn decode(text: &[u8], plus: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(digit(*high) << 4 | digit(*low));
                rest = &after[2..];
            }
            (b'+', _) if plus => out.push(b' '),
            _ => out.push(byte),
        }
    }
    out
}

fn digit(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        _ => (hex | 0x20) - b'a' + 10,
    }
}

impl Found<'_> {
    /// Hooks of the route or fallback.
    pub fn hooks(&self) -> &[HookId] {
        match self {
            Self::Route(route, _) => &route.hooks,
            Self::Fallback(fallback, _) => &fallback.hooks,
            Self::MethodNotAllowed(_) | Self::NotFound => &[],
        }
    }
}

#[cfg(test)]
#[path = "route_table_tests.rs"]
mod tests;
