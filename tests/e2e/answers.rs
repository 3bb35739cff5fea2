//! Early responses: they must reach their client while it still sends the request.

use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::kit::clients::{node, python};
use crate::kit::h2::{H2, Secure, serving_as};
use crate::kit::*;

const MB: usize = 1 << 20;
/// Far more than the buffers of both kernels hold.
const LARGE: usize = 12 * MB;

/// Responds before the body is read, in one of the ways of real apps.
fn hasty() -> Origin {
    Origin::forgetful(|connection| {
        while let Ok(mut head) = connection.request_head() {
            match head.target().split('?').next().unwrap_or_default() {
                "/keep" => {
                    connection.send("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno");
                    if connection.body(&mut head).is_err() {
                        return;
                    }
                }
                // The kernel answers what comes from here on with a reset.
                "/close" => {
                    connection.send("HTTP/1.1 401 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
                    return;
                }
                _ => connection.reply(200, b"ok"),
            }
        }
    })
}

fn secure(driver: Driver, origin: &Origin) -> Secure {
    serving_as(Proxy::on(driver).env("PROXY_BODY_MAX", "16m").env("ACCESS_LOG", "stdout"), origin)
}

/// Sends a request and a large body, all of it before it reads.
fn send_first(client: &mut Client, head: &str) -> Message {
    client.send(head);
    let sent = client.try_send(vec![b'x'; LARGE]);
    let answer = client.try_response("POST");
    answer.unwrap_or_else(|fault| panic!("{head:?}: {fault:?}, sending: {sent:?}"))
}

/// Sends requests of 20 MB each with a real client; returns the number of responses by status.
fn counted(mut client: Command) -> String {
    let Output { status, stdout, stderr } =
        client.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{client:?}: {error}"));
    let (out, errors) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    let count = lines.len();
    lines.dedup();
    assert!(!lines.is_empty(), "{client:?}: {status}, {errors}");
    format!("{count} {} {}", lines.join(" "), errors.lines().last().unwrap_or_default()).trim_end().to_owned()
}

/// RFC 9113 §7.
const NO_ERROR: u32 = 0;

/// Requests of each real client.
const TIMES: usize = 100;

fn requests_library(url: &str) -> Command {
    let mut client = python();
    let script = "
import sys, requests, urllib3
urllib3.disable_warnings()
body = bytes(20 << 20)
for _ in range(int(sys.argv[2])):
    try:
        print(requests.post(sys.argv[1], data=body, headers={'Host': 'app.test'}, verify=False, timeout=60).status_code)
    except Exception as error:
        print('lost', repr(error))
";
    client.args(["-c", script, url, &TIMES.to_string()]);
    client
}

fn undici(url: &str) -> Command {
    let mut client = node();
    let script = "
const { Agent, request } = require('undici');
const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
(async () => {
  const body = Buffer.alloc(20 << 20);
  for (let i = 0; i < Number(process.argv[2]); i++) {
    try {
      const answer = await request(process.argv[1], { method: 'POST', body, headers: { host: 'app.test' }, dispatcher });
      await answer.body.text();
      console.log(answer.statusCode);
    } catch (error) { console.log('lost', error.code, error.message); }
  }
  await dispatcher.destroy();
})();
";
    client.args(["-e", script, url, &TIMES.to_string()]);
    client
}

fn curl(proxy: &Secure, version: &str, url: &str) -> Command {
    let body = proxy.store().with_file_name("body");
    if !body.exists() {
        std::fs::write(&body, vec![b'x'; 20 * MB]).unwrap();
    }
    let mut client = Command::new("curl");
    client.args([
        "--silent",
        "--show-error",
        "--insecure",
        "--max-time",
        "60",
        version,
        "--header",
        "Host: app.test",
    ]);
    client.args(["--header", "Expect:", "--output", "/dev/null", "--write-out", "%{http_code}\\n"]);
    client.arg("--data-binary").arg(format!("@{}", body.display())).arg(format!("{url}?[1-{TIMES}]"));
    client
}

on_both_drivers! {
    fn a_local_reply_reaches_clients_that_send_everything_first(driver) {
        let origin = hasty();
        let proxy = secure(driver, &origin);
        let body = format!("Content-Length: {LARGE}\r\n\r\n");
        let table = [
            (413, "POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 99999999\r\n\r\n".to_owned()),
            (404, format!("POST / HTTP/1.1\r\nHost: nobody.test\r\n{body}")),
            (404, format!("POST / HTTP/1.0\r\nHost: nobody.test\r\nConnection: keep-alive\r\n{body}")),
            (400, format!("POST / HTTP/1.1\r\nHost: app.test\r\nHost: twice.test\r\n{body}")),
            (405, format!("TRACE / HTTP/1.1\r\nHost: app.test\r\n\r\n{body}")),
            (431, format!("POST / HTTP/1.1\r\nHost: app.test\r\nX: {}\r\n{body}", "x".repeat(100_000))),
            (400, "POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n".to_owned()),
            (426, "GET / HTTP/1.1\r\nHost: app.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 7\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".to_owned()),
        ];
        let tls = Tls::trusting(&proxy.authority(), "app.test");
        for (status, head) in table {
            assert_eq!(send_first(&mut proxy.client(), &head).status(), status, "{head}");
            let over_tls = send_first(&mut tls.connect(proxy.https()), &head).status();
            // Over TLS an unknown name is either another one than that of the connection, or not registered.
            assert!(over_tls == status || (status == 404 && over_tls == 421), "{over_tls}: {head}");
        }
        // Without TLS where TLS is spoken.
        let head = format!("POST / HTTP/1.1\r\nHost: app.test\r\n{body}");
        assert_eq!(send_first(&mut Client::connect(proxy.https()), &head).status(), 400);
    }

    fn a_response_of_an_app_reaches_clients_that_send_everything_first(driver) {
        let origin = hasty();
        let proxy = secure(driver, &origin);
        let tls = Tls::trusting(&proxy.authority(), "app.test");
        let chunked = String::from_utf8(chunked(&vec![b'x'; MB], 10_000)).unwrap();
        for target in ["/keep", "/close"] {
            let head = format!("POST {target} HTTP/1.1\r\nHost: app.test\r\nContent-Length: {LARGE}\r\n\r\n");
            assert_eq!(send_first(&mut proxy.client(), &head).text(), "no", "{target}");
            assert_eq!(send_first(&mut tls.connect(proxy.https()), &head).text(), "no", "{target} over TLS");
            let head = format!("POST {target} HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}");
            assert_eq!(send_first(&mut proxy.client(), &head).text(), "no", "{target} in chunks");
        }
    }

    fn a_response_reaches_clients_that_send_everything_first_during_shutdown(driver) {
        let origin = hasty();
        let proxy = secure(driver, &origin);
        let mut client = Tls::trusting(&proxy.authority(), "app.test").connect(proxy.https());
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 99999999\r\n\r\n");
        proxy.sigterm();
        client.send(vec![b'x'; LARGE]);
        assert_eq!(client.response("POST").status(), 413);
        drop(client);
        let mut proxy = proxy;
        assert!(proxy.wait_exit().success());
    }

    fn a_stream_of_http2_may_send_on_after_its_answer(driver) {
        let origin = hasty();
        let proxy = secure(driver, &origin);
        let mut client = H2::connect(&proxy);
        for (status, target) in [(413, "/"), (401, "/close"), (401, "/keep")] {
            let length = if status == 413 { "99999999" } else { "2000000" };
            let fields = client.fields("POST", "app.test", target, &[("content-length", length)]);
            let stream = client.begin(&fields, false);
            let answer = client.response(stream);
            assert_eq!((answer.status(), answer.reset), (status, None), "{target}: {answer:?}");
            // Its windows open, and it comes to its end.
            client.upload(stream, &vec![b'x'; 2_000_000]);
            let other = client.get("app.test", "/");
            assert_eq!(client.response(other).text(), "ok");
            let reset = client.answer(stream).reset;
            // Fewer bytes than announced are its own mistake.
            assert!(reset.is_none() || status == 413, "{target}: {reset:?}");
        }
    }

    fn a_stream_of_http2_that_stays_open_after_its_answer_is_reset_without_error(driver) {
        let origin = hasty();
        let proxy = secure(driver, &origin);
        let mut client = H2::connect(&proxy);
        let fields = client.fields("POST", "app.test", "/", &[("content-length", "99999999")]);
        let stream = client.begin(&fields, false);
        assert_eq!(client.response(stream).status(), 413);
        let reset = client.until("the stream is given up", |client| client.answer(stream).reset);
        assert_eq!(reset, NO_ERROR);
        let other = client.get("app.test", "/");
        assert_eq!(client.response(other).text(), "ok");
    }

    fn an_endless_lingering_client_is_closed(driver) {
        let origin = hasty();
        let proxy = secure(driver, &origin);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 99999999\r\n\r\n");
        assert_eq!(client.response("POST").status(), 413);
        let ended = Arc::new(AtomicBool::new(false));
        let sender = {
            let ended = Arc::clone(&ended);
            let mut socket = client.into_socket();
            std::thread::spawn(move || {
                use std::io::Write;
                while socket.write_all(&[b'x'; 1000]).is_ok() && !ended.load(Ordering::SeqCst) {
                    pause();
                }
            })
        };
        eventually_within(3 * SOON, "it is closed", || sender.is_finished().then_some(()));
        ended.store(true, Ordering::SeqCst);
    }
}

on_both_drivers! {
    /// Each client, each version of HTTP, each kind of early response: none is lost.
    fn real_clients_get_early_answers(driver) {
        let origin = hasty();
        let small = serving_as(Proxy::on(driver).env("PROXY_BODY_MAX", "10m"), &origin);
        let any = serving_as(Proxy::on(driver), &origin);
        for (proxy, target, status) in [(&small, "", 413), (&any, "keep", 401), (&any, "close", 401)] {
            let url = format!("https://{}/{target}", proxy.https());
            let clients = [
                ("requests", requests_library(&url)),
                ("undici", undici(&url)),
                ("curl, HTTP/1.1", curl(proxy, "--http1.1", &url)),
                ("curl, HTTP/2", curl(proxy, "--http2", &url)),
            ];
            for (name, client) in clients {
                let begun = std::time::Instant::now();
                let came = counted(client);
                eprintln!("{name} /{target}: {came} in {:?}", begun.elapsed());
                assert_eq!(came, format!("{TIMES} {status}"), "{name}, /{target}");
            }
        }
    }
}
