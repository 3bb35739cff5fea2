//! Client: sends requests, and checks the responses.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::engine::Engine;
use super::network::End;
use super::origin::FRAMES;
use super::requests::{
    Case, Framing, Head, Inbox, chunked, frames, is_tunnelled, request_body, response_body,
};

/// One connection: its writing and its reading half.
struct Line {
    engine: Rc<Engine>,
    case: Rc<Case>,
    end: Rc<End>,
    ids: Vec<usize>,
    responses: Cell<usize>,
    is_over: Cell<bool>,
    writer: RefCell<Option<Waker>>,
}

/// Sends the requests `ids`, one after another or pipelined, and leaves.
pub(super) async fn serve(engine: Rc<Engine>, case: Rc<Case>, end: End, ids: Vec<usize>) {
    let line = Rc::new(Line {
        engine: engine.clone(),
        case,
        end: Rc::new(end),
        ids,
        responses: Cell::new(0),
        is_over: Cell::new(false),
        writer: RefCell::default(),
    });
    let writing = line.clone();
    engine.spawn(false, async move {
        if !writing.write().await {
            writing.end.abort();
        }
    });
    let ended = line.read().await;
    line.notify(ended);
}

impl Line {
    fn is_rude(&self) -> bool {
        self.engine.chance(self.case.rude)
    }

    fn notify(&self, is_over: bool) {
        self.is_over.set(self.is_over.get() || is_over);
        self.writer.take().into_iter().for_each(Waker::wake);
    }

    /// Sends the requests; false when it breaks off in the middle.
    async fn write(&self) -> bool {
        let is_pipelined = self.engine.chance(25);
        for (index, id) in self.ids.iter().copied().enumerate() {
            if !is_pipelined {
                let responses = poll_fn(|cx| {
                    if self.responses.get() >= index || self.is_over.get() {
                        return Poll::Ready(!self.is_over.get());
                    }
                    *self.writer.borrow_mut() = Some(cx.waker().clone());
                    Poll::Pending
                });
                if !responses.await {
                    return true;
                }
                if self.engine.chance(30) {
                    self.engine.sleep(self.engine.below(4_000_000)).await;
                }
            }
            let bytes = self.message(id);
            let number = self.end.number();
            self.engine.note(|| format!("client {number}: asks for {id} in {} bytes", bytes.len()));
            let cut =
                if self.is_rude() { self.engine.below(bytes.len() as u64) as usize } else { bytes.len() };
            let mut rest = &bytes[..cut];
            let drips = self.is_rude();
            while !rest.is_empty() {
                let whole = rest.len() as u64;
                let count = match drips {
                    true => 1 + self.engine.below(whole.min(4_000)) as usize,
                    false if self.engine.chance(70) => whole as usize,
                    false => 1 + self.engine.below(whole) as usize,
                };
                if !self.end.send(&rest[..count]).await || self.is_over.get() {
                    return true;
                }
                rest = &rest[count..];
                if drips {
                    self.engine.sleep(self.engine.below(2_000_000)).await;
                }
            }
            if cut < bytes.len() {
                self.engine.note(|| format!("client {number}: stops after {cut} bytes"));
                match self.engine.below(3) {
                    0 => return false,
                    1 => self.end.finish(),
                    _ => {}
                }
                return true;
            }
        }
        if self.is_rude() {
            self.engine.sleep(self.engine.below(500_000)).await;
            self.end.finish();
        }
        true
    }

