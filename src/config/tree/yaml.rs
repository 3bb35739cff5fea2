//! YAML as a tree, from the events of granit-parser.
//!
//! A subset of YAML 1.2: one document of mappings with scalar keys, sequences and scalars. Anchors, aliases,
//! merge keys, tags and further documents are refused, each with its position, and parsing goes on behind
//! them; a syntax error ends it.

use std::borrow::Cow;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput, options};

use super::{Bounds, Member, Members, Node, Parsed, Path, Step, Value};
use crate::{Position, Report, limits};

/// Parses a document.
pub(crate) fn parse(text: &str) -> Parsed<'_> {
    // Ours are the bounds that are reported; those of the parser are beyond them.
    let nesting = 2 * limits::DOCUMENT_DEPTH_MAX;
    let options = options! {
        flow_nesting_limit: nesting,
        block_nesting_limit: nesting,
        disallow_directives: true,
    };
    let mut builder = Builder {
        parser: Parser::new_from_str_with_options(text, options),
        bounds: Bounds { depth_max: limits::DOCUMENT_DEPTH_MAX, values_max: limits::DOCUMENT_VALUES_MAX },
        values: 0,
        path: Path::default(),
        reports: Vec::new(),
    };
    let root = builder.document().ok().flatten();
    Parsed { root, reports: builder.reports }
}

/// Parsing cannot continue; reported.
struct Stop;

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    bounds: Bounds,
    values: usize,
    path: Path<'a>,
    reports: Vec<Report>,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Option<Node<'a>>, Stop> {
        let root = loop {
            match self.next()? {
                (Event::StreamStart | Event::DocumentStart(..), _) => {}
                (Event::StreamEnd, _) => return Ok(None),
                (event, span) => break self.node(event, span, 0)?,
            }
        };
        loop {
            match self.next()? {
                (Event::DocumentEnd, _) => {}
                (Event::StreamEnd, _) => return Ok(Some(root)),
                (_, span) => {
                    let message = "is a second document: a file has one; split it, or join its lists";
                    self.report("invalid", message, position(span));
                    return Err(Stop);
                }
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Stop> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let at = error.marker();
                let at = at_line(at.line(), at.col());
                let message = format!("is not valid YAML here: {}", error.info());
                self.reports.push(Report::error(self.path.pointer(), "syntax", message, Some(at)));
                Err(Stop)
            }
            None => {
                self.report("syntax", "ends too early", Position { line: 1, column: 1 });
                Err(Stop)
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node<'a>, Stop> {
        let at = position(span);
        self.count(at, depth)?;
        let value = match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_properties(anchor, tag.is_some(), at);
                scalar(text, style)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_properties(anchor, tag.is_some(), at);
                self.sequence(depth)?
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_properties(anchor, tag.is_some(), at);
                self.mapping(depth)?
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.report("invalid", "is an alias (*name), which is not accepted: write the value out", at);
                Value::Refused
            }
            // Events that begin no value; the enumeration is non-exhaustive.
            _ => {
                self.report("syntax", "is not valid YAML here: a value is missing", at);
                return Err(Stop);
            }
        };
        Ok(Node { value, at: Some(at) })
    }

    fn sequence(&mut self, depth: usize) -> Result<Value<'a>, Stop> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::Array(items));
            }
            self.path.steps.push(Step::Index(items.len()));
            items.push(self.node(event, span, depth + 1)?);
            self.path.steps.pop();
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Value<'a>, Stop> {
        let mut members = Members::default();
        loop {
            let (event, span) = self.next()?;
            let at = position(span);
            let name = match event {
                Event::MappingEnd => return Ok(Value::Object(members.finish())),
                Event::Scalar(name, style, anchor, tag) => {
                    self.refuse_properties(anchor, tag.is_some(), at);
                    (name != "<<" || style != ScalarStyle::Plain).then_some(name)
                }
                other => {
                    self.report("invalid", "has a key that is not a scalar", at);
                    self.node(other, span, depth + 1)?;
                    let (event, span) = self.next()?;
                    self.node(event, span, depth + 1)?;
                    continue;
                }
            };
            let is_merge = name.is_none();
            let name = name.unwrap_or(Cow::Borrowed("<<"));
            self.path.steps.push(Step::Name(name.clone()));
            if is_merge {
                self.report("invalid", "is a merge key, which is not accepted: write the members out", at);
            }
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if !is_merge && let Err(known) = members.push(Member { name, at: Some(at), node }) {
                let line = known.at.map_or(0, |at| at.line);
                self.report("duplicate", &format!("is already given in line {line}"), at);
            }
            self.path.steps.pop();
        }
    }

    /// Counts a value.
    fn count(&mut self, at: Position, depth: usize) -> Result<(), Stop> {
        self.values += 1;
        if self.values > self.bounds.values_max {
            let message = format!("is beyond the {} values of one document", self.bounds.values_max);
            self.report("range", &message, at);
            return Err(Stop);
        }
        if depth > self.bounds.depth_max {
            let message = format!("is nested more than {} levels deep", self.bounds.depth_max);
            self.report("range", &message, at);
            return Err(Stop);
        }
        Ok(())
    }

    fn refuse_properties(&mut self, anchor: usize, is_tagged: bool, at: Position) {
        if anchor != 0 {
            self.report("invalid", "has an anchor (&name), which is not accepted", at);
        }
        if is_tagged {
            self.report("invalid", "has a tag (!name), which is not accepted", at);
        }
    }

    fn report(&mut self, code: &'static str, message: &str, at: Position) {
        // A hostile file may have one at every value.
        if self.reports.len() < REPORTS_MAX {
            self.reports.push(Report::error(self.path.pointer(), code, message.to_owned(), Some(at)));
        }
    }
}

/// Reports of one parse that are kept: more than are shown.
const REPORTS_MAX: usize = 2 * limits::DOCUMENT_FINDINGS_MAX;

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Value<'_> {
    match (style, &*text) {
        (ScalarStyle::Plain, "" | "~" | "null" | "Null" | "NULL") => Value::Null,
        (ScalarStyle::Plain, _) => Value::Plain(text),
        _ => Value::Text(text),
    }
}

fn position(span: Span) -> Position {
    at_line(span.start.line(), span.start.col())
}

/// Lines count from 1 in the parser, columns from 0.
fn at_line(line: usize, column: usize) -> Position {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Position { line: number(line.max(1)), column: number(column.saturating_add(1)) }
}

#[cfg(test)]
#[path = "yaml_tests.rs"]
mod tests;
