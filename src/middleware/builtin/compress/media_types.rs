//! Media types that are compressed.

use std::sync::Arc;

use crate::response::ResponseCtx;

/// Configured types: `text/html`, `text/*`, `application/*+json`.
#[derive(Debug)]
pub(crate) struct MediaTypes(Box<[Pattern]>);

#[derive(Debug)]
enum Pattern {
    Exact(Arc<str>),
    /// Parts before and behind the asterisk.
    Between(Box<str>, Box<str>),
}

impl MediaTypes {
    pub(crate) fn new(types: &[Arc<str>]) -> Self {
        let pattern = |name: &Arc<str>| match name.split_once('*') {
            Some((prefix, suffix)) => Pattern::Between(prefix.into(), suffix.into()),
            None => Pattern::Exact(name.clone()),
        };
        Self(types.iter().map(pattern).collect())
    }

    /// Whether the response is of such a type.
    ///
    /// # Errors
    /// The reason against it.
    pub(crate) fn includes(&self, response: &ResponseCtx<'_>) -> Result<(), &'static str> {
        let Some(value) = response.values("content-type").next() else { return Err("type") };
        let name = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        // Events are to pass at once, and gRPC compresses its messages itself.
        if is_or_extends(name, b"text/event-stream") || is_or_extends(name, b"application/grpc") {
            return Err("stream");
        }
        if self.0.iter().any(|pattern| pattern.matches(name)) { Ok(()) } else { Err("type") }
    }
}

impl Pattern {
    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => name.eq_ignore_ascii_case(exact.as_bytes()),
            Self::Between(prefix, suffix) => {
                let (prefix, suffix) = (prefix.as_bytes(), suffix.as_bytes());
                name.len() > prefix.len() + suffix.len()
                    && name[..prefix.len()].eq_ignore_ascii_case(prefix)
                    && name[name.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
            }
        }
    }
}

/// `application/grpc`, `application/grpc+proto`, `application/grpc-web`, but not `application/grpcx`.
fn is_or_extends(name: &[u8], base: &[u8]) -> bool {
    name.get(..base.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(base))
        && matches!(name.get(base.len()), None | Some(b'+' | b'-'))
}
