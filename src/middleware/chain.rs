//! Middleware chain: the compiled stages of a rule, and their state for one request.

use std::any::Any;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::body::BodyTransforms;
use crate::edits::Edits;
use crate::reply::LocalReply;
use crate::request::RequestCtx;
use crate::response::ResponseCtx;
use crate::{Flow, Middleware, Pending};

/// Stage of a chain.
#[derive(Clone)]
pub enum Stage {
    /// Stage of an embedder.
    Custom(Arc<dyn Middleware>),
}

impl Stage {
    fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        match self {
            Self::Custom(middleware) => middleware.on_request(request),
        }
    }

    fn wait<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> Pending<'a> {
        match self {
            Self::Custom(middleware) => middleware.wait(request),
        }
    }

    fn on_response(&self, response: &mut ResponseCtx<'_>) {
        match self {
            Self::Custom(middleware) => middleware.on_response(response),
        }
    }
}

/// Stages, in the order of request processing.
#[derive(Clone, Default)]
pub struct Chain(Box<[Stage]>);

impl Chain {
    /// Returns a chain of these stages.
    pub fn new(stages: Vec<Stage>) -> Self {
        Self(stages.into())
    }

    /// Runs the request stages until one replies or has to wait. After [`Flow::Wait`],
    /// [`resume`](Self::resume) continues.
    pub fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        while let Some(stage) = self.0.get(request.run.passed) {
            match stage.on_request(request) {
                Flow::Continue => request.run.passed += 1,
                stop @ (Flow::Reply(_) | Flow::Wait) => return stop,
            }
        }
        Flow::Continue
    }

    /// Awaits the pending stage, and runs those behind it.
    pub async fn resume(&self, request: &mut RequestCtx<'_>) -> ControlFlow<LocalReply> {
        while let Some(stage) = self.0.get(request.run.passed) {
            stage.wait(request).await?;
            request.run.passed += 1;
            match self.on_request(request) {
                Flow::Continue => break,
                Flow::Reply(reply) => return ControlFlow::Break(reply),
                Flow::Wait => {}
            }
        }
        ControlFlow::Continue(())
    }

    /// Runs the response stages of those that let the request continue, in reverse order: the first stage of
    /// the request is the last one of the response.
    pub fn on_response(&self, response: &mut ResponseCtx<'_>) {
        let passed = response.run.passed;
        for (index, stage) in self.0.iter().enumerate().take(passed).rev() {
            response.run.passed = index;
            stage.on_response(response);
        }
        response.run.passed = passed;
    }
}

impl PartialEq for Chain {
    /// Chains are equal when they have the same stages, by identity.
    fn eq(&self, other: &Self) -> bool {
        let is_same = |(one, two): (&Stage, &Stage)| match (one, two) {
            (Stage::Custom(one), Stage::Custom(two)) => Arc::ptr_eq(one, two),
        };
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(is_same)
    }
}

impl Eq for Chain {}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({} stages)", self.0.len())
    }
}

/// State of one request's run through a chain. Empty, and without heap memory, until a stage uses it.
#[derive(Default)]
pub struct Run {
    /// Number of stages that let the request continue. While a stage runs, its index.
    pub(crate) passed: usize,
    states: Vec<Option<Box<dyn Any>>>,
    pub(crate) edits: Edits,
    pub(crate) request_body: BodyTransforms,
    pub(crate) response_body: BodyTransforms,
}

impl Run {
    /// Edits of the forwarded request head.
    pub fn request_edits(&self) -> &Edits {
        &self.edits
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
