//! Middleware chain: the compiled stages of a rule, and their state for one request.

use std::any::Any;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use ringway_compress::EncoderPool;
use ringway_model::StageSpec;
use ringway_wire::h1::RequestHead;

use crate::auth::reason::Reason;
use crate::body::BodyTransforms;
use crate::builtin::Builtin;
use crate::edits::Edits;
use crate::field_names::{self, FieldNames};
use crate::identity::{Identity, SharedIdentity};
use crate::reply::LocalReply;
use crate::request::RequestCtx;
use crate::response::ResponseCtx;
use crate::{Flow, Middleware, Pending};

/// Stage of a chain.
#[derive(Clone)]
pub enum Stage {
    /// Stage of an embedder.
    Custom(Arc<dyn Middleware>),
    /// Stage of the configuration.
    Builtin(Arc<Builtin>),
}

impl Stage {
    pub(crate) fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        match self {
            Self::Custom(middleware) => middleware.on_request(request),
            Self::Builtin(stage) => stage.on_request(request),
        }
    }

    pub(crate) fn wait<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> Pending<'a> {
        match self {
            Self::Custom(middleware) => middleware.wait(request),
            Self::Builtin(stage) => stage.wait(request),
        }
    }

    pub(crate) fn on_response(&self, response: &mut ResponseCtx<'_>) {
        match self {
            Self::Custom(middleware) => middleware.on_response(response),
            Self::Builtin(stage) => stage.on_response(response),
        }
    }

    /// Its configuration; `None` for a stage of an embedder.
    pub fn spec(&self) -> Option<&StageSpec> {
        match self {
            Self::Custom(_) => None,
            Self::Builtin(stage) => Some(stage.spec()),
        }
    }

    /// The word in logs and metrics: the type in documents.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Custom(_) => "custom",
            Self::Builtin(stage) => stage.name(),
        }
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stage({})", self.name())
    }
}

impl PartialEq for Stage {
    /// Custom stages are equal by identity, built-in ones by their configuration.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Custom(one), Self::Custom(two)) => Arc::ptr_eq(one, two),
            (Self::Builtin(one), Self::Builtin(two)) => one == two,
            (Self::Custom(_), Self::Builtin(_)) | (Self::Builtin(_), Self::Custom(_)) => false,
        }
    }
}

impl Eq for Stage {}

/// Stages, in the order of request processing.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Chain {
    stages: Box<[Stage]>,
    /// Fields that only stages may set: those of a client are removed.
    asserted: FieldNames,
}

impl Chain {
    /// Returns a chain of these stages.
    pub fn new(stages: Vec<Stage>) -> Self {
        let asserted = FieldNames::new(stages.iter().flat_map(asserted_by));
        Self { stages: stages.into(), asserted }
    }

    /// Its stages.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Stages that decide who is served.
    pub fn guards(&self) -> impl Iterator<Item = &Stage> {
        self.stages.iter().filter(|stage| match stage {
            // It may be one: nothing is known about it here.
            Stage::Custom(_) => true,
            Stage::Builtin(stage) => stage.is_guard(),
        })
    }

    /// Runs the request stages until one does not let the request continue. After [`Flow::Wait`] and
    /// [`Flow::Limit`] the caller does what is asked for, calls [`Run::pass`], and this again.
    pub fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        if request.run.passed == 0 && !self.asserted.is_empty() {
            self.remove_asserted(request);
        }
        while let Some(stage) = self.stages.get(request.run.passed) {
            match stage.on_request(request) {
                Flow::Continue => request.run.passed += 1,
                stop @ (Flow::Reply(_) | Flow::Wait | Flow::Limit(_) | Flow::Script) => return stop,
            }
        }
        Flow::Continue
    }

    /// Completes the decision of the stage that returned [`Flow::Wait`].
    pub async fn wait(&self, request: &mut RequestCtx<'_>) -> ControlFlow<LocalReply> {
        match self.stages.get(request.run.passed) {
            Some(stage) => stage.wait(request).await,
            None => ControlFlow::Continue(()),
        }
    }

    /// The stage that a run stands at: the one that replied or waits.
    pub fn stage_of(&self, run: &Run) -> Option<&Stage> {
        self.stages.get(run.passed)
    }

    /// Removes the client's own fields of asserted names, however they are spelled.
    pub(crate) fn remove_asserted(&self, request: &mut RequestCtx<'_>) {
        let view = request.view;
        for field in view.head().fields(view.buf()) {
            if self.asserted.contain(field.name) {
                request.run.edits.remove_received(field.name);
            }
        }
    }

    /// Names of trailers that the request may not have: fields that only stages may set, and those that the
    /// stages of this run have removed or replaced.
    pub fn refused_trailers(&self, run: &Run) -> FieldNames {
        FieldNames::new(self.asserted.iter().chain(run.edits.removed()))
    }

    /// Runs the response stages of those that let the request continue, in reverse order: the first stage of
    /// the request is the last one of the response.
    pub fn on_response(&self, response: &mut ResponseCtx<'_>) {
        let passed = response.run.passed;
        for (index, stage) in self.stages.iter().enumerate().take(passed).rev() {
            response.run.passed = index;
            stage.on_response(response);
        }
        response.run.passed = passed;
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({} stages)", self.stages.len())
    }
}