    fn message(&self, id: usize) -> Vec<u8> {
        let requests = self.case.requests.borrow();
        let request = &requests[id];
        let mut head =
            format!("{} /r/{id} HTTP/1.1\r\nHost: {}\r\nX-Sim-Id: {id}\r\n", request.method, request.host);
        if request.is_upgrade {
            head += "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            return head.into_bytes();
        }
        let body = request_body(id, request.body_bytes);
        if request.is_chunked {
            head += "Transfer-Encoding: chunked\r\n\r\n";
            return [head.into_bytes(), chunked(&self.engine, &body)].concat();
        }
        if request.body_bytes > 0 {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        [head.into_bytes(), body].concat()
    }

    /// Reads the responses; true when no further request may follow.
    async fn read(&self) -> bool {
        let mut inbox = Inbox::new(self.end.clone());
        for id in self.ids.iter().copied() {
            if self.is_rude() && self.engine.chance(30) {
                // Does not read, and then leaves or reads on.
                self.engine.sleep(self.engine.below(100_000_000)).await;
                if self.engine.chance(50) {
                    return true;
                }
            }
            match self.read_response(&mut inbox, id).await {
                Ok(true) => {}
                Ok(false) => return true,
                Err(error) => {
                    self.engine.violate(format!("client {}, request {id}: {error}", self.end.number()));
                    return true;
                }
            }
            self.responses.set(self.responses.get() + 1);
            self.notify(false);
        }
        if self.engine.chance(30) {
            self.engine.sleep(self.engine.below(200_000_000)).await;
        }
        true
    }

    /// Reads one response; false when the connection ends with it.
    async fn read_response(&self, inbox: &mut Inbox, id: usize) -> Result<bool, String> {
        let head = loop {
            let Some(head) = inbox.head().await? else { return Ok(false) };
            if !head.first.starts_with("HTTP/1.1 1") || head.first.starts_with("HTTP/1.1 101") {
                break head;
            }
        };
        let number = self.end.number();
        self.engine.note(|| format!("client {number}: {} for {id}", head.first));
        let status: u16 = head.first.get(9..12).and_then(|status| status.parse().ok()).ok_or("no status")?;
        let is_head = self.case.requests.borrow()[id].method == "HEAD";
        if status == 101 {
            self.identify(&head, id)?;
            self.case.requests.borrow_mut()[id].status = Some(status);
            return self.tunnel(inbox, id).await;
        }
        let framing = head.framing()?.unwrap_or(Framing::UntilClose);
        let framing = if is_head { Framing::Length(0) } else { framing };
        let (body, is_whole) = inbox.body(framing).await?;
        let attempt = self.identify(&head, id)?;
        let is_ours = attempt.is_none();
        if let Some(attempt) = attempt {
            let requests = self.case.requests.borrow();
            let attempt_was = &requests[id].attempts[attempt];
            let expected = response_body(id, attempt, attempt_was.body_bytes);
            let is_good = match is_whole && !is_head {
                true => attempt_was.is_whole && body == expected,
                false => expected.starts_with(&body),
            };
            if !is_good {
                return Err(format!("{} bytes of a body, {} expected", body.len(), expected.len()));
            }
        } else if !matches!(status, 400 | 404 | 408 | 502 | 503 | 504) {
            return Err(format!("status {status} that neither an endpoint nor the proxy sends"));
        }
        if is_whole {
            self.case.requests.borrow_mut()[id].status = Some(if is_ours { 500 } else { status });
        }
        Ok(is_whole && framing != Framing::UntilClose && head.get("connection") != Some("close"))
    }

    /// Returns the attempt that the response is from; `None` for a local reply.
    fn identify(&self, head: &Head, id: usize) -> Result<Option<usize>, String> {
        let Some(request) = head.get("x-sim-id") else { return Ok(None) };
        if request != id.to_string() {
            return Err(format!("the response to request {request}"));
        }
        let attempt = head.get("x-sim-attempt").and_then(|attempt| attempt.parse::<usize>().ok());
        let attempt = attempt.filter(|attempt| *attempt < self.case.requests.borrow()[id].attempts.len());
        attempt.map(Some).ok_or("the response to no attempt".to_owned())
    }

    async fn tunnel(&self, inbox: &mut Inbox, id: usize) -> Result<bool, String> {
        let (end, engine) = (self.end.clone(), self.engine.clone());
        let is_rude = self.is_rude();
        self.engine.spawn(false, async move {
            for frame in frames(id, FRAMES, true).chunks(37) {
                engine.sleep(engine.below(300_000)).await;
                if !end.send(frame).await {
                    return;
                }
                if is_rude && engine.chance(10) {
                    return end.abort();
                }
            }
            end.finish();
        });
        while inbox.more().await {}
        match is_tunnelled(&inbox.bytes, &frames(id + 7, FRAMES, false)) {
            true => Ok(false),
            false => Err("what came through the tunnel".to_owned()),
        }
    }
}
