//! Following: a response is delivered while it arrives, to the request that asked for it and to all that
//! joined.

use bytes::Bytes;
use ringway_cache::policy::{Outcome, Reply, RequestFacts, reply};
use ringway_cache::{Read, Reader};

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
    /// Delivers a response that arrives. `extra` are field lines for this client only.
    pub(super) async fn follow(
        &mut self,
        target: &Target<'a>,
        reader: Reader<Failure>,
        facts: &RequestFacts,
        (outcome, extra): (Outcome, &[u8]),
    ) -> Result<Disposition, Failure> {
        let core = self.core;
        let ConnBuffers { request, client_in, .. } = &*self.buffers;
        let head = reader.head().clone();
        // Ranges are of whole content only: its length is not known yet.
        let reply = reply(facts, (request, client_in.as_slice()), &head, None);
        self.put_stored_head(&head, &reply, reader.expected(), extra)?;
        self.info.cache = Some(outcome);
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
