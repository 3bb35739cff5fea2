//! Delivery phase: sends a response to the client, head and body, as it comes.
//!
//! ```text
//! head ─► body: by length (spliced when long), in chunks, or until the end        101 ─► tunnel
//! ```
//! Nothing is buffered beyond one read: events and long polls pass at once. A body that breaks off upstream
//! never looks complete downstream.

use std::pin::pin;

use crate::limits;
use ringway_middleware::{BodyTransforms, Coded, Edits};
use ringway_net::{SenderLimits, Stream};
use ringway_telemetry::Compression;
use ringway_traffic::policy::Policy;
use ringway_wire::h1::{ConnectionSignal, OutFraming, ResponseHead};
use ringway_wire::message::Framing;

use crate::connector::SpliceError;
use crate::core::{ConnBuffers, Core};
use crate::exchange::activity::Kind;
use crate::exchange::body_framing::{BodyFraming, SinkFraming};
use crate::exchange::body_pipe;
use crate::exchange::disposition::Disposition;
use crate::exchange::failure::Failure;
use crate::exchange::passive_health;
use crate::exchange::request_body::RequestBody;
use crate::exchange::response_writer::{ClientBody, ResponseWriter};
use crate::exchange::stream_info::StreamInfo;
use crate::exchange::{Exchange, Target, tunnel};
use crate::runtime::Runtime;
use crate::session::limits_of;
use crate::upstream::{
    ReadError, RequestTraits, ResponseReader, ResponseSource, Transfer, UpstreamResponse, body_failure,
    stalled,
};

/// Result of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivered {
    /// The response was sent whole.
    Response(ResponseSummary),
    /// A 101 was sent: both sides leave HTTP.
    Upgraded,
}

/// State of both connections after a response that was sent whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ResponseSummary {
    /// The upstream connection can carry another request, as far as the response is concerned.
    reusable: bool,
    /// The head announced the end of the client's connection.
    close: bool,
}

impl<'a, R: Runtime> Exchange<'a, R> {
    /// Sends the response to the client, and ends the upload of the request.
    pub(super) async fn deliver(
        &mut self,
        target: &Target<'a>,
        mut response: UpstreamResponse<'a, R>,
        edits: Option<&Edits>,
    ) -> Result<Disposition, Failure> {
        let Self { core, client, transfer, .. } = *self;
        let (traits, status) = (response.traits, self.buffers.response.status());
        let policy = &*target.matched.rule.policy;
        let conn = response.conn.clone();
        let transforms = std::mem::take(self.stages.response_body());
        let endpoint_permit = response.in_flight.as_mut().filter(|counted| counted.has_permit());
        if (self.permit.is_some() || endpoint_permit.is_some())
            && (status == 101
                || Kind::of_response(&self.buffers.response, &self.buffers.upstream_in) == Kind::Stream)
        {
            // It may last for hours, and hardly loads the endpoint.
            self.permit = None;
            if let Some(counted) = endpoint_permit {
                counted.release_permit();
            }
        }
        let delivered = {
            let ConnBuffers { response: head, upstream_in, out, .. } = &mut *self.buffers;
            let mut relay = ResponseRelay {
                reader: ResponseReader { core, client, upstream: &conn.stream, upstream_in, transfer },
                writer: ResponseWriter { core, client, out, transfer },
                policy,
                transforms,
                info: &mut self.info,
            };
            let sent = pin!(relay.send(head, &traits, edits));
            response.upload.beside(client, &conn.stream, sent).await
        };
        if let Some(body) = response.end_upload(client, transfer).await {
            self.body = Some(body);
        }
        let summary = match delivered {
            Ok(Delivered::Response(summary)) => summary,
            Ok(Delivered::Upgraded) => {
                let info = &mut self.info;
                // Boxed: few become tunnels, and exchanges need not be larger for it.
                let tunnel = Box::pin(tunnel::run(core, client, response.conn, self.buffers, (policy, info)));
                let disposition = tunnel.await;
                passive_health::on_success(core, &response.picked, status, target);
                return Ok(disposition);
            }
            Err(failure) => {
                let fault = response.fault(core, transfer, failure);
                self.note_cause(target, response.picked.endpoint, fault.failure);
                passive_health::on_failure(core, &response.picked, &fault, Some(status), target);
                return Err(fault.failure);
            }
        };
        let body_is_complete = self.body.as_ref().is_some_and(RequestBody::is_complete);
        let is_sent = body_is_complete && transfer.upload.is_whole();
        if summary.reusable && is_sent && !core.draining.get() {
            conn.keep_alive.set(self.buffers.response.keep_alive_timeout());
            let is_in_use = |endpoint| core.keeps_connections(endpoint);
            core.upstreams.borrow_mut().give(conn, core.runtime.now(), is_in_use);
        }
        passive_health::on_success(core, &response.picked, status, target);
        Ok(if summary.close || !is_sent { Disposition::Close } else { Disposition::Keep })
    }
}

