//! Following: a response is delivered while it arrives, to the request that asked for it and to all that
//! joined.

use bytes::Bytes;
use ringway_cache::policy::{Outcome, Reply, Storing, reply, write_reply_fields};
use ringway_cache::{Read, Reader};
use ringway_wire::h1::Parse;

use super::answer::write_length;
use super::lookup::Question;
use super::state::CacheState;
use crate::core::{ConnBuffers, Core};
use crate::exchange::body_pipe::{BodyPart, BodySource};
use crate::exchange::deliver_stored::Content;
use crate::exchange::disposition::Disposition;
use crate::exchange::failure::Failure;
use crate::exchange::{Exchange, Target};
use crate::limits;
use crate::runtime::Runtime;
use crate::session::downstream_conn::DownstreamConn;

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Delivers a response that arrives. `is_collapsed`: another request asked for it.
    pub(super) async fn follow(
        &mut self,
        target: &Target<'a>,
        reader: Reader<Failure>,
        question: &Question,
        is_collapsed: bool,
    ) -> Result<Disposition, Failure> {
        let core = self.core;
        let ConnBuffers { request, client_in, response, upstream_in, .. } = &mut *self.buffers;
        let head = reader.head().clone();
        let reply = reply(&question.facts, (&*request, client_in.as_slice()), &head, None);
        upstream_in.clear();
        upstream_in.extend_from_slice(b"HTTP/1.1 ");
        match &reply {
            Reply::NotModified => upstream_in.extend_from_slice(b"304 Not Modified"),
            Reply::Full | Reply::Part(_) | Reply::Unsatisfiable => {
                upstream_in.extend_from_slice(head.status_text());
            }
        }
        upstream_in.extend_from_slice(b"\r\n");
        let length = reader.expected().filter(|_| reply == Reply::Full);
        write_reply_fields(upstream_in, &head, &reply, length.unwrap_or(0), core.runtime.timestamp());
        if let Some(length) = length {
            write_length(upstream_in, length);
        }
        upstream_in.extend_from_slice(b"\r\n");
        response.reset();
        match response.parse(upstream_in, request.method(), &core.settings.heads) {
            Ok(Parse::Complete) => {}
            Ok(Parse::Partial) => return Err(Failure::ResponseHeadCut),
            Err(error) => return Err(Failure::BadResponse(error)),
        }
        self.info.cache = Some(Outcome::Forwarded {
            forward: question.forward,
            status: head.status(),
            storing: Storing::Stored,
            collapsed: is_collapsed,
        });
        if reply == Reply::NotModified {
            drop(reader);
            return self.deliver_stored(target, Content::Whole { chunks: &[], range: 0..0 }).await;
        }
        let Some(cache) = &core.cache else { return Err(Failure::Exhausted) };
        let arriving = Arriving { core, client: self.client, cache, reader, data: Bytes::new() };
        self.deliver_stored(target, Content::Arriving(arriving)).await
    }
}

/// Content that arrives.
pub(in crate::exchange) struct Arriving<'b, R: Runtime> {
    core: &'b Core<R>,
    client: &'b DownstreamConn<R::Stream>,
    cache: &'b CacheState,
    reader: Reader<Failure>,
    data: Bytes,
}

impl<R: Runtime> Arriving<'_, R> {
    /// The next bytes; `None` at the end of the content.
    pub(in crate::exchange) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.reader.read(self.core.runtime.now()) {
                Read::Bytes(bytes) => return Ok(Some(bytes)),
                Read::End => return Ok(None),
                Read::Cut => return Err(Failure::ResponseCut),
                Read::Pending => self.fill().await?,
            }
        }
    }

    /// Bytes that are there; `None` while nothing is, and at the end.
    pub(in crate::exchange) fn next_now(&mut self) -> Option<Bytes> {
        match self.reader.read(self.core.runtime.now()) {
            Read::Bytes(bytes) => Some(bytes),
            Read::End | Read::Cut | Read::Pending => None,
        }
    }
}

impl<R: Runtime> BodySource for Arriving<'_, R> {
    fn take(&mut self) -> Result<BodyPart, Failure> {
        self.data = Bytes::new();
        match self.reader.read(self.core.runtime.now()) {
            Read::Bytes(bytes) => {
                self.data = bytes;
                Ok(BodyPart::Inner)
            }
            Read::Pending => Ok(BodyPart::Inner),
            Read::End => Ok(BodyPart::Last),
            Read::Cut => Err(Failure::ResponseCut),
        }
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        if !self.data.is_empty() {
            return Ok(());
        }
        let mut wait = self.cache.waits.begin(self.reader.id());
        // Boxed: exchanges need not be larger for it.
        let woken = Box::pin(self.core.runtime.timeout(wait.next(), limits::CLIENT_WATCH_DELAY)).await;
        if woken.is_none() && self.client.has_left().await {
            return Err(Failure::ClientClosed);
        }
        Ok(())
    }

    async fn yield_now(&self) {
        self.core.runtime.yield_now().await;
    }

    fn data(&self) -> &[u8] {
        &self.data
    }

    fn trailers(&self) -> &[u8] {
        &[]
    }
}
