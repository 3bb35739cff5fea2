//! Receiving half of a stream: HEADERS and DATA as the bytes of HTTP/1.1 that the exchange reads.
//!
//! ```text
//! HEADERS ──► text of a head (responses) │ DATA ──► as they are, or in chunks │ trailers ──► behind the last chunk │ end
//! ```
//! The window is opened by the bytes that the exchange has read, so that the peer cannot send more.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use crate::limits;
use bytes::{Buf, Bytes};
use h2::RecvStream;
use h2::client::ResponseFuture;
use http::HeaderMap;
use ringway_net::PeerState;
use ringway_wire::h1;
use ringway_wire::headers::push_field;
use ringway_wire::message::Method;

use crate::h2::fields::Malformed;
use crate::h2::head::{self, Body, Coding};
use crate::h2::stream_error::{StreamEnd, StreamError};

/// Message of the peer: the body of a request, or a whole response.
pub(super) struct Inbound {
    source: Source,
    /// Method of the request, for the framing of its response.
    method: Method,
    coding: Coding,
    /// Text to return before `data`.
    text: Vec<u8>,
    text_at: usize,
    data: Bytes,
    /// The end of a chunk follows `data`.
    in_chunk: bool,
    /// Missing bytes of a request's body with a declared length.
    left: Option<u64>,
    /// Last part of such a body, held until the stream has ended with it: more DATA would make the request
    /// malformed (RFC 9113 §8.1.1), which must be known before the endpoint has the whole body.
    last: Bytes,
    end: Option<End>,
    /// The peer violated the protocol on this stream.
    is_violation: bool,
    is_reset_alone: bool,
    /// Error of a response, for the next read.
    error: Option<Box<StreamError>>,
    is_response: bool,
    /// The connection has failed, not this stream only.
    has_lost_connection: bool,
    /// The trailers had pseudo-fields.
    is_malformed: bool,
    malformed: Rc<Malformed>,
}

/// Source of the message.
pub(super) enum Source {
    /// None: the request was not sent yet.
    Nothing,
    /// The response was not received yet.
    Response(ResponseFuture),
    Body(RecvStream),
}

/// End of the message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Ended,
    Failed,
}

impl Inbound {
    pub(super) fn new(source: Source, malformed: Rc<Malformed>) -> Self {
        Self {
            source,
            method: Method::Get,
            coding: Coding::Plain,
            text: Vec::new(),
            text_at: 0,
            data: Bytes::new(),
            in_chunk: false,
            left: None,
            last: Bytes::new(),
            end: None,
            is_violation: false,
            is_reset_alone: false,
            error: None,
            is_response: false,
            has_lost_connection: false,
            is_malformed: false,
            malformed,
        }
    }

    /// Expects the response to a request with this method.
    pub(super) fn expect(&mut self, response: ResponseFuture, method: Method) {
        self.source = Source::Response(response);
        self.method = method;
        self.is_response = true;
    }

    /// Returns the state of the request's body without waiting.
    pub(super) fn look(&mut self, cx: &mut Context<'_>) -> Body {
        let Source::Body(body) = &mut self.source else { return Body::Coming };
        if self.data.is_empty() && self.end.is_none() && !body.is_end_stream() {
            match body.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) => self.data = data,
                Poll::Ready(Some(Err(error))) => {
                    self.end = Some(End::Failed);
                    self.is_violation = error.is_library();
                    let error = || Box::new(StreamError::new(StreamEnd::Broken, &error));
                    self.error = self.is_response.then(error);
                }
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
        match (body.is_end_stream(), self.data.len()) {
            (true, 0) => Body::None,
            (true, bytes) => Body::Whole(bytes),
            (false, _) => Body::Coming,
        }
    }

    /// Sets the coding of the body's bytes, and its declared length.
    pub(super) fn set_coding(&mut self, coding: Coding, length: Option<u64>) {
        self.left = length;
        self.begin(coding);
    }

    /// Whether the request was sent.
    pub(super) fn is_sent(&self) -> bool {
        !matches!(self.source, Source::Nothing)
    }

