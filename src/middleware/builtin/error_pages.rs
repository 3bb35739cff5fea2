//! `error_pages`: content of errors that the proxy itself returns.

use std::ops::RangeInclusive;
use std::sync::Arc;

use ringway_model::ErrorPages as Spec;

use crate::body::{BodyError, BodyTransform};
use crate::response::ResponseCtx;

/// The stage.
#[derive(Debug)]
pub(crate) struct ErrorPages(Box<[Page]>);

#[derive(Debug)]
struct Page {
    statuses: Vec<RangeInclusive<u16>>,
    content_type: Box<[u8]>,
    body: Arc<str>,
}

impl ErrorPages {
    pub(crate) fn new(spec: &Spec) -> Self {
        let page = |page: &ringway_model::ErrorPage| {
            Some(Page {
                // Checked with the document.
                statuses: page.ranges()?,
                content_type: page.content_type.as_bytes().into(),
                body: page.body.clone(),
            })
        };
        Self(spec.pages.iter().filter_map(page).collect())
    }

    /// Replaces the content of an error; not of gRPC, whose errors have none, and not of a page that another
    /// stage or the route has made.
    pub(crate) fn on_response(&self, response: &mut ResponseCtx<'_>) {
        if !response.is_error() || is_grpc(response) {
            return;
        }
        let status = response.status();
        let Some(page) = self.0.iter().find(|page| page.statuses.iter().any(|range| range.contains(&status)))
        else {
            return;
        };
        let body = page
            .body
            .replace("${status}", &status.to_string())
            .replace("${request_id}", response.request.parts.request_id);
        // The media type was checked with the document.
        let _ = response.set("Content-Type", &page.content_type);
        response.transform_body(Replace(Some(body.into_bytes())));
    }
}

fn is_grpc(response: &ResponseCtx<'_>) -> bool {
    response.request_field("content-type").any(|value| value.starts_with(b"application/grpc"))
}

/// Transform whose output is one content, whatever the input.
struct Replace(Option<Vec<u8>>);

impl BodyTransform for Replace {
    fn on_data(&mut self, _: &[u8], _: &mut Vec<u8>) -> Result<(), BodyError> {
        Ok(())
    }

    fn on_end(&mut self, out: &mut Vec<u8>) -> Result<(), BodyError> {
        out.append(&mut self.0.take().unwrap_or_default());
        Ok(())
    }
}

#[cfg(test)]
#[path = "error_pages_tests.rs"]
mod tests;
