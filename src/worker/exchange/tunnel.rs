//! Tunnel of an upgraded connection: bytes in both directions, parsed for frame boundaries only.
//!
//! It ends when both sides have ended, when it has been silent for too long, when the process drains, or when
//! its instance, app or domain was removed ([`tunnels`](crate::exchange::tunnels)). In the last two cases
//! both sides get a close frame 1001, between two frames, never inside one (RFC 6455 §7.4.1 "going away").

use std::cell::Cell;
use std::io::ErrorKind;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use ringway_model::{Tick, limits};
use ringway_net::{Stream, WriteRate, join, with_side_task};
use ringway_telemetry::{Upgrade, UpgradeEnded, Upgraded};
use ringway_traffic::policy::Policy;
use ringway_wire::websocket::{self, Boundaries};

use crate::core::{ConnBuffers, Core};
use crate::exchange::disposition::Disposition;
use crate::exchange::stream_info::StreamInfo;
use crate::runtime::Runtime;
use crate::session::downstream_conn::{DownstreamConn, Phase};
use crate::upstream::UpstreamConn;

/// Relays until the tunnel is over. Bytes that came with either head go first.
pub(crate) async fn run<R: Runtime>(
    core: &Core<R>,
    client: &DownstreamConn<R::Stream>,
    upstream: Rc<UpstreamConn<R::Stream>>,
    buffers: &mut ConnBuffers,
    (policy, info): (&Policy, &mut StreamInfo<'_>),
) -> Disposition {
    let route = info.matched.map_or(0, |matched| matched.rule.metric.0);
    core.telemetry.emit(Upgraded { kind: Upgrade::WebSocket, route });
    client.phase.set(Phase::Tunnel);
    info.upgraded = Some(Upgrade::WebSocket);

    // The head stays where it is: the event at the end is made from it.
    let from_client = buffers.client_in.split_off(buffers.request.len());
    buffers.client_in.shrink_to_fit();
    let mut from_upstream = std::mem::take(&mut buffers.upstream_in);
    from_upstream.drain(..buffers.response.len());

    let shared = Shared {
        last_byte: Cell::new(core.runtime.now()),
        half_closed: Cell::new(false),
        over: Cell::new(false),
        leaving: Cell::new(false),
    };
    let (open, _counted) = info.matched.zip(info.endpoint).map_or((None, None), |(matched, endpoint)| {
        let (tables, now) = (core.tables(), core.runtime.now());
        let open = core.tunnels.open(matched, endpoint, &tables.snapshot, now, core.settings.drain_timeout);
        (Some(open), Some(endpoint.in_flight.begin_tunnel(core.id.0.into())))
    });
    let leave = async {
        if let Some(open) = &open {
            open.due().await;
            shared.leaving.set(true);
            client.stream.cancel_reads();
            upstream.stream.cancel_reads();
        }
    };
    let inbound =
        Direction { core, policy, from: &client.stream, to: &upstream.stream, shared: &shared, mask: true };
    let outbound =
        Direction { core, policy, from: &upstream.stream, to: &client.stream, shared: &shared, mask: false };
    let relay = async { join(pin!(inbound.relay(from_client)), pin!(outbound.relay(from_upstream))).await };
    let ((bytes_in, _), (bytes_out, back_out)) = with_side_task(pin!(relay), pin!(leave)).await;

    buffers.upstream_in = back_out;
    info.bytes_in += bytes_in;
    info.bytes_out += bytes_out;
    core.telemetry.emit(UpgradeEnded { kind: Upgrade::WebSocket, route, bytes_in, bytes_out });
    Disposition::Close
}

/// State that the two directions of a tunnel share.
struct Shared {
    last_byte: Cell<Tick>,
    /// One direction has ended in an orderly way.
    half_closed: Cell<bool>,
    /// One direction broke: the other cannot go on.
    over: Cell<bool>,
    /// Its instance, app or domain was removed, and its time is over.
    leaving: Cell<bool>,
}

struct Direction<'a, R: Runtime> {
    core: &'a Core<R>,
    policy: &'a Policy,
    from: &'a R::Stream,
    to: &'a R::Stream,
    shared: &'a Shared,
    /// Frames that we add towards a server are masked, as a client's must be (RFC 6455 §5.3).
    mask: bool,
}