fn asserted_by(stage: &Stage) -> Vec<&str> {
    match stage {
        Stage::Custom(_) => Vec::new(),
        Stage::Builtin(stage) => stage.asserted().collect(),
    }
}

/// State of one request's run through a chain. Empty, and without heap memory, until a stage uses it.
#[derive(Default)]
pub struct Run {
    /// Number of stages that let the request continue. While a stage runs, its index.
    pub(crate) passed: usize,
    states: Vec<Option<Box<dyn Any>>>,
    pub(crate) edits: Edits,
    /// Buffers of the response's edits, while no response uses them.
    response_edits: Edits,
    pub(crate) identity: Option<SharedIdentity>,
    /// Reason of a refusal by authentication.
    pub(crate) refusal: Option<Reason>,
    pub(crate) request_body: BodyTransforms,
    pub(crate) response_body: BodyTransforms,
    /// Encoders of the core, where a stage compresses.
    pub(crate) encoders: Option<EncoderPool>,
    /// Reason why a stage did not compress.
    pub(crate) not_compressed: Option<&'static str>,
}

impl Run {
    /// Lets the request pass the stage that it stands at.
    pub fn pass(&mut self) {
        self.passed += 1;
    }

    /// Buffers for the edits of a response.
    pub fn take_response_edits(&mut self) -> Edits {
        std::mem::take(&mut self.response_edits)
    }

    /// Takes the buffers back.
    pub fn give_response_edits(&mut self, mut edits: Edits) {
        edits.clear();
        self.response_edits = edits;
    }

    /// Forgets the request; buffers stay for the next one.
    pub fn clear(&mut self) {
        let (mut edits, mut states) = (std::mem::take(&mut self.edits), std::mem::take(&mut self.states));
        edits.clear();
        states.clear();
        *self = Self { edits, states, response_edits: self.take_response_edits(), ..Self::default() };
    }

    /// Removes the client's own fields of these names, which are in lower case with `-` for punctuation,
    /// however they are spelled.
    pub fn remove_spelled(&mut self, head: &RequestHead, buf: &[u8], names: &[&str]) {
        for field in head.fields(buf) {
            if names.iter().any(|known| field_names::is_folded(field.name, known)) {
                self.edits.remove_received(field.name);
            }
        }
    }

    /// The identity that a stage verified.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }

    /// Reason for which authentication refused the request.
    pub fn refusal(&self) -> Option<Reason> {
        self.refusal
    }

    /// The reason why the stage `compress` left the response as it is, from a fixed vocabulary.
    pub fn not_compressed(&self) -> Option<&'static str> {
        self.not_compressed
    }

    /// Edits of the forwarded request head.
    pub fn request_edits(&self) -> &Edits {
        &self.edits
    }

    /// The same, to be changed by what stands behind the stages.
    pub fn edit_request(&mut self) -> &mut Edits {
        &mut self.edits
    }

    /// Transforms of the request's body.
    pub fn request_body(&mut self) -> &mut BodyTransforms {
        &mut self.request_body
    }

    /// Transforms of the response's body.
    pub fn response_body(&mut self) -> &mut BodyTransforms {
        &mut self.response_body
    }

    /// State of the running stage. A state of another type replaces it.
    pub(crate) fn state<T: Default + 'static>(&mut self) -> &mut T {
        if self.states.len() <= self.passed {
            self.states.resize_with(self.passed + 1, || None);
        }
        let slot = &mut self.states[self.passed];
        if !slot.as_ref().is_some_and(|state| state.is::<T>()) {
            *slot = Some(Box::new(T::default()));
        }
        slot.as_mut().and_then(|state| state.downcast_mut()).expect("the slot was filled with this type")
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("passed", &self.passed)
            .field("edits", &self.edits)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
