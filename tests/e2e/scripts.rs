//! Lua scripts of a folder: live after a save on every core, and never in the way of other requests.

use std::fs;
use std::path::PathBuf;

use crate::kit::*;

/// A process whose configuration names the folder `scripts` beside it.
struct Site {
    proxy: Proxy,
    scripts: PathBuf,
}

impl Site {
    /// `document`: what the configuration has besides.
    fn start(driver: Driver, document: &str, scripts: &[(&str, &str)]) -> Self {
        let builder = Proxy::on(driver);
        let file = builder.folder().join("config.yaml");
        let folder = builder.folder().join("scripts");
        fs::create_dir(&folder).unwrap();
        for (name, text) in scripts {
            fs::write(folder.join(name), text).unwrap();
        }
        fs::write(&file, format!("version: v1\nscripts: {{dir: ./scripts}}\n{document}")).unwrap();
        let proxy = builder.env("PROXY_CONFIG", file.to_str().unwrap()).start();
        Self { proxy, scripts: folder }
    }

    /// Saves as most editors do: another file, renamed.
    fn save(&self, name: &str, text: &str) {
        let other = self.scripts.join(".new");
        fs::write(&other, text).unwrap();
        fs::rename(&other, self.scripts.join(name)).unwrap();
    }

    /// Log line with all these words.
    fn logged(&self, words: &[&str]) -> String {
        eventually(&format!("a log line with {words:?}"), || {
            self.proxy.log().into_iter().find(|line| words.iter().all(|word| line.contains(word)))
        })
    }

    fn get(&self, target: &str, fields: &str) -> Message {
        self.ask("GET", target, fields)
    }

    fn ask(&self, method: &str, target: &str, fields: &str) -> Message {
        let mut client = self.proxy.client();
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: any.test\r\n{fields}\r\n"));
        client.response(method)
    }
}

/// `pools`, each with one endpoint.
fn pools(pools: &[(&str, &Origin)]) -> String {
    let of = |(id, origin): &(&str, &Origin)| {
        format!("  - id: {id}\n    endpoints:\n      - address: \"{}\"\n", origin.address())
    };
    format!("pools:\n{}", pools.iter().map(of).collect::<String>())
}

/// An origin that answers with the head that it got.
fn mirror() -> Origin {
    Origin::http(|request, connection| {
        let fields: String =
            request.fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        let text = format!("{} {}\n{fields}", request.method(), request.target());
        connection.send(format!(
            "HTTP/1.1 200 OK\r\nServer: origin\r\nContent-Length: {}\r\n\r\n{text}",
            text.len()
        ));
        After::Keep
    })
}

const HELLO: &str = "gw.get('/hello', function(req) return 200, 'Hello World' end)\n";

