//! Filling: a task reads the response that an exchange asked for into chunks that all cores share, for as
//! long as it takes, whatever becomes of the client that asked first.

use std::rc::Rc;
use std::sync::Arc;

use ringway_cache::policy::{NotStored, Storing};
use ringway_cache::{InsertError, NotKept, Room, Writer};
use ringway_model::InstanceId;
use ringway_net::Stream;
use ringway_telemetry::CacheFilled;
use ringway_traffic::balance::Picked;
use ringway_traffic::breaker::Admission;
use ringway_traffic::plan::Variant;
use ringway_traffic::pool_breaker::Passed;
use ringway_traffic::snapshot::PoolId;
use ringway_traffic::virtual_host::{Rule, VirtualHost};
use ringway_wire::h1::{BodyState, ChunkMode, ChunkedBody, ResponseHead};
use ringway_wire::message::Framing;

use crate::core::{ConnBuffers, Core, Tables};
use crate::exchange::failure::Failure;
use crate::exchange::match_rule::Match;
use crate::exchange::{Exchange, Target, passive_health};
use crate::limits;
use crate::runtime::Runtime;
use crate::upstream::{Fault, UpstreamConn, UpstreamResponse};

/// A response on its way into the store.
pub(super) struct Fill<R: Runtime> {
    core: Rc<Core<R>>,
    rule: Arc<Rule>,
    /// `None` for a refresh, whose result is no verdict.
    source: Option<Source>,
    conn: Rc<UpstreamConn<R::Stream>>,
    head: ResponseHead,
    /// Bytes of the body that have come, and are not written yet.
    bytes: Vec<u8>,
    rest: Rest,
    writer: Writer<Failure>,
}

/// Origin of a response, for the verdict on it.
struct Source {
    tables: Rc<Tables>,
    host: Arc<VirtualHost>,
    pool: PoolId,
    variant: Option<Variant>,
    instance: InstanceId,
    admission: Admission,
    passed: Passed,
}

/// Framing of the part of a body that is still to come.
enum Rest {
    Length(u64),
    Chunked(ChunkedBody),
    UntilClose,
}

/// State of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    More,
    All,
    Malformed(ringway_wire::h1::BodyError),
}

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Reads the response whose head stands in the buffers into `writer`: what has come at once, and the rest
    /// in a task of its own. Returns whether it is stored, as far as that is known.
    pub(super) fn fill(
        &mut self,
        target: &Target<'a>,
        response: UpstreamResponse<'a, R>,
        writer: Writer<Failure>,
    ) -> Storing {
        let core = self.core;
        let ConnBuffers { response: head, upstream_in, .. } = &mut *self.buffers;
        let picked = &response.picked;
        let source = Source {
            tables: self.tables.clone(),
            host: target.matched.host.clone(),
            pool: target.pool.id,
            variant: target.variant,
            instance: picked.endpoint.instance.clone(),
            admission: picked.admission,
            passed: picked.passed,
        };
        let mut bytes = std::mem::take(upstream_in);
        bytes.drain(..head.len());
        let rest = Rest::of(head.framing());
        let (conn, head) = (response.conn, std::mem::take(head));
        let rule = target.matched.rule.clone();
        let source = Some(source);
        let mut fill = Fill { core: core.handle(), rule, source, conn, head, bytes, rest, writer };
        match fill.take() {
            Taken::More => {
                let storing = fill.writer.not_kept().map_or(Storing::Underway, storing_of);
                let id = core.id;
                core.runtime.spawn(fill.run(), move |panic| {
                    tracing::error!(core = id.0, %panic, "task of a cache fill panicked; its readers are cut");
                });
                storing
            }
            taken => {
                let (buffer, stored) = fill.end(taken);
                *upstream_in = buffer;
                stored.map_or_else(storing_of, |()| Storing::Stored)
            }
        }
    }
}

impl<R: Runtime> Fill<R> {
    /// Reads up to the end of the response, or until no request needs it.
    async fn run(self) {
        let core = self.core.clone();
        let tables = self.source.as_ref().map(|source| source.tables.clone());
        let endpoint = tables.as_ref().zip(self.source.as_ref()).and_then(|(tables, source)| {
            let pool = tables.snapshot.pool(source.pool)?;
            Some((pool, pool.endpoint(source.instance.as_str())?))
        });
        // Counts the request at its endpoint, as the exchange did before.
        let _in_flight = endpoint.and_then(|(pool, endpoint)| pool.begin(endpoint, core.id.0.into()));
        self.read().await;
    }

    /// A fill whose result is no verdict on an endpoint.
    pub(super) fn detached(
        core: Rc<Core<R>>,
        rule: &Arc<Rule>,
        (conn, head, mut bytes): (Rc<UpstreamConn<R::Stream>>, ResponseHead, Vec<u8>),
        writer: Writer<Failure>,
    ) -> Self {
        bytes.drain(..head.len());
        let rest = Rest::of(head.framing());
        Self { core, rule: rule.clone(), source: None, conn, head, bytes, rest, writer }
    }

    /// Writes what has come, and reads the rest.
    pub(super) async fn complete(mut self) {
        match self.take() {
            Taken::More => self.read().await,
            taken => drop(self.end(taken)),
        }
    }

