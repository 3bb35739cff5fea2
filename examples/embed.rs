//! ringway embedded in a program: no admin API, no signal handler, no process of its own.
//!
//! ```text
//! cargo run --release --example embed
//! curl http://app.localhost:8081/
//! curl -i http://app.localhost:8081/internal/secrets    # 403 from the middleware
//! ```
//! Enter stops it.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use ringway::Gateway;
use ringway::middleware::{Flow, LocalReply, Middleware, RequestCtx};
use ringway::telemetry::{Event, Observer};

/// Middleware that rejects requests below `/internal/` and marks all others with `X-Checked`.
struct Private;

impl Middleware for Private {
    fn on_request(&self, request: &mut RequestCtx<'_>) -> Flow {
        if request.path().starts_with("/internal/") {
            return Flow::Reply(LocalReply::error(403));
        }
        match request.set("X-Checked", b"yes") {
            Ok(()) => Flow::Continue,
            Err(_) => Flow::Reply(LocalReply::error(500)),
        }
    }
}

/// Observer that prints a line per request. It runs on the data cores: production code counts, or sends to a
/// queue.
struct Lines;

impl Observer for Lines {
    fn on_event(&self, event: &Event<'_>) {
        let Event::Exchange(event) = event else { return };
        let host = String::from_utf8_lossy(event.host);
        println!("{} {host} by {}: {} µs", event.status, event.instance.unwrap_or("-"), event.duration_us);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let app = serve()?;

    let gateway = Gateway::builder()
        .http(vec!["127.0.0.1:8081".parse()?])
        // In memory by default; `.store(Box::new(ringway::store::Fjall::open("path")?))` keeps registrations.
        .middleware(Private)
        .observer(Arc::new(Lines))
        .spawn()?;
    gateway.register_app("app", &format!("http://{app}"))?;
    gateway.register_domain("app.localhost", "app", None)?;
    gateway.register_domain("customer.example", "app", Some("tenant-123"))?;

    println!("http://app.localhost:8081/ is served by {} workers; Enter stops it", gateway.workers());
    io::stdin().lock().read_line(&mut String::new())?;
    gateway.shutdown(Duration::from_secs(5))?;
    Ok(())
}

/// Sample app: one response per connection.
fn serve() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let is_checked = head.iter().any(|line| line.eq_ignore_ascii_case("x-checked: yes"));
            let body = if is_checked { "hello, checked\n" } else { "hello\n" };
            let length = body.len();
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            // The client may have left.
            let _ = (&stream).write_all(answer.as_bytes());
        }
    });
    Ok(address)
}
