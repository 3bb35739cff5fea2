//! A stage of an embedder: the protocol of the built-in stages, in one program.
//!
//! ```text
//! cargo run --release --example middleware
//! curl -i http://app.localhost:8081/                         # 401: no key
//! curl -i -H 'X-Key: open sesame' http://app.localhost:8081/ # 200, with X-Served-For and X-Visit
//! ```
//! Enter stops it.

use std::error::Error;
use std::future::poll_fn;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use ringway::middleware::{Flow, LocalReply, Middleware, Pending, RequestCtx, ResponseCtx};
use ringway::{Builder, Gateway, Handle};

/// Admits requests with a key, which is judged outside of the cores: a stage must not block one.
///
/// ```text
/// on_request: no key ─► 401      key ─► Flow::Wait ─► wait: a thread judges ─► 403, or continue
/// on_response: fields for the client, also on the 401 of later stages and on errors of ringway
/// ```
struct Doorkeeper;

/// State of one request: made by its request part, read by its response part.
#[derive(Default)]
struct Visit {
    began_us: u64,
}

impl Middleware for Doorkeeper {
    fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        let now = request.services().now_micros();
        request.state::<Visit>().began_us = now;
        match request.field("x-key").next() {
            None => Flow::Reply(LocalReply::refusal(401, "no_key", "send a key in X-Key")),
            // The decision needs time: it is made in `wait`.
            Some(_) => Flow::Wait,
        }
    }

    fn wait<'a>(&'a self, request: &'a mut RequestCtx<'_>) -> Pending<'a> {
        Box::pin(async move {
            let key = request.field("x-key").next().unwrap_or_default().to_vec();
            // After the route's timeout this future is dropped, and the client gets 504.
            if !judge_elsewhere(key).await {
                return ControlFlow::Break(LocalReply::error(403));
            }
            // The endpoint gets the name in place of the key.
            request.remove("x-key");
            match request.set("x-visitor", b"ali baba") {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(LocalReply::error(500)),
            }
        })
    }

    fn on_response(&self, response: &mut ResponseCtx<'_>) {
        let began_us = response.state::<Visit>().began_us;
        let visit = format!("{began_us}").into_bytes();
        // Names and digits can stand in a head.
        let _ = response.set("X-Visit", &visit);
        let _ = response.append("X-Served-For", b"ali baba");
    }
}

/// Judges a key on another thread. A program would keep one thread and a queue, or ask a service.
async fn judge_elsewhere(key: Vec<u8>) -> bool {
    const UNDECIDED: u8 = 0;
    const ADMITTED: u8 = 1;
    const REFUSED: u8 = 2;
    let shared = Arc::new((AtomicU8::new(UNDECIDED), Mutex::new(None::<Waker>)));
    let judge = Arc::clone(&shared);
    thread::spawn(move || {
        let verdict = if key == b"open sesame" { ADMITTED } else { REFUSED };
        judge.0.store(verdict, Ordering::Release);
        if let Some(waker) = judge.1.lock().unwrap_or_else(PoisonError::into_inner).take() {
            waker.wake();
        }
    });
    poll_fn(|cx| {
        // The waker first: a verdict that comes in between wakes it.
        *shared.1.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
        match shared.0.load(Ordering::Acquire) {
            UNDECIDED => Poll::Pending,
            verdict => Poll::Ready(verdict == ADMITTED),
        }
    })
    .await
}

/// Serves an app behind the stage.
pub(crate) fn start(builder: Builder) -> Result<Handle, Box<dyn Error>> {
    let app = serve()?;
    let gateway = builder.middleware(Doorkeeper).spawn()?;
    gateway.register_app("app", &format!("http://{app}"))?;
    gateway.register_domain("app.localhost", "app", None)?;
    Ok(gateway)
}

fn main() -> Result<(), Box<dyn Error>> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "8081".to_owned());
    let gateway = start(Gateway::builder().http(vec![format!("127.0.0.1:{port}").parse()?]))?;
    println!("http://app.localhost:{}/ is served; Enter stops it", gateway.http_addresses()[0].port());
    io::stdin().lock().read_line(&mut String::new())?;
    gateway.shutdown(Duration::from_secs(5))?;
    Ok(())
}

/// An app on a port of its own: says who visits.
fn serve() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The client may have left.
            thread::spawn(move || answer(&stream).ok());
        }
    });
    Ok(address)
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    let mut visitor = "nobody".to_owned();
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if line.is_empty() {
            let body = format!("hello, {visitor}\n");
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            return stream.write_all((head + &body).as_bytes());
        }
        if let Some(name) = line.strip_prefix("x-visitor: ") {
            name.clone_into(&mut visitor);
        }
    }
    Ok(())
}
