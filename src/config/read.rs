//! Reading of all sources into one document.
//!
//! ```text
//! source ─ tree ─ shapes ─┐
//! source ─ tree ─ shapes ─┴─► Draft ─ resolve: references, conditions, client certificates ─► Document
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use ringway_model::{Kind, MiddlewareSpec, OperatorSet, PluginSpec, PoolSpec};

use crate::draft::Draft;
use crate::finding::arrange;
use crate::reader::{Outcome, RawStatic, Reader, Report, read_document};
use crate::shapes::{origin_of_chain, origin_of_pool};
use crate::tree::{Parsed, Value, json, yaml};
use crate::{
    Document, Finding, Object, Place, Pointer, Position, Reading, Sections, Severity, Source, StaticValue,
    canonical, limits, resolve, shapes, statics,
};

/// The resources beside which a document stands.
pub struct Beside<'a> {
    /// Whether a resource of another owner exists: references may name it.
    pub is_known: &'a dyn Fn(Kind, &str) -> bool,
    /// The present document of the same owner: sections of resources, rules and trial that the new one leaves
    /// out are taken from it.
    pub base: Option<&'a Document>,
    /// Names of the stages of an embedder that plugins of the type `builtin` may stand for; `None` leaves all
    /// names unjudged.
    pub builtins: Option<&'a [Arc<str>]>,
}

impl Beside<'_> {
    /// No other resources.
    pub const NOTHING: Beside<'static> = Beside { is_known: &|_, _| false, base: None, builtins: Some(&[]) };
}

/// Reads all sources as one configuration: sections of the same name are joined. Never panics; takes about
/// 0.2 s for 1 MB, so it does not belong on a thread that others wait for.
pub fn read(sources: &[Source]) -> Reading {
    read_beside(sources, &Beside::NOTHING)
}

/// Reads all sources as one configuration beside other resources.
pub fn read_beside(sources: &[Source], beside: &Beside<'_>) -> Reading {
    let bytes: usize = sources.iter().map(|source| source.text.len()).sum();
    if bytes > limits::DOCUMENT_BYTES_MAX || sources.len() > limits::SOURCES_MAX {
        let message = format!(
            "a configuration has at most {} bytes in {} files; this one has {bytes} in {}",
            limits::DOCUMENT_BYTES_MAX,
            limits::SOURCES_MAX,
            sources.len()
        );
        return failed(vec![error("range", message)]);
    }
    if sources.is_empty() {
        return failed(vec![error("missing", "there is no configuration file".to_owned())]);
    }
    let mut read = Joined::default();
    let (scripts, documents): (Vec<_>, Vec<_>) = sources.iter().partition(|source| source.is_script());
    let scripts = scripts.into_iter().map(|source| (source.name.clone(), source.text.as_str().into()));
    read.draft.script_files = scripts.collect();
    for source in documents {
        read.draft.begin(&source.name);
        let outcome = read_source(&source.text, &mut read.draft);
        read.add(outcome, Some(&source.name));
    }
    read.finish(beside)
}

/// Reads the object of a request as a configuration; findings have pointers below it, and no places.
pub fn read_object(object: &Object<'_>, beside: &Beside<'_>) -> Reading {
    let mut read = Joined::default();
    let outcome = read_document(object, None, |reader| shapes::document(reader, &mut read.draft));
    read.add(outcome, None);
    read.finish(beside)
}

/// All that was read so far.
#[derive(Default)]
struct Joined {
    draft: Draft,
    statics: Vec<StaticValue>,
    findings: Vec<Finding>,
    omitted: usize,
}

impl Joined {
    fn add(&mut self, outcome: Outcome, file: Option<&Arc<str>>) {
        self.omitted += outcome.omitted;
        self.findings.extend(outcome.reports.into_iter().map(|report| located(report, file)));
        let mut statics = outcome.statics;
        statics.sort_by_key(|value| value.at);
        self.statics.extend(statics.into_iter().map(|value| static_value(value, file)));
    }