on_both_drivers! {
    fn a_script_is_live_on_every_core_after_a_save(driver) {
        let site = Site::start(driver, "", &[("hello.lua", HELLO)]);
        // New connections are spread over the cores.
        let mut kept: Vec<Client> = (0..16).map(|_| site.proxy.client()).collect();
        for client in &mut kept {
            let answer = client.get("any.test", "/hello");
            assert_eq!((answer.status(), answer.text().as_str()), (200, "Hello World"));
        }
        assert_eq!(site.get("/other", "").status(), 404);
        let post = site.ask("POST", "/hello", "Content-Length: 0\r\n");
        assert_eq!((post.status(), post.field("allow")), (405, Some("GET, HEAD")));
        assert_eq!(site.ask("HEAD", "/hello", "").status(), 200);

        site.save("hello.lua", &HELLO.replace("World", "again"));
        site.logged(&["configuration applied"]);
        for client in &mut kept {
            assert_eq!(client.get("any.test", "/hello").text(), "Hello again");
        }
        // A new file is another script.
        site.save("more.lua", "gw.get('/users/{id}', function(req) return 200, req.params.id end)");
        eventually("the new file serves", || (site.get("/users/7", "").text() == "7").then_some(()));
    }

    fn a_broken_script_is_refused_with_its_line_and_the_old_one_goes_on(driver) {
        let site = Site::start(driver, "", &[("hello.lua", HELLO)]);
        for (broken, words) in [
            ("\ngw.get('/hello', function(req) return 200 end", "hello.lua:2"),
            ("\n\nerror('not today')", "not today"),
            ("gw.get('/a', gw.proxy{ pool = 'nowhere' })", "names the pool nowhere"),
            ("while true do end", "stopped"),
        ] {
            site.save("hello.lua", broken);
            site.logged(&["configuration refused", words]);
            assert_eq!(site.get("/hello", "").text(), "Hello World");
        }
    }

    fn hooks_edit_heads_and_a_pool_serves(driver) {
        let origin = mirror();
        let script = "
            gw.use{
                request = function(req)
                    req:remove_header('X-Internal-Secret')
                    req:set_header('X-Proxy-Version', '1.0')
                end,
                response = function(req, res)
                    res:remove_header('Server')
                    res:set_header('X-By', 'script')
                end,
            }
            gw.any('/api/{*rest}', gw.proxy{ pool = 'api', strip_prefix = '/api' })
            gw.get('/own', function(req) return 200, 'own' end)
        ";
        let site = Site::start(driver, &pools(&[("api", &origin)]), &[("edge.lua", script)]);
        let answer = site.get("/api/users?x=1", "X-Internal-Secret: s\r\n");
        let text = answer.text();
        assert!(text.starts_with("GET /users?x=1\n"), "{text}");
        assert!(text.to_lowercase().contains("x-proxy-version: 1.0"), "{text}");
        assert!(!text.to_lowercase().contains("internal-secret"), "{text}");
        assert_eq!((answer.field("server"), answer.field("x-by")), (None, Some("script")));
        let own = site.get("/own", "");
        assert_eq!((own.text().as_str(), own.field("x-by")), ("own", Some("script")));
    }

    fn a_sub_request_authenticates(driver) {
        let auth = Origin::http(|request, connection| {
            match request.field("authorization") {
                Some("Bearer good") => connection.send("HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{\"sub\":\"u-1\"}"),
                _ => connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"),
            };
            After::Keep
        });
        let api = mirror();
        let script = "
            local function auth(req)
                local r = gw.fetch{ pool = 'auth', path = '/check', headers = { Authorization = req:header('authorization') }, timeout = 900 }
                if not r then return 503, 'auth unavailable' end
                if r.status ~= 200 then return 401, 'no', { ['WWW-Authenticate'] = 'Bearer' } end
                req:set_header('X-User', gw.json.decode(r.body).sub)
            end
            gw.group('/v1', function(g)
                g.use(auth)
                g.any('/{*rest}', gw.proxy{ pool = 'api' })
            end)
        ";
        let site = Site::start(driver, &pools(&[("auth", &auth), ("api", &api)]), &[("auth.lua", script)]);
        let refused = site.get("/v1/a", "Authorization: Bearer bad\r\n");
        assert_eq!((refused.status(), refused.field("www-authenticate")), (401, Some("Bearer")));
        assert_eq!(api.request_count(), 0);
        let passed = site.get("/v1/a", "Authorization: Bearer good\r\nX-User: forged\r\n").text().to_lowercase();
        assert!(passed.contains("x-user: u-1") && !passed.contains("forged"), "{passed}");
    }

    fn a_handler_chooses_the_pool_of_a_canary(driver) {
        let (one, two) = (Origin::named("one"), Origin::named("two"));
        let script = "gw.get('/users/{id}', function(req)
            return req:proxy(req:cookie('cohort') == 'beta' and 'v2' or 'v1')
        end)";
        let site = Site::start(driver, &pools(&[("v1", &one), ("v2", &two)]), &[("canary.lua", script)]);
        assert_eq!(site.get("/users/1", "").text(), "one");
        assert_eq!(site.get("/users/1", "Cookie: cohort=beta\r\n").text(), "two");
    }

    fn a_shared_dictionary_counts_over_all_cores(driver) {
        let script = "
            local hits = gw.shared('hits')
            gw.get('/', function(req)
                local count = hits:incr(req.client_ip, 1, 60)
                if count > 5 then return 429, 'slow down' end
                return 200, tostring(count)
            end)
            local few = gw.limit{ name = 'few', rate = 1, per = 60, burst = 3 }
            gw.get('/few', function(req)
                local ok = few:take(req.client_ip)
                return ok and 200 or 429
            end)
        ";
        let site = Site::start(driver, "", &[("limit.lua", script)]);
        let statuses: Vec<u16> = (0..8).map(|_| site.get("/", "").status()).collect();
        assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
        let few = (0..8).filter(|_| site.get("/few", "").status() == 200).count();
        assert_eq!(few, 3);
    }

    fn an_endless_loop_fails_alone(driver) {
        let script = "
            gw.get('/loop', function(req) while true do end end)
            gw.get('/error', function(req) error('secret detail') end)
        ";
        let site = Site::start(driver, "", &[("bad.lua", script), ("hello.lua", HELLO)]);
        let failed = site.get("/loop", "");
        assert_eq!(failed.status(), 500);
        assert!(failed.text().contains("script_failed"), "{}", failed.text());
        assert_eq!(site.get("/hello", "").text(), "Hello World");
        let failed = site.get("/error", "");
        assert!(failed.status() == 500 && !failed.text().contains("secret detail"), "{}", failed.text());
        site.logged(&["script failed", "bad"]);
        // Ten failures in a row, of which a stopped call counts five: the script rests, others serve.
        eventually("the breaker opens", || (site.get("/loop", "").status() == 503).then_some(()));
        assert_eq!(site.get("/hello", "").text(), "Hello World");
    }

    fn a_body_that_a_script_has_read_is_forwarded(driver) {
        let origin = Origin::http(|request, connection| {
            let text = request.text();
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
            After::Keep
        });
        let script = "gw.post('/', function(req)
            if req:body(100) == 'stop' then return 422, 'stopped' end
            return req:proxy('api')
        end)";
        let site = Site::start(driver, &pools(&[("api", &origin)]), &[("body.lua", script)]);
        assert_eq!(site.ask("POST", "/", "Content-Length: 4\r\n\r\nstop").status(), 422);
        assert_eq!(site.ask("POST", "/", "Content-Length: 4\r\n\r\npass").text(), "pass");
    }

    fn static_routes_win_over_scripts(driver) {
        let origin = Origin::named("static");
        let document = format!(
            "routes:\n  - id: fixed\n    host: own.test\n    path_prefix: /fixed\n    pool: one\n{}",
            pools(&[("one", &origin)])
        );
        let script = "gw.host('own.test', function(g)
            g.get('/fixed/a', function(req) return 200, 'script' end)
            g.get('/free', function(req) return 200, 'script' end)
        end)
        gw.get('/free', function(req) return 200, 'any' end)";
        let site = Site::start(driver, &document, &[("host.lua", script)]);
        assert_eq!(site.proxy.get("own.test", "/fixed/a").text(), "static");
        assert_eq!(site.proxy.get("own.test", "/free").text(), "script");
        assert_eq!(site.proxy.get("any.test", "/free").text(), "any");
    }

    fn a_stage_of_a_route_runs_the_hooks_of_a_script(driver) {
        let origin = mirror();
        let stage = "middleware: [{type: lua, script: edge, asserts: [X-User]}]";
        let open = "middleware: [{type: lua, script: broken, fail_mode: open}]";
        let document = format!(
            "routes:\n  - {{id: a, host: own.test, path_prefix: /a, pool: one, {stage}}}\n  - {{id: b, host: own.test, path_prefix: /b, pool: one, {open}}}\n{}",
            pools(&[("one", &origin)])
        );
        let edge = "gw.use{
            request = function(req)
                if req:header('x-stop') then return 403, 'stopped' end
                if req:header('x-login') then req:set_header('X-User', 'u-1') end
            end,
            response = function(req, res) res:set_header('X-By', 'stage') end,
        }";
        let broken = "gw.use(function(req) req:set_header('X-Half', '1') error('broken') end)";
        let site = Site::start(driver, &document, &[("edge.lua", edge), ("broken.lua", broken)]);
        let ask = |target: &str, fields: &str| {
            let mut client = site.proxy.client();
            client.send(format!("GET {target} HTTP/1.1\r\nHost: own.test\r\n{fields}\r\n"));
            client.response("GET")
        };
        let passed = ask("/a", "X-Login: yes\r\n");
        assert!(passed.text().to_lowercase().contains("x-user: u-1"), "{}", passed.text());
        assert_eq!(passed.field("x-by"), Some("stage"));
        let forged = ask("/a", "X-User: root\r\n").text().to_lowercase();
        assert!(!forged.contains("x-user"), "{forged}");
        assert_eq!((ask("/a", "X-Stop: yes\r\n").status(), origin.request_count()), (403, 2));
        let open = ask("/b", "");
        assert!(open.status() == 200 && !open.text().to_lowercase().contains("x-half"), "{}", open.text());
    }

    fn requests_survive_a_storm_of_reloads(driver) {
        let site = Site::start(driver, "", &[("hello.lua", HELLO)]);
        let mut client = site.proxy.client();
        for number in 0..20 {
            let text = format!("gw.get('/hello', function(req) gw.sleep(1) return 200, '{number}' end)");
            site.save("hello.lua", &text);
            for _ in 0..10 {
                assert_eq!(client.get("any.test", "/hello").status(), 200);
            }
        }
        eventually("the last one serves", || (site.get("/hello", "").text() == "19").then_some(()));
    }
}