impl<R: Runtime> Direction<'_, R> {
    /// Sends `buf`, then relays; returns the bytes relayed and the buffer.
    async fn relay(self, mut buf: Vec<u8>) -> (u64, Vec<u8>) {
        let runtime = &self.core.runtime;
        let mut boundaries = Boundaries::default();
        let (mut bytes, mut goodbye) = (0, None);
        if buf.capacity() < limits::HEAD_BUFFER_BYTES {
            buf.reserve_exact(limits::HEAD_BUFFER_BYTES - buf.len());
        }
        loop {
            if !buf.is_empty() {
                bytes += buf.len() as u64;
                boundaries.advance(&buf);
                self.shared.last_byte.set(runtime.now());
                let rate = WriteRate::stall(self.policy.body_progress_timeout);
                let (written, back) = self.to.write_all(buf, rate).await;
                buf = back;
                buf.clear();
                if written.is_err() {
                    self.break_off().await;
                    return (bytes, buf);
                }
            }
            if self.shared.over.get() {
                return (bytes, buf);
            }
            // The open half of a half-closed connection may still carry data, but not for ever.
            let idle = match self.shared.half_closed.get() {
                true => self.policy.body_progress_timeout,
                false => self.policy.tunnel_idle_timeout,
            };
            let mut deadline = self.shared.last_byte.get().after(idle);
            if self.shared.half_closed.get() {
                // The other direction, which would pass the drain on, has ended: checks now and then.
                deadline = deadline.min(runtime.now().after(GOODBYE));
            }
            if self.is_leaving() {
                if goodbye.is_none() {
                    // The drain cancels reads of the client only: here that is the other direction's source.
                    self.to.cancel_reads();
                }
                if boundaries.is_at_boundary() || boundaries.is_broken() {
                    return (bytes, self.say_goodbye(buf, &boundaries).await);
                }
                deadline = *goodbye.get_or_insert_with(|| runtime.now().after(GOODBYE));
            }
            let (read, back) = self.from.read(buf, deadline).await;
            buf = back;
            match read {
                Ok(0) => {
                    self.shared.half_closed.set(true);
                    self.shared.last_byte.set(runtime.now());
                    let _ = self.to.shutdown_write(runtime.now().after(GOODBYE)).await;
                    // Wakes the other direction, whose time is shorter from now on.
                    self.to.cancel_reads();
                    return (bytes, buf);
                }
                Ok(_) => {}
                // The drain interrupts every tunnel this way, and so does a removal.
                Err(error) if error.kind() == ErrorKind::Interrupted => self.from.resume_reads(),
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    let quiet_since = self.shared.last_byte.get();
                    if self.is_leaving() || runtime.now().since(quiet_since) >= idle {
                        self.break_off().await;
                        return (bytes, buf);
                    }
                }
                Err(_) => {
                    self.break_off().await;
                    return (bytes, buf);
                }
            }
        }
    }

    /// Whether both sides get a close frame.
    fn is_leaving(&self) -> bool {
        self.core.draining.get() || self.shared.leaving.get()
    }

    /// Ends this direction with a close frame.
    async fn say_goodbye(&self, mut buf: Vec<u8>, boundaries: &Boundaries) -> Vec<u8> {
        let deadline = self.core.runtime.now().after(GOODBYE);
        if !boundaries.has_seen_close() && !boundaries.is_broken() {
            let mask = self.mask.then(|| (self.core.runtime.now_micros() as u32).to_le_bytes());
            buf.extend_from_slice(&websocket::close_frame(websocket::CLOSE_GOING_AWAY, mask));
            let (_, back) = self.to.write_all(buf, WriteRate::until(deadline)).await;
            buf = back;
        }
        let _ = self.to.shutdown_write(deadline).await;
        buf.clear();
        buf
    }

    /// Ends a broken tunnel: interrupts the other direction, too.
    async fn break_off(&self) {
        self.shared.over.set(true);
        self.to.cancel_reads();
        let _ = self.to.shutdown_write(self.core.runtime.now().after(GOODBYE)).await;
    }
}

/// Longest time for a side to finish a frame, or to take a close frame, once the tunnel has to end.
const GOODBYE: Duration = Duration::from_secs(5);
