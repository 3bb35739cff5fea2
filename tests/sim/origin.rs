//! Endpoint: checks its requests, and responds well or badly.

use std::net::SocketAddr;
use std::rc::Rc;

use ringway_model::limits;

use super::copied_routes;
use super::engine::Engine;
use super::network::End;
use super::requests::{
    Attempt, Case, Framing, Head, Inbox, chunked, frames, is_tunnelled, request_body, response_body,
};

/// Serves a connection.
pub(super) async fn serve(engine: Rc<Engine>, case: Rc<Case>, end: End, address: SocketAddr) {
    if copied_routes::is_of_copies(address) {
        return copied_routes::serve(engine, case, end).await;
    }
    let end = Rc::new(end);
    let app = match address {
        SocketAddr::V4(address) => usize::from(address.ip().octets()[2]),
        SocketAddr::V6(_) => return,
    };
    let mut origin =
        Origin { engine, case, inbox: Inbox::new(end.clone()), end, app, served: 0, spoilt: None };
    while origin.next().await {}
}

struct Origin {
    engine: Rc<Engine>,
    case: Rc<Case>,
    end: Rc<End>,
    inbox: Inbox,
    app: usize,
    served: usize,
    /// Reason why no further request may come on this connection.
    spoilt: Option<&'static str>,
}

impl Origin {
    fn violate(&self, text: &str) {
        self.engine.violate(format!("endpoint, connection {}: {text}", self.end.number()));
    }

    fn is_evil(&self) -> bool {
        self.engine.chance(self.case.evil)
    }

    /// Serves one request; false when the connection is over.
    async fn next(&mut self) -> bool {
        if self.served > 0 && self.spoilt.is_none() && self.is_evil() && !self.idle().await {
            return false;
        }
        let head = match self.inbox.head().await {
            Ok(Some(head)) => head,
            Ok(None) => return false,
            Err(error) => {
                self.violate(&error);
                return false;
            }
        };
        if let Some(why) = self.spoilt {
            self.violate(&format!("a request {:?} on a connection that {why}", head.first));
            return false;
        }
        let is_fresh = self.served == 0;
        self.served += 1;
        let Some((id, attempt)) = self.enter(&head, is_fresh) else { return false };
        let number = self.end.number();
        self.engine.note(|| format!("endpoint {number}: request {id}, attempt {attempt}"));
        let framing = match head.framing() {
            Ok(framing) => framing,
            Err(error) => {
                self.violate(&error);
                return false;
            }
        };
        if self.case.requests.borrow()[id].is_upgrade {
            self.tunnel(id, attempt, &head).await;
            return false;
        }
        self.respond(id, attempt, framing).await
    }

    /// Closes, resets, or sends bytes between two requests.
    async fn idle(&mut self) -> bool {
        self.engine.sleep(self.engine.below(3_000_000)).await;
        // The next request may have been read with the previous one.
        if !self.is_quiet() {
            return true;
        }
        match self.engine.below(3) {
            0 => false,
            1 => {
                self.end.abort();
                false
            }
            _ => {
                if self.end.place(b"HTTP/1.1 200 OK\r\nX-Sim-Id: 999999\r\nContent-Length: 0\r\n\r\n") {
                    self.spoilt = Some("had bytes from the endpoint out of turn");
                }
                true
            }
        }
    }

    /// Whether no byte of a next request has come.
    fn is_quiet(&self) -> bool {
        self.end.is_quiet() && self.inbox.bytes.is_empty()
    }

    /// Checks a request's head, and that it may be repeated.
    fn enter(&self, head: &Head, is_fresh: bool) -> Option<(usize, usize)> {
        let id: usize = head.get("x-sim-id")?.parse().ok()?;
        let mut requests = self.case.requests.borrow_mut();
        let request = requests.get_mut(id)?;
        let line = format!("{} /r/{id} HTTP/1.1", request.method);
        self.engine.check(head.first == line, || format!("request {id} came as {:?}", head.first));
        self.engine
            .check(head.get("host") == Some(&request.host), || format!("request {id} for another host"));
        self.engine.check(request.app == self.app, || format!("request {id} came to another app"));
        self.engine.check(head.get("x-mirrored").is_none(), || format!("request {id} is marked as a copy"));
        self.engine.check(head.get("x-request-id").is_some(), || format!("request {id} has no id"));
        if !request.attempts.is_empty() {
            self.engine
                .check(request.may_repeat(), || format!("request {id}, a {}, came twice", request.method));
            let is_final = request.attempts.iter().any(|before| before.is_fresh || before.is_silent);
            self.engine.check(!is_final || request.is_hedged, || {
                format!("request {id} was repeated after a new or silent connection")
            });
        }
        let attempt = Attempt { is_fresh, is_silent: false, body_bytes: 0, is_whole: false };
        request.attempts.push(attempt);
        let count = request.attempts.len();
        self.engine.check(count <= limits::ATTEMPTS_MAX, || format!("request {id} came {count} times"));
        Some((id, count - 1))
    }

    /// Reads the request's body; false when it did not come to its end.
    async fn read_body(&mut self, id: usize, framing: Option<Framing>) -> bool {
        let Some(framing) = framing else { return true };
        let bytes = self.case.requests.borrow()[id].body_bytes;
        let expected = request_body(id, bytes);
        match self.inbox.body(framing).await {
            Ok((body, is_whole)) => {
                let is_good = if is_whole { body == expected } else { expected.starts_with(&body) };
                if !is_good {
                    self.violate(&format!("the body of request {id} ({} of {bytes} bytes)", body.len()));
                }
                is_whole
            }
            Err(error) => {
                self.violate(&error);
                false
            }
        }
    }