/// Relay of a response between the two connections of an exchange.
struct ResponseRelay<'x, 'a, R: Runtime> {
    reader: ResponseReader<'x, R>,
    writer: ResponseWriter<'x, R>,
    policy: &'x Policy,
    /// Transforms of the body by response stages.
    transforms: BodyTransforms,
    info: &'x mut StreamInfo<'a>,
}

impl<R: Runtime> ResponseRelay<'_, '_, R> {
    /// Sends the head, and then the body as it comes.
    async fn send(
        &mut self,
        head: &ResponseHead,
        traits: &RequestTraits,
        edits: Option<&Edits>,
    ) -> Result<Delivered, Failure> {
        let (core, transfer) = (self.reader.core, self.reader.transfer);
        let Transfer { upload, activity, .. } = transfer;
        self.info.status = Some(head.status());
        if head.status() == 101 {
            self.write_head(head, ConnectionSignal::WebSocket, OutFraming::AsReceived, edits);
            self.writer.send_out().await?;
            return Ok(Delivered::Upgraded);
        }
        let framing = head.framing();
        let mut body_framing = BodyFraming::of(framing, traits.version, &self.transforms);
        // After a refused upgrade the client may already use the other protocol (RFC 9931).
        let close = !traits.keep_alive
            || traits.accept.is_some()
            || body_framing.ends_with_connection()
            || !(upload.is_whole() || upload.may_outlast() && !upload.is_refused() && head.keep_alive())
            || core.draining.get();
        let signal = ConnectionSignal::for_client(traits.version, !close);
        self.write_head(head, signal, body_framing.announced(), edits);

        let kind = Kind::of_response(head, self.reader.upstream_in);
        activity.open(kind, self.policy, limits_of(core, self.reader.client), core.runtime.now());
        let has_more = match body_framing {
            BodyFraming::Reframed(sink) => self.reframe(framing, sink, head.len()).await?,
            _ => self.relay(&mut body_framing, head.len()).await?,
        };
        activity.close();
        let reusable = head.keep_alive() && !has_more && !matches!(framing, Framing::UntilClose);
        upload.end_response(reusable && !close);
        Ok(Delivered::Response(ResponseSummary { reusable, close }))
    }

    fn write_head(
        &mut self,
        head: &ResponseHead,
        signal: ConnectionSignal,
        framing: OutFraming,
        edits: Option<&Edits>,
    ) {
        self.writer.write_head(self.reader.upstream_in, head, signal, framing, edits);
        if self.info.has_lines() {
            self.writer.push_lines(|lines| self.info.push_lines(lines));
        }
    }

    /// Sends the head in `out` and then the data of the body in another framing. True when the endpoint sent
    /// more than its body.
    async fn reframe(
        &mut self,
        framing: Framing,
        sink: SinkFraming,
        head_bytes: usize,
    ) -> Result<bool, Failure> {
        let Self { reader, writer, info, transforms, .. } = self;
        let mut source = ResponseSource::new(reader, framing, head_bytes);
        let mut sink = ClientBody { writer, framing: sink };
        let copied =
            body_pipe::copy(&mut source, transforms, &mut sink, |bytes| info.bytes_out += bytes as u64).await;
        if let Some(coded) = transforms.coded() {
            let Coded { coding, bytes_in, bytes_out } = coded;
            info.compression = Some(Compression::Coded { coding: coding.as_str(), bytes_in, bytes_out });
        }
        copied.map(|()| source.has_more())
    }

