//! Compression of responses: what the client decodes, and what is never touched, over HTTP/1.1, HTTP/2 and by
//! curl.

use std::io::Read;
use std::process::Command;
use std::sync::Arc;

use crate::kit::*;

/// A document with one route of app.test that compresses.
fn document(origin: &Origin, settings: &str) -> String {
    format!(
        "version: v1\nmiddleware:\n  - id: chain\n    stages:\n      - type: compress\n{settings}\
         routes:\n  - id: all\n    host: app.test\n    pool: pool\n    middleware: chain\n\
         pools:\n  - id: pool\n    endpoints:\n      - address: \"{}\"\n",
        origin.address()
    )
}

fn configured(builder: proxy::Builder, origin: &Origin) -> proxy::Builder {
    let file = builder.folder().join("config.yaml");
    std::fs::write(&file, document(origin, "")).unwrap();
    // One core: its states and its time are shared by all clients.
    builder.env("PROXY_CONFIG", file.to_str().unwrap()).env("PROXY_WORKERS", "1")
}

fn start(driver: Driver, origin: &Origin) -> Proxy {
    configured(Proxy::on(driver), origin).start()
}

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n")
}

fn ask(proxy: &Proxy, target: &str, fields: &str) -> Message {
    let mut client = proxy.client();
    client.send(get(target, fields));
    client.response("GET")
}

const GZIP: &str = "Accept-Encoding: gzip\r\n";

fn decode(coding: &str, coded: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(coded).read_to_end(&mut data).unwrap(),
        "br" => brotli_decompressor::Decompressor::new(coded, 4096).read_to_end(&mut data).unwrap(),
        "zstd" => {
            data.reserve(8 << 20);
            zstd_safe::decompress(&mut data, coded).unwrap()
        }
        other => panic!("no decoder of {other}"),
    };
    data
}