    fn set(&self, id: usize, attempt: usize, change: impl FnOnce(&mut Attempt)) {
        change(&mut self.case.requests.borrow_mut()[id].attempts[attempt]);
    }

    async fn respond(&mut self, id: usize, attempt: usize, framing: Option<Framing>) -> bool {
        let evil = if self.is_evil() { 1 + self.engine.below(13) } else { 0 };
        let number = self.end.number();
        self.engine.note(|| format!("endpoint {number}: answers in way {evil}"));
        let is_early = evil == 1;
        match evil {
            2 => return false,
            3 => {
                self.end.abort();
                return false;
            }
            4 => {
                self.set(id, attempt, |attempt| attempt.is_silent = true);
                while self.inbox.more().await {}
                return false;
            }
            _ => {}
        }
        if !is_early && !self.read_body(id, framing).await {
            return false;
        }
        match evil {
            5 => return false,
            6 => {
                self.end.send(b"HTP/1.1 ha\r\n\r\n").await;
                self.spoilt = Some("had been answered with nonsense");
                return true;
            }
            7 => {
                for _ in 0..1 + self.engine.below(20) {
                    self.end.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
                }
            }
            8 => self.engine.sleep(self.engine.below(40_000_000)).await,
            _ => {}
        }
        let is_head = self.case.requests.borrow()[id].method == "HEAD";
        let bytes = match self.engine.below(10) {
            0 => 0,
            1 => 60_000 + self.engine.below(60_000),
            2 => self.engine.below(20_000),
            _ => self.engine.below(400),
        } as usize;
        let body = response_body(id, attempt, bytes);
        let out = match self.engine.below(10) {
            0..=4 => Framing::Length(bytes),
            5..=8 => Framing::Chunked,
            _ => Framing::UntilClose,
        };
        let status = if evil == 9 { "503 Busy" } else { "200 OK" };
        let mut head = format!("HTTP/1.1 {status}\r\nX-Sim-Id: {id}\r\nX-Sim-Attempt: {attempt}\r\n");
        let mut closes = out == Framing::UntilClose;
        // Without a body nothing shows that the connection ends.
        if evil == 10 || (closes && is_head) {
            head += "Connection: close\r\n";
            closes = true;
        }
        let mut bytes_out = match out {
            Framing::Length(length) => {
                head += &format!("Content-Length: {length}\r\n\r\n");
                body.clone()
            }
            Framing::Chunked => {
                head += "Transfer-Encoding: chunked\r\n\r\n";
                chunked(&self.engine, &body)
            }
            Framing::UntilClose => {
                head += "\r\n";
                body.clone()
            }
        };
        if is_head {
            bytes_out.clear();
        }
        let mut message = head.into_bytes();
        let head_bytes = message.len();
        message.append(&mut bytes_out);
        let is_cut = matches!(evil, 11 | 12) && !(is_head || out == Framing::Length(0));
        if is_cut {
            let end = message.len() - head_bytes;
            message.truncate(head_bytes + self.engine.below(end as u64) as usize);
        }
        self.set(id, attempt, |attempt| {
            attempt.body_bytes = bytes;
            attempt.is_whole = !is_cut;
        });
        let mut rest = message.as_slice();
        while !rest.is_empty() {
            let count = if self.engine.chance(60) {
                rest.len()
            } else {
                1 + self.engine.below(rest.len() as u64) as usize
            };
            if !self.end.send(&rest[..count]).await {
                return false;
            }
            rest = &rest[count..];
            if self.engine.chance(20) {
                let pause = if evil == 8 { 5_000_000 } else { 20_000 };
                self.engine.sleep(self.engine.below(pause)).await;
            }
        }
        if is_cut {
            if evil == 12 || out == Framing::UntilClose {
                self.end.abort();
            }
            return false;
        }
        if evil == 13
            && out != Framing::UntilClose
            && self.is_quiet()
            && self.end.place(b"HTTP/1.1 200 OK\r\nX-Sim-Id: 999998\r\nContent-Length: 0\r\n\r\n")
        {
            self.spoilt = Some("the endpoint had spoken on after its answer");
            return true;
        }
        if closes {
            return false;
        }
        if is_early {
            // The rest of a body whose request is over.
            return self.read_body(id, framing).await;
        }
        true
    }

    async fn tunnel(&mut self, id: usize, attempt: usize, head: &Head) {
        if self.is_evil() {
            return;
        }
        self.engine
            .check(head.get("upgrade") == Some("websocket"), || format!("request {id} lost its upgrade"));
        let response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nX-Sim-Id: {id}\r\nX-Sim-Attempt: {attempt}\r\n\r\n"
        );
        self.set(id, attempt, |attempt| attempt.is_whole = true);
        self.end.send(response.as_bytes()).await;
        let (end, engine) = (self.end.clone(), self.engine.clone());
        let is_evil = self.is_evil();
        self.engine.spawn(false, async move {
            for frame in frames(id + 7, FRAMES, false).chunks(50) {
                engine.sleep(engine.below(300_000)).await;
                if !end.send(frame).await {
                    return;
                }
                if is_evil && engine.chance(10) {
                    return end.finish();
                }
            }
            end.finish();
        });
        while self.inbox.more().await {}
        if !is_tunnelled(&self.inbox.bytes, &frames(id, FRAMES, true)) {
            self.violate(&format!("what came through the tunnel of request {id}"));
        }
    }
}

pub(super) const FRAMES: usize = 30;