    /// Sends the head in `out` and then the body in its own framing. True when the endpoint sent more than
    /// its body.
    async fn relay(&mut self, body_framing: &mut BodyFraming, head_bytes: usize) -> Result<bool, Failure> {
        let mut start = head_bytes;
        loop {
            if let BodyFraming::Length(left) = body_framing
                && *left < limits::SPLICE_BYTES_MIN
                && *left > (self.reader.upstream_in.len() - start) as u64
            {
                // More of it has likely come since, and one send is cheaper than two.
                self.reader.make_room();
                self.reader.upstream.read_more(self.reader.upstream_in);
            }
            let Self { reader, writer, info, .. } = self;
            let buf = &mut *reader.upstream_in;
            let taken = body_framing.take(&mut buf[start..]).map_err(Failure::ResponseBodyMalformed)?;
            let mut part = start..start + taken.kept;
            // A splice ends with its bytes, however long they take.
            let may_splice = !reader.transfer.activity.deadlines.has_end();
            let spliced_left =
                spliced_left(reader.core, reader.upstream, &writer.client.stream, body_framing)
                    .filter(|_| may_splice);
            if spliced_left.is_some() {
                part = writer.send_held(buf, part);
            }
            writer.send_part(buf, part).await?;
            info.bytes_out += taken.kept as u64;
            if taken.done {
                return Ok(start + taken.consumed < buf.len());
            }
            if let Some(left) = spliced_left {
                return self.splice(left).await.map(|()| false);
            }
            // Bytes that the framing cannot judge yet stay at the front.
            buf.drain(..start + taken.consumed);
            start = 0;
            reader.make_room();
            match reader.read_body().await {
                Ok(()) => {}
                // The end of a body that has no other, and a cut in all others.
                Err(ReadError::Ended) if matches!(body_framing, BodyFraming::UntilClose) => return Ok(false),
                Err(error) => return Err(body_failure(error, &reader.transfer.upload)),
            }
        }
    }

    /// Moves the rest of a long body without copying it.
    async fn splice(&mut self, bytes: u64) -> Result<(), Failure> {
        let ResponseReader { core, client, upstream, transfer, .. } = self.reader;
        let runtime = &core.runtime;
        let stall = limits_of(core, client).write_stall(self.policy);
        let sender = SenderLimits { stall: self.policy.body_progress_timeout, rate: None };
        let Transfer { upload, activity, .. } = transfer;
        let mut left = bytes;
        loop {
            let progress = activity.progress();
            let Err(splice) = runtime.splice(upstream, &client.stream, left, stall, sender, progress).await
            else {
                self.info.bytes_out += left;
                return Ok(());
            };
            self.info.bytes_out += splice.moved;
            left -= splice.moved;
            if splice.kept_waiting {
                upload.set_kept_waiting();
            }
            return Err(match splice.error {
                SpliceError::Sender => Failure::ResponseCut,
                SpliceError::SenderStalled if !activity.is_idle(runtime.now()) => continue,
                SpliceError::SenderStalled => stalled(upload),
                SpliceError::Receiver => Failure::ClientClosed,
                SpliceError::ReceiverStalled => Failure::ClientStalled,
            });
        }
    }
}

/// Bytes left of a body that is long enough to splice, where that works.
fn spliced_left<R: Runtime>(
    core: &Core<R>,
    upstream: &R::Stream,
    client: &R::Stream,
    body_framing: &BodyFraming,
) -> Option<u64> {
    match body_framing {
        BodyFraming::Length(left)
            if *left >= limits::SPLICE_BYTES_MIN && core.runtime.can_splice(upstream, client) =>
        {
            Some(*left)
        }
        _ => None,
    }
}
