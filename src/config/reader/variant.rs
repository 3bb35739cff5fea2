//! Objects whose members depend on a word among them.

use serde_json::json;

use super::{Described, Description, Fault, Field, Location, Mode, Reader, nearest};

/// Member whose word decides about the others, such as `type`.
pub(crate) struct Tag {
    /// The name.
    pub(crate) name: &'static str,
    /// The documentation, one sentence.
    pub(crate) doc: &'static str,
    /// The words.
    pub(crate) words: &'static [&'static str],
}

impl Reader<'_> {
    /// Reads the members that belong to the word of a tag of the object under reading. Without a known word
    /// the other members are not judged.
    pub(crate) fn variant<T>(
        &mut self,
        tag: &Tag,
        mut shape: impl FnMut(&mut Self, &'static str) -> Option<T>,
    ) -> Option<T> {
        if self.is_describing() {
            let forms = tag.words.iter().map(|word| self.describe_variant(tag, word, &mut shape)).collect();
            if let Mode::Describes(description) = &mut self.mode {
                description.forms = forms;
            }
            return None;
        }
        let given = self.required(&Field::<String> {
            name: tag.name,
            doc: tag.doc,
            schema: || serde_json::Value::Null,
            parse: |given| given.text().map(str::to_owned),
        });
        let word = given.as_ref().and_then(|given| tag.words.iter().copied().find(|word| word == given));
        if let Some(word) = word {
            return shape(self, word);
        }
        if let Some(given) = given {
            let words = tag.words.join(", ");
            let hint = nearest(&given, tag.words.iter().copied());
            let hint = hint.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            self.fault(tag.name, Fault::invalid(format_args!("must be one of {words}{hint}")));
        }
        self.reads()?.has_free_names = true;
        None
    }

    fn describe_variant<T>(
        &self,
        tag: &Tag,
        word: &'static str,
        shape: &mut impl FnMut(&mut Self, &'static str) -> Option<T>,
    ) -> Vec<Described> {
        let mut inner = Self { mode: Mode::Describes(Description::default()), form: self.form };
        shape(&mut inner, word);
        let described = Described {
            name: tag.name,
            doc: tag.doc,
            schema: json!({ "const": word }),
            is_required: true,
            location: Location::Body,
        };
        match inner.mode {
            Mode::Describes(description) => std::iter::once(described).chain(description.fields).collect(),
            Mode::Reads(_) => Vec::new(),
        }
    }
}
