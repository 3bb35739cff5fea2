//! A CA that makes accounts and limits orders; over plain HTTP on this machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(super) struct Ca {
    pub(super) directory: String,
    orders: Arc<AtomicUsize>,
}

impl Ca {
    /// Each order is answered with the next of these as its `Retry-After`.
    pub(super) fn start(retry_afters: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let orders = Arc::new(AtomicUsize::new(0));
        let (url, count) = (base.clone(), Arc::clone(&orders));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (url, count) = (url.clone(), Arc::clone(&count));
                std::thread::spawn(
                    move || while serve(stream.as_ref().unwrap(), &url, retry_afters, &count) {},
                );
            }
        });
        Self { directory: format!("{base}/dir"), orders }
    }

    /// How many orders were asked for.
    pub(super) fn orders(&self) -> usize {
        self.orders.load(Ordering::SeqCst)
    }
}

fn serve(stream: &TcpStream, url: &str, retry_afters: &[&str], orders: &AtomicUsize) -> bool {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap_or(0) == 0 {
            return false;
        }
    }
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let mut line = head.split_whitespace();
    let (method, path) = (line.next().unwrap(), line.next().unwrap());
    let (status, more, body) = match path {
        "/dir" => {
            let text = format!(
                r#"{{"newNonce":"{url}/nonce","newAccount":"{url}/account","newOrder":"{url}/order"}}"#
            );
            ("200 OK", String::new(), text)
        }
        "/account" => ("201 Created", format!("Location: {url}/account/1\r\n"), "{}".to_owned()),
        "/order" => {
            let count = orders.fetch_add(1, Ordering::SeqCst);
            let wait = retry_afters[count.min(retry_afters.len() - 1)];
            let text = r#"{"type":"urn:ietf:params:acme:error:rateLimited","status":429,
                "detail":"too many new orders (300) from this account in the last 3h0m0s"}"#;
            ("429 Too Many Requests", format!("Retry-After: {wait}\r\n"), text.to_owned())
        }
        _ => ("200 OK", String::new(), String::new()),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\nReplay-Nonce: abcd\r\n{more}Content-Length: {}\r\n\r\n{}",
        body.len(),
        if method == "HEAD" { "" } else { &body }
    );
    (&*stream).write_all(answer.as_bytes()).is_ok()
}
