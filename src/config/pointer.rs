//! Path of a value in a document.

use std::fmt;

use ringway_model::limits;

/// Path of a value: the names of its parents and its own; printed as a JSON pointer (RFC 6901). Names are
/// cut to [`limits::FINDING_NAME_BYTES_MAX`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer {
    names: Vec<Box<str>>,
}

impl Pointer {
    /// Descends to a member.
    pub fn push(&mut self, name: &str) {
        let mut end = name.len().min(limits::FINDING_NAME_BYTES_MAX);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        self.names.push(name[..end].into());
    }

    /// Ascends.
    pub fn pop(&mut self) {
        self.names.pop();
    }

    /// The path of a member.
    pub fn child(&self, name: &str) -> Self {
        let mut child = self.clone();
        child.push(name);
        child
    }

    /// Whether this is the path of a value, or of one below it.
    pub fn is_below(&self, other: &Self) -> bool {
        self.names.starts_with(&other.names)
    }

    /// Number of names.
    pub fn depth(&self) -> usize {
        self.names.len()
    }

    /// The names, joined by dots.
    pub fn dotted(&self) -> String {
        self.names.join(".")
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.names {
            match name.contains(['~', '/']) {
                true => write!(f, "/{}", name.replace('~', "~0").replace('/', "~1"))?,
                false => write!(f, "/{name}")?,
            }
        }
        Ok(())
    }
}
