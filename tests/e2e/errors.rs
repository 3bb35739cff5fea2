//! Local replies of the proxy.

use crate::kit::*;

/// Response in the documented form: `{"error":{code,message,request_id,timestamp}}`.
fn is_error(answer: &Message, status: u16) {
    assert_eq!(answer.status(), status, "{} {}", answer.first_line, answer.text());
    assert!(
        answer.field("content-type").is_some_and(|kind| kind.starts_with("application/json")),
        "{answer:?}"
    );
    let error = &answer.json()["error"];
    for member in ["code", "message", "request_id", "timestamp"] {
        assert!(!error[member].as_str().unwrap_or_default().is_empty(), "{member} in {}", answer.text());
    }
    assert_eq!(answer.field("x-request-id"), error["request_id"].as_str(), "{answer:?}");
}

on_both_drivers! {
    fn errors_are_json_with_an_id(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        is_error(&proxy.get("unknown.test", "/"), 404);
        is_error(&proxy.get("app.test", &format!("/{}", "x".repeat(9000))), 414);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\n\r\n");
        is_error(&client.response("GET"), 400);
    }

    fn errors_are_html_for_a_browser(driver) {
        let proxy = Proxy::start(driver);
        let mut client = proxy.client();
        let accepts = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        client.send(format!("GET /<script> HTTP/1.1\r\nHost: unknown.test\r\nAccept: {accepts}\r\n\r\n"));
        let answer = client.response("GET");
        assert_eq!(answer.status(), 404);
        assert!(answer.field("content-type").unwrap().starts_with("text/html"), "{answer:?}");
        assert!(answer.text().contains(answer.field("x-request-id").unwrap()), "the id is on the page");
        assert!(!answer.text().contains("<script"), "nothing of the request is on the page unescaped");
        for accepts in ["application/json", "*/*", "text/html;q=0, application/json"] {
            client.send(format!("GET / HTTP/1.1\r\nHost: unknown.test\r\nAccept: {accepts}\r\n\r\n"));
            is_error(&client.response("GET"), 404);
        }
    }

    fn no_instance_at_all_is_a_502_with_retry_after(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        proxy.api().remove("app-1");
        let answer = proxy.get("app.test", "/");
        is_error(&answer, 502);
        assert!(answer.field("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{answer:?}");
    }

    fn a_dead_instance_is_a_502_with_retry_after(driver) {
        let origin = Origin::named("a");
        origin.die();
        let proxy = Proxy::serving(driver, &origin);
        let answer = proxy.get("app.test", "/");
        is_error(&answer, 502);
        assert!(answer.field("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{answer:?}");
        assert!(!answer.text().contains("127.0.0.1"), "the inside stays inside: {}", answer.text());
    }

    fn an_origin_that_hangs_up_is_a_502(driver) {
        let origin = Origin::script(|connection| {
            let _ = connection.request();
        });
        let proxy = Proxy::serving(driver, &origin);
        is_error(&proxy.get("app.test", "/"), 502);
        let reset = Origin::http(|_, _| After::Reset);
        proxy.serve("reset", "reset.test", &reset);
        is_error(&proxy.get("reset.test", "/"), 502);
    }

    fn an_apps_own_errors_pass_unchanged(driver) {
        let origin = Origin::fixed("HTTP/1.1 500 Oops\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\noops", After::Keep);
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for _ in 0..20 {
            let answer = client.get("app.test", "/");
            assert_eq!((answer.first_line.as_str(), answer.text().as_str()), ("HTTP/1.1 500 Oops", "oops"));
            assert_eq!(answer.field("retry-after"), Some("7"));
            assert!(answer.all("x-proxy-circuit-open").is_empty());
        }
    }

    fn a_connection_goes_on_after_an_error_that_was_not_its_own(driver) {
        let dead = Origin::named("dead");
        dead.die();
        let origin = Origin::echo();
        let proxy = Proxy::serving(driver, &origin);
        proxy.serve("dead", "dead.test", &dead);
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: unknown.test\r\nContent-Length: 5\r\n\r\nhello");
        is_error(&client.response("POST"), 404);
        client.send("POST / HTTP/1.1\r\nHost: dead.test\r\nContent-Length: 5\r\n\r\nhello");
        is_error(&client.response("POST"), 502);
        client.send("POST / HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.response("POST").text(), "hello");
    }
}
