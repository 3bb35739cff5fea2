//! HTTP/2 endpoints: requests of all clients share their connections.

use crate::kit::h2::{CANCEL, GOAWAY, H2, RST_STREAM, block, serving, serving_as};
use crate::kit::h2_origin::*;
use crate::kit::*;

fn proxy_before(driver: Driver, origin: &H2Origin) -> Proxy {
    let proxy = Proxy::start(driver);
    proxy.api().register("app", "app-1", &origin.target());
    proxy.api().domain("app.test", "app", None);
    proxy
}

on_both_drivers! {
    fn requests_leave_as_http2_and_answers_come_back_as_they_were_asked_for(driver) {
        let origin = H2Origin::new(|asked, replies| {
            match asked.get(":path") {
                Some("/length") => replies.head(asked.stream, &[(":status", "201"), ("content-length", "5"), ("x-two", "a"), ("x-two", "b")], false).data(asked.stream, b"hel", false).data(asked.stream, b"lo", true),
                Some("/none") => replies.head(asked.stream, &[(":status", "204")], true),
                Some("/empty") => replies.head(asked.stream, &[(":status", "200")], true),
                Some("/hints") => replies.head(asked.stream, &[(":status", "103"), ("link", "</a>")], false).ok(asked.stream, b"hinted"),
                _ => replies.ok(asked.stream, &asked.body),
            };
        });
        let proxy = proxy_before(driver, &origin);
        let mut client = proxy.client();
        let answer = client.get("app.test", "/length");
        assert_eq!((answer.status(), answer.text().as_str(), answer.framing), (201, "hello", Framing::Length(5)));
        assert_eq!(answer.all("x-two"), ["a", "b"]);
        assert_eq!(client.get("app.test", "/none").status(), 204);
        assert_eq!(client.get("app.test", "/empty").framing, Framing::Length(0));
        let answer = client.get("app.test", "/hints");
        assert_eq!((answer.interim.len(), answer.text().as_str()), (1, "hinted"));
        client.send("HEAD /length HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.response("HEAD").status(), 201);
        client.send("POST /<x>?y=`z HTTP/1.1\r\nHost: App.test:80\r\nContent-Length: 3\r\nX-Kept: Yes\r\nConnection: x-gone\r\nX-Gone: 1\r\n\r\nabc");
        assert_eq!(client.response("POST").text(), "abc");
        client.send("POST /c HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert_eq!(client.response("POST").text(), "abcde");

        let requests = origin.requests();
        let posted = &requests[5];
        for (name, value) in [
            (":method", Some("POST")), (":scheme", Some("http")), (":authority", Some("app.test:80")), (":path", Some("/%3Cx%3E?y=%60z")),
            ("x-kept", Some("Yes")), ("content-length", Some("3")), ("x-forwarded-for", Some("127.0.0.1")), ("x-gone", None),
        ] {
            assert_eq!(posted.get(name), value, "{name}");
        }
        assert_eq!(requests[6].get("content-length"), None);
        assert!(requests.iter().all(|asked| asked.connection == 0), "one connection carries them all");
    }

    fn trailers_pass_to_and_from_clients_of_both_versions(driver) {
        let origin = H2Origin::new(|asked, replies| {
            replies
                .head(asked.stream, &[(":status", "200"), ("content-type", "application/grpc")], false)
                .data(asked.stream, b"reply", false)
                .head(asked.stream, &[("grpc-status", "0"), ("content-length", "9")], true);
        });
        let proxy = serving(driver, &Origin::named("unused"));
        proxy.api().register("grpc", "grpc-1", &origin.target());
        proxy.api().domain("grpc.test", "grpc", None);
        let mut client = proxy.client();
        client.send("POST /call HTTP/1.1\r\nHost: grpc.test\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n");
        let answer = client.response("POST");
        assert_eq!((answer.text().as_str(), answer.trailers.len()), ("reply", 1));
        assert_eq!(answer.trailers[0], ("grpc-status".into(), "0".into()));
        let asked = &origin.requests()[0];
        assert_eq!((asked.get("te"), asked.body.as_slice()), (Some("trailers"), b"abc".as_slice()));
        assert_eq!(asked.trailers, [("x-sum".into(), "7".into())]);
    }

    fn a_cold_start_makes_one_upstream_connection_for_all_requests(driver) {
        let origin = H2Origin::new(|asked, replies| {
            replies.ok(asked.stream, b"ok");
        });
        let proxy = Proxy::on(driver).env("PROXY_WORKERS", "1").start();
        proxy.api().register("app", "app-1", &origin.target());
        proxy.api().domain("app.test", "app", None);
        let mut clients: Vec<Client> = (0..40).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.response("GET").text(), "ok");
        }
        assert_eq!(origin.connections(), 1);
    }

    fn a_request_that_its_client_gives_up_is_reset(driver) {
        let origin = H2Origin::new(|asked, replies| {
            if asked.get(":path") == Some("/begun") {
                replies.head(asked.stream, &[(":status", "200")], false).data(asked.stream, b"begun", false);
            }
        });
        let proxy = serving(driver, &Origin::named("unused"));
        // Under the name that the certificate has.
        proxy.api().remove("app-1");
        proxy.api().add("app", "app-2", &origin.target());
        let mut client = H2::connect(&proxy);
        for path in ["/silent", "/begun"] {
            let before = origin.requests().len();
            let stream = client.get("app.test", path);
            eventually("the request is there", || (origin.requests().len() > before).then_some(()));
            client.reset(stream, CANCEL);
            let asked = origin.requests().pop().unwrap();
            eventually("the request is reset", || origin.resets().iter().any(|(id, code)| (*id, *code) == (asked.stream, CANCEL)).then_some(()));
        }
    }

    fn an_endpoint_that_ends_its_connection_gets_the_next_request_on_another(driver) {
        let origin = H2Origin::new(|asked, replies| {
            replies.ok(asked.stream, b"ok");
            match asked.get(":path") {
                Some("/goaway") => {
                    let payload = [asked.stream.to_be_bytes(), 0u32.to_be_bytes()].concat();
                    replies.frame(GOAWAY, 0, 0, &payload);
                }
                Some("/close") => replies.closes = true,
                _ => {}
            }
        });
        let proxy = Proxy::on(driver).env("PROXY_WORKERS", "1").start();
        proxy.api().register("app", "app-1", &origin.target());
        proxy.api().domain("app.test", "app", None);
        let mut client = proxy.client();
        for path in ["/goaway", "/", "/close", "/", "/"] {
            assert_eq!(client.get("app.test", path).text(), "ok", "{path}");
        }
        assert!(origin.connections() >= 3, "{}", origin.connections());
    }

    fn an_answer_that_is_reset_never_looks_whole(driver) {
        let origin = H2Origin::new(|asked, replies| {
            if asked.get(":path") == Some("/refused") {
                replies.frame(RST_STREAM, 0, asked.stream, &7u32.to_be_bytes());
            } else {
                replies.head(asked.stream, &[(":status", "200")], false).data(asked.stream, b"begun", false);
                replies.frame(RST_STREAM, 0, asked.stream, &2u32.to_be_bytes());
            }
        });
        let proxy = proxy_before(driver, &origin);
        let mut client = proxy.client();
        client.send("GET /cut HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert!(client.try_response("GET").is_err(), "a cut answer looked whole");
        let mut client = proxy.client();
        client.send("POST /refused HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response("POST").status(), 502);
    }

    fn trailers_with_pseudo_fields_never_end_an_answer_well(driver) {
        let origin = H2Origin::new(|asked, replies| {
            replies.head(asked.stream, &[(":status", "103")], false).head(asked.stream, &[(":status", "200")], false);
            if asked.get(":path") != Some("/empty") {
                replies.data(asked.stream, b"all of it", false);
            }
            let trailers = if asked.get(":path") == Some("/well") { ("x-sum", "7") } else { (":status", "200") };
            replies.head(asked.stream, &[trailers], true);
        });
        let proxy = proxy_before(driver, &origin);
        for path in ["/", "/empty"] {
            let mut client = proxy.client();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
            let answer = client.try_response("GET");
            assert!(answer.as_ref().map_or(true, |answer| answer.status() == 502), "{path}: {answer:?}");
        }
        assert_eq!(proxy.get("app.test", "/well").text(), "all of it");
    }

    fn two_of_us_in_a_row_speak_http2_with_each_other(driver) {
        let origin = Origin::echo();
        let inner = serving_as(Proxy::on(driver).env("ACCESS_LOG", "stdout"), &origin);
        let outer = serving_as(Proxy::on(driver), &Origin::named("unused"));
        let ca = outer.store().parent().unwrap().join("inner.pem");
        std::fs::write(&ca, inner.authority()).unwrap();
        let body = json!({
            "app_id": "app", "app_name": "app",
            "instance": { "instance_id": "app-9", "target": format!("https://{}", inner.https()) },
            "upstream_tls": { "ca_file": ca, "server_name": "app.test" },
        });
        outer.api().remove("app-1");
        outer.api().post("/api/apps/register", &body).is(201);
        let mut client = H2::connect(&outer);
        let sent = pattern(700_000);
        let fields = client.fields("POST", "app.test", "/", &[("te", "trailers")]);
        let stream = client.begin(&fields, false);
        client.upload(stream, &sent);
        client.frame(1, 5, stream, &block(&[("x-sum", "7")]));
        let answer = client.response(stream);
        assert!(answer.is_whole() && answer.body == sent, "{}", answer.body.len());
        let request = origin.one_request();
        assert_eq!(request.trailers, [("x-sum".into(), "7".into())]);
        let id = request.field("x-request-id").unwrap();
        eventually("the inner one's log line", || {
            let log = inner.log();
            let line = log.iter().find(|line| line.contains(id))?;
            assert!(line.contains("HTTP/2"), "{line}");
            Some(())
        });
    }

    fn a_websocket_has_a_connection_of_its_own_to_a_server_of_both_versions(driver) {
        let origin = Origin::websocket_echo("ws");
        let inner = serving(driver, &origin);
        let outer = Proxy::start(driver);
        let ca = outer.store().parent().unwrap().join("inner.pem");
        std::fs::write(&ca, inner.authority()).unwrap();
        let body = json!({
            "app_id": "app", "app_name": "app",
            "instance": { "instance_id": "app-9", "target": format!("https://{}", inner.https()) },
            "upstream_tls": { "ca_file": ca, "server_name": "app.test" },
        });
        outer.api().post("/api/apps/register", &body).is(201);
        outer.api().domain("app.test", "app", None);
        assert_eq!(outer.get("app.test", "/").text(), "ws", "over HTTP/2");
        let mut client = outer.client();
        client.send(ws::upgrade("app.test", "/chat"));
        assert_eq!(client.response("GET").status(), 101);
        client.send(ws::masked(ws::TEXT, b"hello"));
        assert_eq!(ws::read_frame(&mut client).unwrap(), (ws::TEXT, b"hello".to_vec()));
    }
}
