//! `header_transform`: adds, replaces and removes header fields of both heads.

use ringway_model::{HeaderEdits, HeaderTransform};

use crate::Flow;
use crate::edits::Edits;
use crate::field_names::{self, FieldNames};
use crate::identity::Identity;
use crate::request::{RequestCtx, RequestView};
use crate::response::ResponseCtx;
use crate::template;

/// The stage.
#[derive(Debug)]
pub(crate) struct Headers {
    spec: HeaderTransform,
    /// Fields of the request that the client has no part in.
    taken: FieldNames,
}

impl Headers {
    pub(crate) fn new(spec: &HeaderTransform) -> Self {
        let HeaderEdits { remove, set, .. } = &spec.request;
        let taken = remove.iter().chain(set.iter().map(|(name, _)| name)).map(|name| &**name);
        Self { spec: spec.clone(), taken: FieldNames::new(taken) }
    }

    pub(crate) fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        let view = request.view;
        let run = &mut *request.run;
        apply(&self.spec.request, &view, run.identity.as_deref(), &mut run.edits);
        for field in view.head().fields(view.buf()) {
            // Other spellings, which the endpoint may read as the same variable.
            if field_names::is_unusual(field.name) && self.taken.contain(field.name) {
                run.edits.remove_received(field.name);
            }
        }
        Flow::Continue
    }

    pub(crate) fn on_response(&self, response: &mut ResponseCtx<'_>) {
        let request = response.request;
        apply(&self.spec.response, &request, response.run.identity.as_deref(), response.edits);
    }
}

/// Collects the edits, whose names were checked with the document. An empty value adds nothing: its variable
/// is absent.
fn apply(edits: &HeaderEdits, request: &RequestView<'_>, identity: Option<&Identity>, to: &mut Edits) {
    for name in &edits.remove {
        to.remove(name);
    }
    for (name, template) in &edits.set {
        to.remove(name);
        to.append_with(name, |value| template::render(template, request, identity, value));
    }
    for (name, template) in &edits.add {
        to.append_with(name, |value| template::render(template, request, identity, value));
    }
}

#[cfg(test)]
#[path = "header_transform_tests.rs"]
mod tests;
