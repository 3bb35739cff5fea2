//! Path of a value in a document.

use std::fmt;

use ringway_model::limits;

/// Path of a value: the names of its parents and its own; printed as a JSON pointer (RFC 6901). Names are
/// cut to [`limits::FINDING_NAME_BYTES_MAX`] bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer {
    /// The printed form: one allocation, because the reader keeps the path of each resource.
    text: String,
}

impl Pointer {
    /// Descends to a member.
    pub fn push(&mut self, name: &str) {
        let name = &name[..name.floor_char_boundary(limits::FINDING_NAME_BYTES_MAX)];
        self.text.push('/');
        match name.contains(['~', '/']) {
            true => self.text.push_str(&name.replace('~', "~0").replace('/', "~1")),
            false => self.text.push_str(name),
        }
    }

    /// Ascends.
    pub fn pop(&mut self) {
        self.text.truncate(self.text.rfind('/').unwrap_or(0));
    }

    /// The path of a member.
    pub fn child(&self, name: &str) -> Self {
        let mut text = String::with_capacity(self.text.len() + 1 + name.len());
        text.push_str(&self.text);
        let mut child = Self { text };
        child.push(name);
        child
    }

    /// Whether this is the path of a value, or of one below it.
    pub fn is_below(&self, other: &Self) -> bool {
        self.text.strip_prefix(&other.text).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Number of names.
    pub fn depth(&self) -> usize {
        self.text.matches('/').count()
    }

    /// The names, joined by dots.
    pub fn dotted(&self) -> String {
        let names = self.text.split('/').skip(1).map(|name| name.replace("~1", "/").replace("~0", "~"));
        names.collect::<Vec<_>>().join(".")
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_up_and_down() {
        let mut path = Pointer::default();
        for name in ["a", "b/c~", "", "d"] {
            path.push(name);
        }
        assert_eq!((path.to_string().as_str(), path.depth()), ("/a/b~1c~0//d", 4));
        assert_eq!(path.dotted(), "a.b/c~..d");
        let same = path.child("e");
        path.push("e");
        assert_eq!(path, same);
        for left in ["/a/b~1c~0//d", "/a/b~1c~0/", "/a/b~1c~0", "/a", "", ""] {
            path.pop();
            assert_eq!(path.to_string(), left);
        }
    }

    #[test]
    fn a_path_is_below_its_parents_and_itself() {
        let root = Pointer::default();
        let (a, ab) = (root.child("a"), root.child("ab"));
        let below = a.child("b");
        assert!(a.is_below(&root) && below.is_below(&a) && below.is_below(&root) && a.is_below(&a));
        assert!(!ab.is_below(&a) && !a.is_below(&below) && !root.is_below(&a));
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let path = Pointer::default().child(&"é".repeat(limits::FINDING_NAME_BYTES_MAX));
        assert!(path.to_string().len() <= 1 + limits::FINDING_NAME_BYTES_MAX);
    }
}