/// JSON of some size.
fn json(bytes: usize) -> Vec<u8> {
    let rows = (0_u64..).flat_map(|row| {
        let noise = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{{\"id\": {noise}, \"name\": \"customer {row}\", \"active\": true}},\n").into_bytes()
    });
    rows.take(bytes).collect()
}

/// An origin with several kinds of bodies.
fn library() -> Origin {
    Origin::http(|request, connection| {
        let body = json(65_536);
        let length = format!("Content-Length: {}\r\n", body.len());
        let fields =
            "Content-Type: application/json\r\nETag: \"v1\"\r\nAccept-Ranges: bytes\r\nVary: Origin\r\n";
        let is_head = request.method() == "HEAD";
        match request.target() {
            "/length" => {
                connection.send(format!("HTTP/1.1 200 OK\r\n{fields}{length}\r\n"));
                if !is_head {
                    connection.send(&body);
                }
            }
            "/chunked" => {
                connection.send(format!(
                    "HTTP/1.1 200 OK\r\n{fields}Trailer: X-End\r\nTransfer-Encoding: chunked\r\n\r\n"
                ));
                let mut coded = chunked(&body, 1000);
                coded.truncate(coded.len() - 2);
                connection.send(&coded);
                connection.send("X-End: yes\r\n\r\n");
            }
            "/close" => {
                connection.send(format!("HTTP/1.1 200 OK\r\n{fields}Connection: close\r\n\r\n"));
                connection.send(&body);
                return After::Close;
            }
            "/cut" => {
                connection.send(format!("HTTP/1.1 200 OK\r\n{fields}{length}\r\n"));
                connection.send(&body[..40_000]);
                return After::Close;
            }
            "/cut-chunks" => {
                connection.send(format!("HTTP/1.1 200 OK\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"));
                connection.send("5\r\n12345\r\n");
                return After::Close;
            }
            "/coded" => {
                connection.send(format!("HTTP/1.1 200 OK\r\n{fields}Content-Encoding: br\r\n{length}\r\n"));
                connection.send(&body);
            }
            "/not-modified" => {
                let known = request.field("if-none-match").unwrap_or_default();
                // As servers that compare bytes do.
                let is_known = known.split(", ").any(|tag| tag == "\"v1\"");
                assert!(is_known, "{known}");
                connection.send("HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n");
            }
            "/hang" => {
                connection.send(format!("HTTP/1.1 200 OK\r\n{fields}{length}\r\n"));
                connection.send(&body[..40_000]);
                connection.until_closed();
                return After::Close;
            }
            _ => connection.reply(404, b""),
        }
        After::Keep
    })
}

on_both_drivers! {
    fn each_coding_is_decoded_to_what_the_origin_sent(driver) {
        let origin = library();
        let proxy = configured(Proxy::on(driver), &origin).env("ACCESS_LOG", "stdout").start();
        let body = json(65_536);
        for target in ["/length", "/chunked", "/close"] {
            for coding in ["gzip", "br", "zstd"] {
                let answer = ask(&proxy, target, &format!("Accept-Encoding: {coding}\r\n"));
                assert_eq!((answer.status(), answer.field("content-encoding")), (200, Some(coding)), "{target}");
                assert_eq!(answer.framing, Framing::Chunked, "{target} {coding}");
                assert!(decode(coding, &answer.body) == body, "{target} {coding}");
                assert!(answer.body.len() < body.len() / 3, "{coding}: {}", answer.body.len());
                assert_eq!(answer.field("etag"), Some("W/\"v1\""));
                assert_eq!(answer.field("vary"), Some("Origin, Accept-Encoding"));
                assert_eq!((answer.field("content-length"), answer.field("accept-ranges")), (None, None));
                let trailers = if target == "/chunked" { vec![("X-End".to_owned(), "yes".to_owned())] } else { vec![] };
                assert_eq!(answer.trailers, trailers);
            }
        }
        let plain = ask(&proxy, "/length", "");
        assert_eq!((plain.field("content-encoding"), plain.field("etag")), (None, Some("\"v1\"")));
        assert_eq!(plain.field("vary"), Some("Origin, Accept-Encoding"));
        assert!(plain.body == body);
        // Requests are counted when their last bytes are sent: a moment after the client has them.
        eventually("the bytes are counted", || {
            let bytes = proxy.metric("proxy_compress_bytes_total", &["coding=\"gzip\"", "direction=\"in\""]);
            (bytes > 190_000.0).then_some(())
        });
        eventually("the reason is counted", || {
            (proxy.metric("proxy_compress_skipped_total", &["why=\"not_accepted\""]) == 1.0).then_some(())
        });
        let line = eventually("the log line", || proxy.log().into_iter().find(|line| line.contains("/chunked")));
        assert!(line.contains("coding"), "{line}");
    }

    fn pipelined_requests_get_their_own_bodies(driver) {
        let origin = library();
        let proxy = start(driver, &origin);
        let mut client = proxy.client();
        client.send([get("/length", GZIP), get("/length", ""), get("/chunked", "Accept-Encoding: br\r\n"), get("/coded", GZIP)].concat());
        let body = json(65_536);
        assert!(decode("gzip", &client.response("GET").body) == body);
        assert!(client.response("GET").body == body);
        assert!(decode("br", &client.response("GET").body) == body);
        let coded = client.response("GET");
        assert_eq!(coded.field("content-encoding"), Some("br"), "the origin's own coding stays");
        assert!(coded.body == body && coded.field("etag") == Some("\"v1\""));
    }

    fn http2_gets_codings_trailers_and_resets(driver) {
        let origin = library();
        let secure = h2::secure(configured(Proxy::on(driver), &origin));
        let mut peer = h2::H2::connect(&secure);
        let begin = |peer: &mut h2::H2, path: &str, coding: &str| {
            peer.begin(
                &[(":method", "GET"), (":scheme", "https"), (":authority", "app.test"), (":path", path), ("accept-encoding", coding)],
                true,
            )
        };
        let body = json(65_536);
        for coding in ["gzip", "br", "zstd"] {
            let stream = begin(&mut peer, "/chunked", coding);
            let answer = peer.response(stream);
            assert_eq!((answer.status(), answer.get("content-encoding")), (200, Some(coding)));
            assert!(decode(coding, &answer.body) == body, "{coding}");
            assert_eq!(answer.trailers, Some(vec![("x-end".to_owned(), "yes".to_owned())]));
            assert_eq!(answer.get("content-length"), None);
        }
        for path in ["/cut", "/cut-chunks"] {
            let stream = begin(&mut peer, path, "gzip");
            let answer = peer.until("the end of a cut response", |peer| {
                peer.answer(stream).is_over().then(|| peer.answer(stream).reset)
            });
            assert!(answer.is_some(), "{path}: a cut is no end");
        }
    }

    fn a_cut_response_never_looks_complete(driver) {
        let origin = library();
        let proxy = start(driver, &origin);
        for target in ["/cut", "/cut-chunks"] {
            for coding in ["gzip", "br", "zstd"] {
                let mut client = proxy.client();
                client.send(get(target, &format!("Accept-Encoding: {coding}\r\n")));
                match client.try_response("GET") {
                    Err(Fault::Cut(_) | Fault::Reset) => {}
                    other => panic!("{target} {coding}: {other:?}"),
                }
            }
        }
    }

    fn head_and_304_have_the_fields_of_the_coded_response(driver) {
        let origin = library();
        let proxy = start(driver, &origin);
        let coded = ask(&proxy, "/length", GZIP);
        let mut client = proxy.client();
        client.send(format!("HEAD /length HTTP/1.1\r\nHost: app.test\r\n{GZIP}\r\n"));
        let head = client.response("HEAD");
        for name in ["content-type", "content-encoding", "etag", "vary", "accept-ranges", "content-length"] {
            assert_eq!(head.field(name), coded.field(name), "{name}");
        }
        client.send(get("/not-modified", &format!("{GZIP}If-None-Match: W/\"v1\"\r\n")));
        let fresh = client.response("GET");
        assert_eq!((fresh.status(), fresh.field("etag"), fresh.field("vary")), (304, Some("W/\"v1\""), Some("Accept-Encoding")));
        client.send(get("/not-modified", "If-None-Match: \"v1\"\r\n"));
        assert_eq!(client.response("GET").field("etag"), Some("\"v1\""));
    }

    fn each_part_of_a_slow_stream_reaches_the_client_at_once(driver) {
        let gate = Arc::new(Gate::new());
        let origin = {
            let gate = Arc::clone(&gate);
            Origin::http(move |_, connection| {
                connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
                for part in ["first", "other"] {
                    connection.send(format!("5\r\n{part}\r\n"));
                    // The rest comes when the client has decoded this part.
                    gate.pass();
                }
                connection.send("0\r\n\r\n");
                After::Keep
            })
        };
        let proxy = start(driver, &origin);
        for coding in ["gzip", "br", "zstd"] {
            let mut client = proxy.client();
            client.send(get("/", &format!("Accept-Encoding: {coding}\r\n")));
            let mut answer = client.response_head("GET");
            assert_eq!(answer.field("content-encoding"), Some(coding));
            for expected in ["first", "firstother"] {
                let mut decoded = Vec::new();
                while decoded.len() < expected.len() {
                    assert!(client.chunk(&mut answer), "the body goes on");
                    decoded = decode_begun(coding, &answer.body);
                }
                assert_eq!(String::from_utf8_lossy(&decoded), expected);
                gate.open();
            }
            client.body(&mut answer).unwrap();
            assert_eq!(decode(coding, &answer.body), b"firstother");
        }
    }

    fn events_pass_untouched(driver) {
        let events = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n0\r\n\r\n";
        let origin = Origin::fixed(events, After::Keep);
        let proxy = start(driver, &origin);
        let answer = ask(&proxy, "/", "Accept-Encoding: gzip, br, zstd\r\n");
        assert_eq!((answer.field("content-encoding"), answer.field("vary")), (None, None));
        assert_eq!(answer.text(), "data: 1\n\ndata: 2\n\n");
    }

    fn others_are_served_while_a_large_response_is_compressed(driver) {
        const PARTS: usize = 1600;
        let origin = Origin::forgetful(|connection| {
            while let Ok(request) = connection.request() {
                if request.target() == "/small" {
                    connection.reply(200, b"small");
                    continue;
                }
                let part = json(65_536);
                connection.send(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", PARTS * part.len()));
                for _ in 0..PARTS {
                    if !connection.send(&part) {
                        return;
                    }
                }
            }
        });
        let proxy = start(driver, &origin);
        let mut large = proxy.client();
        large.send(get("/large", GZIP));
        let mut answer = large.response_head("GET");
        assert_eq!(answer.field("content-encoding"), Some("gzip"));
        // Read on another thread as it comes, so that only the core holds it up.
        let reading = std::thread::spawn(move || {
            large.within(std::time::Duration::from_secs(120)).body(&mut answer).unwrap();
            answer
        });
        let mut small = proxy.client();
        let mut served = 0;
        while !reading.is_finished() {
            small.send(get("/small", GZIP));
            assert_eq!(small.response("GET").text(), "small");
            served += 1;
        }
        let answer = reading.join().unwrap();
        assert!(served >= 10, "{served} requests were served meanwhile");
        let mut decoder = flate2::read::GzDecoder::new(&*answer.body);
        assert_eq!(std::io::copy(&mut decoder, &mut std::io::sink()).unwrap(), (PARTS * 65_536) as u64);
    }

    fn a_client_that_leaves_frees_its_encoder(driver) {
        let origin = library();
        let proxy = start(driver, &origin);
        // More than the 64 states of a core.
        let clients: Vec<Client> = (0..70)
            .map(|_| {
                let mut client = proxy.client();
                client.send(get("/hang", GZIP));
                client.response_head("GET");
                client
            })
            .collect();
        let plain = ask(&proxy, "/length", GZIP);
        assert_eq!((plain.field("content-encoding"), plain.body.len()), (None, 65_536), "no state is left");
        drop(clients);
        eventually("a state is free", || {
            (ask(&proxy, "/length", GZIP).field("content-encoding") == Some("gzip")).then_some(())
        });
        eventually("the reason is counted", || {
            (proxy.metric("proxy_compress_skipped_total", &["why=\"busy\""]) >= 1.0).then_some(())
        });
    }

    fn curl_decodes_every_coding_over_both_versions(driver) {
        let origin = library();
        let secure = h2::secure(configured(Proxy::on(driver), &origin));
        let body = json(65_536);
        for version in ["--http1.1", "--http2"] {
            for coding in ["gzip", "br", "zstd", "gzip, deflate, br, zstd"] {
                for target in ["/length", "/chunked"] {
                    let mut client = Command::new("curl");
                    client.args(["--silent", "--show-error", "--insecure", "--fail", "--compressed", "--max-time", "60", version]);
                    client.args(["--header", "Host: app.test", "--header", &format!("Accept-Encoding: {coding}")]);
                    client.arg(format!("https://{}{target}", secure.https()));
                    client.args(["--connect-to", &format!("::{}", secure.https())]);
                    let output = client.output().unwrap_or_else(|error| panic!("install curl: {error}"));
                    let errors = String::from_utf8_lossy(&output.stderr);
                    assert!(output.status.success(), "{version} {coding} {target}: {errors}");
                    assert!(output.stdout == body, "{version} {coding} {target}: {} bytes", output.stdout.len());
                }
            }
        }
        assert_eq!(proxy_skipped(&secure), 0.0);
    }
}

fn proxy_skipped(proxy: &Proxy) -> f64 {
    proxy.metric("proxy_compress_skipped_total", &["why=\"not_accepted\""])
}

/// Decodes what has come of a body.
fn decode_begun(coding: &str, coded: &[u8]) -> Vec<u8> {
    let mut data = vec![0; 1000];
    let mut count = 0;
    match coding {
        "zstd" => {
            let mut output = zstd_safe::OutBuffer::around(&mut data[..]);
            let mut input = zstd_safe::InBuffer::around(coded);
            zstd_safe::DCtx::create().decompress_stream(&mut output, &mut input).unwrap();
            count = output.pos();
        }
        _ => {
            let mut decoder: Box<dyn Read> = match coding {
                "gzip" => Box::new(flate2::read::GzDecoder::new(coded)),
                _ => Box::new(brotli_decompressor::Decompressor::new(coded, 4096)),
            };
            // Its input ends in the middle.
            while let Ok(more @ 1..) = decoder.read(&mut data[count..]) {
                count += more;
            }
        }
    }
    data.truncate(count);
    data
}
