//! Answers by stored responses.

use std::io::Write;

use ringway_cache::StoredHead;
use ringway_cache::policy::{Reply, reply, write_reply_fields};
use ringway_wire::h1::Parse;

use super::lookup::Answer;
use crate::core::ConnBuffers;
use crate::exchange::deliver_stored::Content;
use crate::exchange::disposition::Disposition;
use crate::exchange::failure::Failure;
use crate::exchange::{Exchange, Target};
use crate::runtime::Runtime;

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Answers by a stored response: the condition and the range of the request decide about status and
    /// bytes.
    pub(in crate::exchange) async fn answer(
        &mut self,
        target: &Target<'a>,
        answer: Answer,
    ) -> Result<Disposition, Failure> {
        let Answer { head, body, facts, outcome, extra, .. } = answer;
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let reply = reply(&facts, (request, client_in.as_slice()), &head, Some(body.len()));
        self.put_stored_head(&head, &reply, Some(body.len()), &extra)?;
        self.info.cache = Some(outcome);
        let range = match &reply {
            Reply::Full => 0..body.len(),
            Reply::Part(range) => range.clone(),
            Reply::NotModified | Reply::Unsatisfiable => 0..0,
        };
        let as_index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let range = as_index(range.start)..as_index(range.end);
        self.deliver_stored(target, Content::Whole { chunks: body.chunks(), range }).await
    }

    /// Puts the head of a reply by a stored response into the buffers, as if an endpoint had sent it. `size`
    /// is the length of the stored content, if it is known; `extra` are lines for this client only.
    pub(super) fn put_stored_head(
        &mut self,
        head: &StoredHead,
        reply: &Reply,
        size: Option<u64>,
        extra: &[u8],
    ) -> Result<(), Failure> {
        let core = self.core;
        let ConnBuffers { request, response, upstream_in, .. } = &mut *self.buffers;
        upstream_in.clear();
        upstream_in.extend_from_slice(b"HTTP/1.1 ");
        match reply {
            Reply::Full => upstream_in.extend_from_slice(head.status_text()),
            Reply::NotModified => upstream_in.extend_from_slice(b"304 Not Modified"),
            Reply::Part(_) => upstream_in.extend_from_slice(b"206 Partial Content"),
            Reply::Unsatisfiable => upstream_in.extend_from_slice(b"416 Range Not Satisfiable"),
        }
        upstream_in.extend_from_slice(b"\r\n");
        write_reply_fields(upstream_in, head, reply, size.unwrap_or(0), core.runtime.timestamp());
        if let Some(length) = size.and_then(|size| reply.content_length(size)) {
            // Writes to memory do not fail.
            let _ = write!(upstream_in, "Content-Length: {length}\r\n");
        }
        upstream_in.extend_from_slice(extra);
        upstream_in.extend_from_slice(b"\r\n");
        response.reset();
        match response.parse(upstream_in, request.method(), &core.settings.heads) {
            Ok(Parse::Complete) => Ok(()),
            Ok(Parse::Partial) => Err(Failure::ResponseHeadCut),
            Err(error) => Err(Failure::BadResponse(error)),
        }
    }
}