    /// Whether the endpoint reset this stream only.
    pub(super) fn is_reset_alone(&self) -> bool {
        self.is_reset_alone
    }

    pub(super) fn is_violation(&self) -> bool {
        self.is_violation
    }

    /// Whether its connection has failed.
    pub(super) fn has_lost_connection(&self) -> bool {
        self.has_lost_connection
    }

    /// Whether the message is malformed, and the peer was not informed yet.
    pub(super) fn take_malformed(&mut self) -> bool {
        std::mem::take(&mut self.is_malformed)
    }

    /// Returns the state of the peer without waiting.
    pub(super) fn peer_state(&self) -> PeerState {
        match self.end {
            Some(End::Failed) => PeerState::Closed,
            _ if self.data.is_empty() => PeerState::Idle,
            _ => PeerState::HasData,
        }
    }

    fn begin(&mut self, coding: Coding) {
        self.coding = coding;
        let data = std::mem::take(&mut self.data);
        self.take_data(data);
    }

    fn take_data(&mut self, data: Bytes) {
        if let Some(left) = &mut self.left {
            // The crate resets the stream before it returns more than the declared length.
            *left = left.saturating_sub(data.len() as u64);
            let is_open = matches!(&self.source, Source::Body(body) if !body.is_end_stream());
            if *left == 0 && is_open {
                // DATA after a held end are empty.
                if !data.is_empty() {
                    self.last = data;
                }
                return;
            }
        }
        if !data.is_empty() && self.coding == Coding::Chunks {
            self.push_text(&h1::chunk_head(data.len()));
            self.in_chunk = true;
        }
        self.data = data;
    }

    /// Appends text to the pending text.
    fn push_text(&mut self, text: &[u8]) {
        if self.text_at == self.text.len() {
            self.text.clear();
            self.text_at = 0;
        }
        self.text.extend_from_slice(text);
    }