    fn finish(self, beside: &Beside<'_>) -> Reading {
        let Self { mut draft, statics, mut findings, omitted } = self;
        findings.extend(resolve::resolve(&mut draft, beside));
        findings.extend(statics::repeated(&statics));
        if omitted > 0 || findings.iter().any(Finding::is_error) {
            return Reading { document: None, statics, findings: arrange(findings, omitted) };
        }
        let findings = arrange(findings, omitted);
        draft.policies.sort_by(|a, b| a.id.cmp(&b.id));
        draft.pools.sort_by(|a, b| a.id.cmp(&b.id));
        draft.certificates.sort_by(|a, b| a.sni.cmp(&b.sni));
        draft.middlewares.sort_by(|a, b| a.id.cmp(&b.id));
        draft.plugins.sort_by(|a, b| a.id.cmp(&b.id));
        draft.scripts.sort_by(|a, b| a.id.cmp(&b.id));
        let mut set = OperatorSet {
            policies: draft.policies,
            pools: draft.pools,
            routes: draft.routes.into_iter().map(Arc::new).collect(),
            certificates: draft.certificates,
            middlewares: draft.middlewares,
            plugins: draft.plugins,
            scripts: draft.scripts,
        };
        if let Some(base) = beside.base {
            fill(&mut set, draft.sections, &base.set);
            if !draft.sections.governance {
                draft.governance.clone_from(&base.governance);
            }
            draft.bake = draft.bake.or(base.bake);
        }
        let canonical: Arc<str> = canonical::text(&set, &draft.governance, draft.bake).into();
        let version = canonical::version(&canonical);
        let places = draft.names.declared.into_iter();
        let document = Document {
            statics: statics.clone(),
            set: Arc::new(set),
            places: places.filter_map(|(key, declared)| declared.place.map(|place| (key, place))).collect(),
            checked_later: draft.checked_later.into_iter().collect(),
            sections: draft.sections,
            governance: draft.governance,
            bake: draft.bake,
            forward: draft.forward,
            canonical,
            version,
        };
        Reading { document: Some(document), statics, findings }
    }
}

/// Takes the sections that a document leaves out from the present set.
fn fill(set: &mut OperatorSet, given: Sections, base: &OperatorSet) {
    if !given.policies {
        set.policies.clone_from(&base.policies);
    }
    if !given.routes {
        set.routes.clone_from(&base.routes);
    }
    if !given.scripts {
        set.scripts.clone_from(&base.scripts);
    }
    if !given.certificates {
        set.certificates.clone_from(&base.certificates);
    }
    let pool = |pool: &PoolSpec| pool.id.as_str().to_owned();
    keep(&mut set.pools, &base.pools, pool, |id| given.has(origin_of_pool(id)));
    let chain = |chain: &Arc<MiddlewareSpec>| chain.id.as_str().to_owned();
    keep(&mut set.middlewares, &base.middlewares, chain, |id| given.has(origin_of_chain(id)));
    let plugin = |plugin: &Arc<PluginSpec>| plugin.id.as_str().to_owned();
    keep(&mut set.plugins, &base.plugins, plugin, |_| given.plugins);
}

/// Adds the present resources whose section a document leaves out, but for those that it replaces.
fn keep<T: Clone>(new: &mut Vec<T>, base: &[T], id: impl Fn(&T) -> String, is_given: impl Fn(&str) -> bool) {
    let ids: HashSet<String> = new.iter().map(&id).collect();
    let kept = base.iter().filter(|one| !is_given(&id(one)) && !ids.contains(&id(one)));
    new.extend(kept.cloned());
    new.sort_by_key(id);
}

fn read_source(text: &str, draft: &mut Draft) -> Outcome {
    let is_json = text.trim_start().starts_with(['{', '[']);
    let mut bytes = if is_json { text.as_bytes().to_vec() } else { Vec::new() };
    let Parsed { root, mut reports } = match is_json {
        true => json::parse_document(text, &mut bytes),
        false => yaml::parse(text),
    };
    let start = Position { line: 1, column: 1 };
    let (code, message, at) = match &root {
        Some(node) => match &node.value {
            Value::Object(object) => {
                let mut outcome =
                    read_document(object, node.at, |reader: &mut Reader<'_>| shapes::document(reader, draft));
                outcome.reports.append(&mut reports);
                return outcome;
            }
            Value::Null => ("missing", "is empty".to_owned(), None),
            other => ("type", format!("must be an object, not {}", other.kind()), node.at),
        },
        None => ("missing", "is empty".to_owned(), None),
    };
    // Its ids are not known.
    draft.names.unreadable.extend([Kind::App, Kind::Policy, Kind::Middleware, Kind::Plugin]);
    if reports.is_empty() {
        reports.push(Report::error(Pointer::default(), code, message, at.or(Some(start))));
    }
    Outcome { reports, omitted: 0, statics: Vec::new() }
}

fn failed(findings: Vec<Finding>) -> Reading {
    Reading { document: None, statics: Vec::new(), findings }
}

fn error(code: &'static str, message: String) -> Finding {
    Finding { severity: Severity::Error, code, pointer: String::new(), message, place: None }
}

fn located(report: Report, file: Option<&Arc<str>>) -> Finding {
    Finding {
        severity: report.severity,
        code: report.code,
        pointer: report.field.to_string(),
        message: report.message,
        place: file.zip(report.at).map(|(file, at)| Place::new(file, at)),
    }
}

fn static_value(value: RawStatic, file: Option<&Arc<str>>) -> StaticValue {
    let at = value.at.unwrap_or(Position { line: 1, column: 1 });
    let request = Arc::from("request");
    let place = Place::new(file.unwrap_or(&request), at);
    StaticValue { path: value.path.into(), value: value.value.into(), place }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
