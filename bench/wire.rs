//! Cost of parsing and rewriting heads, and of checking chunked bodies.

use ringway_wire::h1::{
    ChunkMode, ChunkedBody, Limits, Parse, RequestHead, RequestRewrite, ResponseHead, ResponseRewrite,
    write_request, write_response,
};
use ringway_wire::message::Method;

use crate::harness::Harness;

const SMALL: &str = "GET / HTTP/1.1\r\nHost: app.example.com\r\n\r\n";
const BROWSER: &str = "GET /products/42?ref=home&page=2 HTTP/1.1\r\nHost: shop.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br\r\nReferer: https://shop.example.com/\r\nConnection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark; consent=1\r\nUpgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Site: same-origin\r\nPriority: u=1\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sat, 01 Nov 2025 00:00:00 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 1024\r\nCache-Control: no-store\r\nConnection: keep-alive\r\n\r\n";
const OWN_FIELDS: &[u8] = b"X-Original-Host: shop.example.com\r\nX-Forwarded-For: 203.0.113.7\r\n\
    X-Real-IP: 203.0.113.7\r\nX-Forwarded-Proto: http\r\nX-Request-ID: 0123456789abcdef-42\r\n";

pub(crate) fn run(bench: &mut Harness) {
    let limits = Limits::default();
    for (name, text) in [("small", SMALL), ("browser's", BROWSER)] {
        let mut head = RequestHead::default();
        bench.line(&format!("wire: parse a {name} request head, {} bytes", text.len()), || {
            head.reset();
            assert_eq!(head.parse(text.as_bytes(), &limits), Ok(Parse::Complete));
            head.len()
        });
        let mut out = Vec::with_capacity(4096);
        let rewrite = RequestRewrite { append: [OWN_FIELDS, b""], ..RequestRewrite::default() };
        head.reset();
        assert_eq!(head.parse(text.as_bytes(), &limits), Ok(Parse::Complete));
        bench.line(&format!("wire: rewrite a {name} request head"), || {
            out.clear();
            write_request(&mut out, text.as_bytes(), &head, &rewrite);
            out.len()
        });
    }
    let mut head = ResponseHead::default();
    let parse = |head: &mut ResponseHead| {
        head.reset();
        assert_eq!(head.parse(RESPONSE.as_bytes(), Method::Get, &limits), Ok(Parse::Complete));
    };
    bench.line(&format!("wire: parse a response head, {} bytes", RESPONSE.len()), || parse(&mut head));
    parse(&mut head);
    let mut out = Vec::with_capacity(4096);
    bench.line("wire: rewrite a response head", || {
        out.clear();
        write_response(&mut out, RESPONSE.as_bytes(), &head, &ResponseRewrite::default());
        out.len()
    });
    for size in [100, 4_000, 60_000] {
        let mut bytes = Vec::new();
        while bytes.len() < 64 * 1024 {
            bytes.extend_from_slice(format!("{size:x}\r\n").as_bytes());
            bytes.resize(bytes.len() + size, b'x');
            bytes.extend_from_slice(b"\r\n");
        }
        bench.line(&format!("wire: check 64 KB of chunks of {size} bytes"), || {
            let mut body = ChunkedBody::new(ChunkMode::Forward);
            let mut at = 0;
            while at < bytes.len() {
                match body.feed(&mut bytes[at..]) {
                    Ok(fed) if fed.consumed > 0 => at += fed.consumed,
                    _ => break,
                }
            }
            at
        });
    }
}