    /// Reads into the spare capacity of `buf`; 0 is the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let before = buf.len();
        loop {
            self.copy(buf);
            let count = buf.len() - before;
            if buf.len() == buf.capacity() {
                return Poll::Ready(Ok(count));
            }
            match self.end {
                None => {}
                Some(End::Failed) if count == 0 => {
                    return Poll::Ready(Err(match self.error.take() {
                        Some(error) => (*error).into(),
                        None => ErrorKind::ConnectionReset.into(),
                    }));
                }
                Some(_) => return Poll::Ready(Ok(count)),
            }
            if self.poll_more(cx).is_pending() {
                return if count > 0 { Poll::Ready(Ok(count)) } else { Poll::Pending };
            }
        }
    }

    /// Discards the next bytes, and opens the window by them; 0 is the end.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            let count = self.data.len();
            if count > 0 {
                self.data = Bytes::new();
                if let Source::Body(body) = &mut self.source {
                    // It fails only for more bytes than were received.
                    let _ = body.flow_control().release_capacity(count);
                }
                return Poll::Ready(Ok(count));
            }
            match self.end {
                None => ready!(self.poll_more(cx)),
                Some(End::Ended) => return Poll::Ready(Ok(0)),
                Some(End::Failed) => return Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
            }
        }
    }

    /// Whether the peer has ended its side, or reset the stream.
    pub(super) fn is_received(&self) -> bool {
        self.end.is_some() || matches!(&self.source, Source::Body(body) if body.is_end_stream())
    }

    /// Ready when there are bytes, or at the end.
    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_ready = self.text_at < self.text.len() || !self.data.is_empty() || self.end.is_some();
        if is_ready { Poll::Ready(()) } else { self.poll_more(cx) }
    }

    /// Copies received bytes, and opens the window by them.
    fn copy(&mut self, buf: &mut Vec<u8>) {
        loop {
            let text = &self.text[self.text_at..];
            let part = &text[..text.len().min(buf.capacity() - buf.len())];
            buf.extend_from_slice(part);
            self.text_at += part.len();
            if self.text_at < self.text.len() {
                return;
            }
            let count = self.data.len().min(buf.capacity() - buf.len());
            if count > 0 {
                buf.extend_from_slice(&self.data[..count]);
                self.data.advance(count);
                if let Source::Body(body) = &mut self.source {
                    // It fails only for more than was received.
                    let _ = body.flow_control().release_capacity(count);
                }
            }
            if !self.data.is_empty() || !std::mem::take(&mut self.in_chunk) {
                return;
            }
            self.push_text(h1::CHUNK_END);
        }
    }

    /// Receives the head of a response, the next DATA, the trailers, or the end.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let body = match &mut self.source {
            Source::Nothing => return Poll::Pending,
            Source::Response(response) => {
                let response = ready!(poll_response(response, cx));
                self.take_response(response, cx);
                return Poll::Ready(());
            }
            Source::Body(body) => body,
        };
        match ready!(body.poll_data(cx)) {
            Some(Ok(data)) => self.take_data(data),
            Some(Err(error)) => self.fail(&error, StreamEnd::Broken),
            None => match ready!(body.poll_trailers(cx)) {
                // RFC 9113 §8.1: the crate drops them.
                Ok(_) if self.malformed.take(body.stream_id().as_u32()) => {
                    self.end = Some(End::Failed);
                    self.is_malformed = true;
                    self.keep_error(StreamError::pseudo_field_in_trailers);
                    self.is_violation = true;
                }
                Ok(trailers) => {
                    self.end = Some(End::Ended);
                    if !self.last.is_empty() {
                        self.data = std::mem::take(&mut self.last);
                    }
                    if self.coding == Coding::Chunks {
                        self.end_chunks(trailers.as_ref());
                    }
                }
                Err(error) => self.fail(&error, StreamEnd::Broken),
            },
        }
        Poll::Ready(())
    }

    fn take_response(&mut self, response: Result<ResponseHead, h2::Error>, cx: &mut Context<'_>) {
        let (parts, body) = match response {
            Ok(ResponseHead::Interim(parts)) => (parts, Body::None),
            Ok(ResponseHead::Final(parts, body)) => {
                self.source = Source::Body(body);
                (parts, self.look(cx))
            }
            Err(error) => return self.fail(&error, StreamEnd::before_response(&error)),
        };
        let mut text = Vec::with_capacity(limits::H2_RESPONSE_HEAD_BYTES);
        let coding = head::write_response(&mut text, &parts, body, self.method);
        self.push_text(&text);
        if !parts.status.is_informational() {
            self.begin(coding);
        }
    }

    fn fail(&mut self, error: &h2::Error, end: StreamEnd) {
        self.end = Some(End::Failed);
        self.is_violation = error.is_library();
        self.keep_error(|| StreamError::new(end, error));
        self.has_lost_connection = !error.is_reset();
        self.is_reset_alone = error.is_reset() && error.is_remote();
    }

    /// Keeps the error of a response for the next read.
    fn keep_error(&mut self, error: impl FnOnce() -> StreamError) {
        self.error = self.is_response.then(|| Box::new(error()));
    }

    /// Appends the last chunk with the trailers; the exchange decides which of them pass.
    fn end_chunks(&mut self, trailers: Option<&HeaderMap>) {
        self.push_text(b"0\r\n");
        for (name, value) in trailers.into_iter().flatten() {
            // A field that is invalid in HTTP/1.1 is left out, as every recipient may (RFC 9110 §6.5.1).
            let _ = push_field(&mut self.text, name.as_str(), value.as_bytes());
        }
        self.text.extend_from_slice(b"\r\n");
    }
}

/// Head of an endpoint's response.
enum ResponseHead {
    Interim(http::response::Parts),
    Final(http::response::Parts, RecvStream),
}

fn poll_response(
    response: &mut ResponseFuture,
    cx: &mut Context<'_>,
) -> Poll<Result<ResponseHead, h2::Error>> {
    if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
        return Poll::Ready(interim.map(|response| ResponseHead::Interim(response.into_parts().0)));
    }
    let response = ready!(Pin::new(response).poll(cx));
    Poll::Ready(response.map(|response| {
        let (parts, body) = response.into_parts();
        ResponseHead::Final(parts, body)
    }))
}