    async fn read(mut self) {
        let core = self.core.clone();
        let idle = self.rule.policy.body_progress_timeout;
        loop {
            self.writer.flush();
            if !self.writer.is_wanted() {
                // As a client that leaves: it says nothing about the endpoint.
                return self.give_up(None);
            }
            if self.wait_for_room().await {
                continue;
            }
            if self.bytes.capacity() - self.bytes.len() < limits::RELAY_BUFFER_BYTES {
                self.bytes.reserve(limits::RELAY_BUFFER_BYTES);
            }
            let deadline = core.runtime.now().after(idle);
            let (read, back) = self.conn.stream.read(std::mem::take(&mut self.bytes), deadline).await;
            self.bytes = back;
            let failure = match read {
                Ok(0) if matches!(self.rest, Rest::UntilClose) => {
                    drop(self.end(Taken::All));
                    return;
                }
                Ok(0) => Failure::ResponseCut,
                Ok(_) => match self.take() {
                    Taken::More => continue,
                    taken => {
                        drop(self.end(taken));
                        return;
                    }
                },
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Failure::ResponseStalled,
                Err(_) => Failure::ResponseCut,
            };
            // The writer is dropped: its readers see the cut.
            return self.give_up(Some(failure));
        }
    }

    /// Waits while the slowest reader of a response that is not stored is too far behind. True when it did.
    async fn wait_for_room(&mut self) -> bool {
        let core = self.core.clone();
        let Some(state) = &core.cache else { return false };
        let mut wait = state.waits.begin(self.writer.id());
        match self.writer.room(core.runtime.now()) {
            Room::Ready => false,
            Room::Full { until } => {
                let left = until.since(core.runtime.now());
                core.runtime.timeout(wait.next(), left.max(ROOM_PAUSE)).await;
                true
            }
        }
    }

    /// Writes what has come of the body.
    fn take(&mut self) -> Taken {
        let Self { bytes, rest, writer, .. } = self;
        match rest {
            Rest::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                writer.write(&bytes[..count]);
                bytes.drain(..count);
                *left -= count as u64;
                if *left == 0 { Taken::All } else { Taken::More }
            }
            Rest::Chunked(chunked) => match chunked.feed(bytes) {
                Ok(fed) => {
                    // Trailers are not kept: they come behind the data.
                    writer.write(&bytes[..fed.kept - fed.trailers]);
                    bytes.drain(..fed.consumed);
                    match fed.state {
                        BodyState::Done => Taken::All,
                        BodyState::More => Taken::More,
                    }
                }
                Err(error) => Taken::Malformed(error),
            },
            Rest::UntilClose => {
                writer.write(bytes);
                bytes.clear();
                Taken::More
            }
        }
    }

    /// Ends the response: it is stored, and its connection kept. Returns the buffer, and whether it is
    /// stored.
    fn end(self, taken: Taken) -> (Vec<u8>, Result<(), NotKept>) {
        let Self { core, rule, source, conn, head, mut bytes, rest, writer } = self;
        let now = core.runtime.now();
        let report = |failure| {
            if let Some(source) = &source {
                source.report(&core, &rule, head.status(), failure);
            }
        };
        if let Taken::Malformed(error) = taken {
            drop(writer);
            core.telemetry.emit(CacheFilled { outcome: NotKept::Cut.name() });
            report(Some(Failure::ResponseBodyMalformed(error)));
            return (bytes, Err(NotKept::Cut));
        }
        let stored = writer.finish(now).map(drop);
        let outcome = stored.map_or_else(NotKept::name, |()| "stored");
        core.telemetry.emit(CacheFilled { outcome });
        report(None);
        let is_reusable = bytes.is_empty() && head.keep_alive() && !matches!(rest, Rest::UntilClose);
        if is_reusable && !core.draining.get() {
            conn.keep_alive.set(head.keep_alive_timeout());
            let is_in_use = |endpoint| core.tables().snapshot.keeps_connections(endpoint);
            core.upstreams.borrow_mut().give(conn, now, is_in_use);
        }
        bytes.clear();
        (bytes, stored)
    }

    fn give_up(self, failure: Option<Failure>) {
        let outcome = if failure.is_some() { NotKept::Cut.name() } else { "abandoned" };
        self.core.telemetry.emit(CacheFilled { outcome });
        if let Some(source) = &self.source {
            source.report(&self.core, &self.rule, self.head.status(), failure);
        }
    }
}

impl Source {
    /// Gives the verdict on the endpoint.
    fn report<R: Runtime>(&self, core: &Core<R>, rule: &Arc<Rule>, status: u16, failure: Option<Failure>) {
        let pool = self.tables.snapshot.pool(self.pool);
        let Some((pool, endpoint)) =
            pool.and_then(|pool| Some((pool, pool.endpoint(self.instance.as_str())?)))
        else {
            return;
        };
        let matched = Match { host: &self.host, rule };
        let target = Target { matched, pool, variant: self.variant };
        let picked =
            Picked { endpoint, admission: self.admission, passed: self.passed, has_reinstated: false };
        match failure {
            None => passive_health::on_success(core, &picked, status, &target),
            Some(failure) => {
                let fault = Fault { failure, is_excused: false };
                passive_health::on_failure(core, &picked, &fault, Some(status), &target);
            }
        }
    }
}

impl Rest {
    fn of(framing: Framing) -> Self {
        match framing {
            Framing::Empty => Self::Length(0),
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(ChunkedBody::new(ChunkMode::Separate)),
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

/// Storing of a response that is not kept. One that broke off has no end, and needs no reason.
fn storing_of(reason: NotKept) -> Storing {
    match reason {
        NotKept::TooLarge => Storing::Not(NotStored::TooLarge),
        NotKept::Cut => Storing::Underway,
        NotKept::Refused(InsertError::Full(_)) => Storing::Full,
        NotKept::Refused(InsertError::Invalidated | InsertError::VariantsDropped) => Storing::Invalidated,
    }
}

/// Least pause before the room is looked at again.
const ROOM_PAUSE: std::time::Duration = std::time::Duration::from_millis(1);
