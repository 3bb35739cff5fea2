//! Tree of a document: values with their positions, the same for YAML and JSON.
//!
//! JSON scalars have their type. A plain scalar of YAML is [`Value::Plain`] and has the type of the field
//! that reads it: no text turns into a number, a date or a boolean because it looks like one.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::{Pointer, Position, Report};

pub mod json;
pub(crate) mod yaml;

/// A value and its position, where that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Node<'a> {
    /// The value.
    pub value: Value<'a>,
    /// Position of its first character.
    pub at: Option<Position>,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`; in YAML also `~` and nothing at all.
    Null,
    /// A boolean of JSON.
    Bool(bool),
    /// A whole number of JSON.
    Unsigned(u64),
    /// A negative whole number of JSON.
    Negative(i64),
    /// Any other number of JSON.
    Fraction(f64),
    /// A string of JSON, a quoted or block scalar of YAML.
    Text(Cow<'a, str>),
    /// A plain scalar of YAML.
    Plain(Cow<'a, str>),
    /// A sequence.
    Array(Vec<Node<'a>>),
    /// A mapping.
    Object(Object<'a>),
    /// A value that the parser refused with a report of its own.
    Refused,
}

impl Value<'_> {
    /// The type, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Unsigned(_) | Self::Negative(_) | Self::Fraction(_) => "a number",
            Self::Text(_) => "a string",
            Self::Plain(_) => "a plain scalar",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
            Self::Refused => "this",
        }
    }
}

/// The members of an object, in the order of the text; names are unique.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object<'a> {
    members: Vec<Member<'a>>,
}

/// One member of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Member<'a> {
    /// The name.
    pub name: Cow<'a, str>,
    /// Position of the name.
    pub at: Option<Position>,
    /// The value.
    pub node: Node<'a>,
}

impl<'a> Object<'a> {
    /// The member of a name.
    pub fn member(&self, name: &str) -> Option<&Member<'a>> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The value of a name.
    pub fn value(&self, name: &str) -> Option<&Value<'a>> {
        self.member(name).map(|member| &member.node.value)
    }

    /// The members, in the order of the text.
    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// The names, in the order of the text.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| &*member.name)
    }
}

/// Members of an object under construction; names are compared as they come.
#[derive(Default)]
struct Members<'a> {
    members: Vec<Member<'a>>,
    /// Index of each name, once there are many.
    index: Option<HashMap<Cow<'a, str>, usize, ahash::RandomState>>,
}

impl<'a> Members<'a> {
    /// Adds a member, or returns the one that has its name already.
    fn push(&mut self, member: Member<'a>) -> Result<(), &Member<'a>> {
        let known = match &self.index {
            Some(index) => index.get(&member.name).copied(),
            None => self.members.iter().position(|known| known.name == member.name),
        };
        if let Some(known) = known {
            return Err(&self.members[known]);
        }
        if self.index.is_none() && self.members.len() == LINEAR_MAX {
            let names = self.members.iter().enumerate();
            self.index = Some(names.map(|(at, member)| (member.name.clone(), at)).collect());
        }
        if let Some(index) = &mut self.index {
            index.insert(member.name.clone(), self.members.len());
        }
        self.members.push(member);
        Ok(())
    }

    fn finish(self) -> Object<'a> {
        Object { members: self.members }
    }
}

/// Members up to which a list is searched faster than a table.
const LINEAR_MAX: usize = 16;

/// Steps from the root to a value under construction.
#[derive(Default)]
struct Path<'a> {
    steps: Vec<Step<'a>>,
}

enum Step<'a> {
    Name(Cow<'a, str>),
    Index(usize),
}

impl<'a> Path<'a> {
    fn pointer(&self) -> Pointer {
        let mut pointer = Pointer::default();
        for step in &self.steps {
            match step {
                Step::Name(name) => pointer.push(name),
                Step::Index(index) => pointer.push(&index.to_string()),
            }
        }
        pointer
    }
}

/// A document's tree, or none where parsing stopped; either may come with reports.
pub(crate) struct Parsed<'a> {
    pub(crate) root: Option<Node<'a>>,
    pub(crate) reports: Vec<Report>,
}

/// Bounds of a tree.
#[derive(Clone, Copy)]
struct Bounds {
    depth_max: usize,
    values_max: usize,
}
