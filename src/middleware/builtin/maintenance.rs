//! `maintenance`: answers all requests with 503, except for those of some clients.

use std::sync::Arc;

use ringway_model::Maintenance as Spec;

use super::networks::Networks;
use crate::Flow;
use crate::reply::LocalReply;
use crate::request::RequestCtx;

/// The stage.
#[derive(Debug)]
pub(crate) struct Maintenance {
    retry_after: Box<[u8]>,
    page: Option<Arc<str>>,
    bypass: Networks,
}

impl Maintenance {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self {
            retry_after: spec.retry_after.as_secs().max(1).to_string().into_bytes().into(),
            page: spec.page.clone(),
            bypass: Networks::new(&spec.bypass),
        }
    }

    pub(crate) fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        if self.bypass.contains(request.client()) {
            return Flow::Continue;
        }
        let is_grpc = request.field("content-type").any(|value| value.starts_with(b"application/grpc"));
        let reply = match &self.page {
            Some(page) if !is_grpc => LocalReply::new(503, page.as_bytes().to_vec())
                .with_field("Content-Type", b"text/html; charset=utf-8")
                .and_then(|reply| reply.with_field("Cache-Control", b"no-store")),
            _ => Ok(LocalReply::refusal(503, "maintenance", "closed for maintenance; come back later")),
        };
        let reply = reply.and_then(|reply| reply.with_field("Retry-After", &self.retry_after));
        Flow::Reply(reply.unwrap_or_else(|_| LocalReply::error(503)))
    }
}

#[cfg(test)]
#[path = "maintenance_tests.rs"]
mod tests;
