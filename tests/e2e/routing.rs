//! Routing of requests to apps: names, target forms, registration and deregistration.

use crate::kit::*;

/// Target and host that the origin received.
fn asked(origin: &Origin) -> (String, String) {
    let request = origin.requests().pop().expect("a request at the origin");
    (request.target().to_owned(), request.field("host").unwrap_or_default().to_owned())
}

on_both_drivers! {
    fn two_instances_that_register_share_the_traffic(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        api.register("app", "app-1", &one.target());
        api.add("app", "app-2", &two.target());
        api.domain("app.test", "app", None);
        let mut client = proxy.client();
        let names: Vec<String> = (0..10).map(|_| client.get("app.test", "/").text()).collect();
        assert_eq!(names.iter().filter(|name| *name == "one").count(), 5, "{names:?}");
        assert_eq!(names.iter().filter(|name| *name == "two").count(), 5, "{names:?}");
        // Keep-alive on both sides: one connection per origin was enough.
        assert_eq!((one.connections().len(), two.connections().len()), (1, 1));
    }

    fn an_unknown_name_is_404_and_the_connection_stays(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for host in ["other.test", "sub.app.test", "app.test.evil", "127.0.0.1", "[::1]"] {
            assert_eq!(client.get(host, "/").status(), 404, "{host}");
        }
        assert_eq!(client.get("app.test", "/").status(), 200);
        assert_eq!(origin.request_count(), 1);
    }

    fn nothing_is_registered_at_first(driver) {
        let proxy = Proxy::start(driver);
        assert_eq!(proxy.get("app.test", "/").status(), 404);
        assert_eq!(proxy.api().get("/api/apps").is(200).json["apps"].as_array().map(Vec::len), Some(0));
    }

    fn a_name_is_one_name_however_it_is_written(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for host in ["APP.test", "app.test.", "App.Test.:80", "app.test:8443"] {
            assert_eq!(client.get(host, "/").status(), 200, "{host}");
            let request = origin.requests().pop().unwrap();
            assert_eq!(request.field("x-original-host"), Some("app.test"), "{host}");
            let name = request.field("host").unwrap().split(':').next().unwrap().to_owned();
            assert_eq!(name, "app.test", "{host}");
        }
    }

    fn an_international_name_is_reached_by_its_ascii_form(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::start(driver);
        proxy.serve("app", "Bücher.test", &origin);
        assert_eq!(proxy.get("xn--bcher-kva.test", "/").status(), 200);
        assert_eq!(proxy.get("XN--BCHER-KVA.test", "/").status(), 200);
    }

    fn the_absolute_form_decides_over_the_host_field(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        // RFC 9112 §3.2.2: the received Host field is ignored and replaced.
        client.send("GET http://app.test/path?q=1 HTTP/1.1\r\nHost: other.test\r\n\r\n");
        assert_eq!(client.response("GET").status(), 200);
        assert_eq!(asked(&origin), ("/path?q=1".into(), "app.test".into()));
        client.send("GET http://APP.test HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.response("GET").status(), 200);
        assert_eq!(asked(&origin).0, "/");
        client.send("GET http://other.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.response("GET").status(), 404);
    }

    fn an_authority_with_user_information_or_a_strange_scheme_is_refused(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        for target in ["http://user@app.test/", "http://user:pass@app.test/", "ftp://app.test/", "http:///", "app.test"] {
            let mut client = proxy.client();
            client.send(format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n"));
            let status = client.response("GET").status();
            assert!((400..500).contains(&status), "{target}: {status}");
        }
        assert_eq!(origin.request_count(), 0);
    }

    fn the_asterisk_form_is_for_options_only(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("OPTIONS * HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.response("OPTIONS").status(), 200);
        assert_eq!(origin.one_request().target(), "*");
        client.send("GET * HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.response("GET").status(), 400);
    }

    fn a_target_arrives_byte_for_byte(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        for target in ["/a/../b/./c//d", "/%2e%2E/%00%zz", "/?", "/a?x=1&x=2&;=%20", "/;p=1/[x]{y}|z^`\"<>\\"] {
            client.get("app.test", target);
            assert_eq!(asked(&origin).0, target);
        }
    }

    fn exactly_one_valid_host_is_needed(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        for fields in [
            "",
            "Host: app.test\r\nHost: app.test\r\n",
            "Host: app.test\r\nHost: other.test\r\n",
            "Host:\r\n",
            "Host: app.test other\r\n",
            "Host: app.test/x\r\n",
            "Host: u@app.test\r\n",
            "Host: app.test:x\r\n",
            "Host: app.test:99999\r\n",
            "Host: app.test:80:80\r\n",
            "Host: app.test, other.test\r\n",
            "Host: app..test\r\n",
            "Host: [::1\r\n",
            "Host: app.test\\\r\n",
            "Host: app.test%00\r\n",
        ] {
            let mut client = proxy.client();
            client.send(format!("GET / HTTP/1.1\r\n{fields}\r\n"));
            let status = client.response("GET").status();
            assert_eq!(status, 400, "{fields:?}");
            client.assert_closed();
        }
        assert_eq!(origin.request_count(), 0);
    }

    fn both_families_of_addresses_are_served(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::serving(driver, &origin);
        let Some(address) = proxy.http_v6() else {
            assert!(!std::path::Path::new("/proc/net/if_inet6").exists(), "no IPv6 listener: {}", proxy.ready());
            return;
        };
        assert_eq!(Client::connect(address).get("app.test", "/").status(), 200);
        assert_eq!(origin.one_request().field("x-real-ip"), Some("::1"));
    }

    fn the_short_paths_of_the_use_cases_do_the_same(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        for (id, origin) in [("app1-1", &one), ("app1-2", &two)] {
            api.post("/api/register", &json!({
                "domain": "app1.test", "instance_id": id, "target": origin.target(), "app_id": "app1",
                "health_check": "/health",
            })).is(201);
        }
        // Each instance that serves a tenant's subdomain registers for it too.
        api.post("/api/register", &json!({
            "domain": "tenant1.app1.test", "instance_id": "app1-1", "target": one.target(), "app_id": "app1",
        })).is(201);
        api.post("/api/routes", &json!({ "domain": "brand.test", "app_id": "app1", "tenant_id": "tenant-123" })).is(201);
        let mut client = proxy.client();
        for host in ["app1.test", "tenant1.app1.test", "brand.test"] {
            let mut names = [client.get(host, "/").text(), client.get(host, "/").text()];
            names.sort();
            assert_eq!(names, ["one", "two"], "{host}");
        }
        assert_eq!(one.requests().last().unwrap().field("x-tenant-id"), Some("tenant-123"));
        api.delete("/api/register", &json!({ "instance_id": "app1-1" })).is(204);
        for _ in 0..4 {
            assert_eq!(client.get("app1.test", "/").text(), "two");
        }
    }

    fn a_cname_target_and_the_names_that_point_to_it_carry_the_tenant(driver) {
        let origin = Origin::named("a");
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        api.register("app1", "app1-1", &origin.target());
        api.post("/api/tenants/domains", &json!({
            "domain": "tenant-123.app1.test", "app_id": "app1", "tenant_id": "tenant-123", "type": "cname_target",
        })).is(201);
        api.post("/api/tenants/custom-domains", &json!({
            "domain": "customer.test", "app_id": "app1", "tenant_id": "tenant-123",
            "cname_target": "tenant-123.app1.test",
        })).is(201);
        let mut client = proxy.client();
        for host in ["tenant-123.app1.test", "customer.test"] {
            assert_eq!(client.get(host, "/").status(), 200);
            let request = origin.requests().pop().unwrap();
            assert_eq!(request.field("x-tenant-id"), Some("tenant-123"));
            assert_eq!(request.field("x-original-host"), Some(host));
        }
    }

    fn a_change_is_live_on_every_core_when_its_answer_arrives(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        api.register("one", "one-1", &one.target());
        api.register("two", "two-1", &two.target());
        // Connections that spread over both cores, and stay.
        let mut clients: Vec<Client> = (0..16).map(|_| proxy.client()).collect();
        for round in 0..10 {
            let name = format!("round{round}.test");
            api.domain(&name, "one", Some("before"));
            for client in &mut clients {
                assert_eq!(client.get(&name, "/").text(), "one");
            }
            api.put("/api/tenants/domains", &json!({ "domain": name, "app_id": "two", "tenant_id": "after" })).is(200);
            for client in &mut clients {
                assert_eq!(client.get(&name, "/").text(), "two");
                assert_eq!(two.requests().last().unwrap().field("x-tenant-id"), Some("after"));
            }
            api.delete("/api/tenants/domains", &json!({ "domain": name })).is(204);
            for client in &mut clients {
                assert_eq!(client.get(&name, "/").status(), 404);
            }
        }
    }

    fn instances_are_replaced_without_a_lost_request(driver) {
        let origins = [Origin::named("old-1"), Origin::named("old-2"), Origin::named("new")];
        let proxy = Proxy::start(driver);
        let api = proxy.api();
        api.register("app", "old-1", &origins[0].target());
        api.add("app", "old-2", &origins[1].target());
        api.domain("app.test", "app", None);
        let mut client = proxy.client();
        let mut all_well = |count: usize| {
            for _ in 0..count {
                assert_eq!(client.get("app.test", "/").status(), 200);
            }
        };
        all_well(8);
        api.add("app", "new", &origins[2].target());
        all_well(9);
        assert!(origins[2].request_count() >= 2, "the new instance has traffic");
        api.remove("old-1");
        let before = origins[0].request_count();
        all_well(8);
        assert_eq!(origins[0].request_count(), before, "no request after the answer to the deregistration");
        api.remove("old-2");
        all_well(4);
        assert_eq!(origins[2].requests().len() + origins[1].requests().len() + before, 29);
    }

    fn a_request_under_way_outlives_the_end_of_its_instance(driver) {
        let (started, finish) = (Gate::new(), Gate::new());
        let origin = {
            let (started, finish) = (started.clone(), finish.clone());
            Origin::http(move |_, connection| {
                started.open();
                finish.pass();
                connection.reply(200, b"done");
                After::Keep
            })
        };
        let proxy = Proxy::serving(driver, &origin);
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert!(started.pass());
        proxy.api().remove("app-1");
        proxy.api().delete("/api/tenants/domains", &json!({ "domain": "app.test" })).is(204);
        finish.open();
        assert_eq!(client.response("GET").text(), "done");
    }
}
