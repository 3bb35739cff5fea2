#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ringway_middleware::{CallError, CallResponse};

use crate::testing::{Script, TestHost, bytes, error_of, eval, finding, request, request_with, respond};
use crate::{Call, FailureKind, HandlerId, HookId, Limits, Outcome, Place, Progress, Rights};

const GET: &str =
    "GET /a/b?x=1&y=%41+z HTTP/1.1\r\nHost: A.test\r\nCookie: sid=1; cohort=beta\r\nX-A: 1\r\nX-A: 2\r\n\r\n";

#[test]
fn a_handler_replies() {
    let script = Script::new(r#"gw.get("/hello", function(req) return 200, "Hello World" end)"#);
    let Outcome::Reply(reply) = script.get("/hello") else { panic!() };
    assert_eq!(reply.status(), 200);
    assert_eq!(reply.field("content-type"), Some(&b"text/plain; charset=utf-8"[..]));
    assert_eq!(script.vm.bundle().declarations().handlers, [Place { file: "test.lua".into(), line: 1 }]);
}

#[test]
fn a_reply_has_headers() {
    let script = Script::new(
        "gw.get('/', function(req)
            return 302, nil, {Location = '/x', ['Retry-After'] = 5, ['Set-Cookie'] = {'a=1', 'b=2'}}
        end)",
    );
    let Outcome::Reply(reply) = script.get("/") else { panic!() };
    assert_eq!(
        (reply.status(), reply.field("location"), reply.field("retry-after")),
        (302, Some(&b"/x"[..]), Some(&b"5"[..]))
    );
    let lines = String::from_utf8(reply.lines().to_vec()).unwrap();
    assert_eq!(lines.matches("Set-Cookie: ").count(), 2);
    assert!(!lines.contains("Content-Type"), "there is no body");
}

/// The request, as a handler reads it.
#[test]
fn a_request_can_be_read() {
    for (expression, value) in [
        ("req.method", "GET"),
        ("req.host", "a.test"),
        ("req.path", "/a/b"),
        ("req.query", "x=1&y=%41+z"),
        ("req.scheme", "https"),
        ("req.client_ip", "192.0.2.7"),
        ("req.id", "req-1"),
        ("req.route", "test"),
        ("req.tenant", "acme"),
        ("req.params.id", "42"),
        ("req.auth.user", "u-1"),
        ("req.auth.claims.role", "admin"),
        ("req:header('x-a')", "1"),
        ("req:header('x-b')", "nil"),
        ("table.concat(req:headers('X-A'), '|')", "1|2"),
        ("req:headers()['x-a']", "1, 2"),
        ("req:cookie('cohort')", "beta"),
        ("req:cookie('none')", "nil"),
        ("req:arg('y')", "A z"),
        ("req:arg('z')", "nil"),
        ("req.vars.x", "nil"),
        ("req.nothing", "nil"),
    ] {
        let script =
            Script::new(&format!("gw.get('/', function(req) return 200, tostring({expression}) end)"));
        match script.run(Call::Handler(HandlerId(0)), &request(GET)) {
            Outcome::Reply(reply) => {
                let ringway_middleware::ReplyBody::Bytes(body) = reply.body() else { panic!() };
                assert_eq!(String::from_utf8_lossy(body), value, "{expression}");
            }
            other => panic!("{expression}: {other:?}"),
        }
    }
}

/// Hooks edit the request; a later one reads it as it will be sent.
#[test]
fn hooks_edit_the_request() {
    let script = Script::new(
        "gw.use(function(req)
            req:set_header('X-A', '3')
            req:add_header('X-A', 4)
            req:remove_header('Cookie')
            req:set_header('X-B', 'x')
            req:remove_header('x-b')
            req.vars.who = 'me'
        end)
        gw.use(function(req)
            req:set_header('X-Seen', table.concat(req:headers('x-a'), '|') .. tostring(req:cookie('sid')) .. req.vars.who)
            req:use_pool('auth')
            req:set_path('/new?x=1')
        end)",
    );
    let request = request(GET);
    let Outcome::Continue(_) = script.run(Call::Request(HookId(0)), &request) else { panic!() };
    let Outcome::Continue(effects) = script.run(Call::Request(HookId(1)), &request) else { panic!() };
    let lines = String::from_utf8(effects.edits.lines().to_vec()).unwrap();
    assert_eq!(lines, "X-A: 3\r\nX-A: 4\r\nX-Seen: 3|4nilme\r\n");
    assert!(
        effects.edits.removes(b"cookie") && effects.edits.removes(b"x-a") && effects.edits.removes(b"x-b")
    );
    assert_eq!((effects.pool.as_deref(), effects.path.as_deref()), (Some("auth"), Some("/new?x=1")));
}

/// Effects of a call that fails in the end do not apply.
#[test]
fn a_failed_hook_changes_nothing() {
    let script = Script::new(
        "gw.use(function(req) req:set_header('X-A', '3') end)
        gw.use(function(req)
            req:set_header('X-B', '4')
            req.vars.x = '1'
            req:use_pool('auth')
            error('no')
        end)
        gw.use(function(req) req:set_header('X-C', tostring(req.vars.x)) end)",
    );
    let request = request(GET);
    assert!(matches!(script.run(Call::Request(HookId(0)), &request), Outcome::Continue(_)));
    assert!(matches!(script.run(Call::Request(HookId(1)), &request), Outcome::Failed(_)));
    let Outcome::Continue(effects) = script.run(Call::Request(HookId(2)), &request) else { panic!() };
    assert_eq!(effects.edits.lines(), b"X-A: 3\r\nX-C: nil\r\n");
    assert_eq!(effects.pool, None);
}

#[test]
fn hooks_edit_the_response() {
    let script = Script::new(
        "gw.use{
            request = function(req) req.vars.t = 'v' end,
            response = function(req, res)
                res:remove_header('Server')
                res:set_header('X-Status', res.status .. req.vars.t .. tostring(res:header('server')))
                res:add_header('Vary', table.concat(res:headers('vary'), '|'))
            end,
            log = function(req, res) gw.log('warn', req.path .. ' ' .. res.status .. tostring(pcall(res.set_header, res, 'X-A', '1'))) end,
        }",
    );
    let request = request(GET);
    let hook = HookId(0);
    assert!(matches!(script.run(Call::Request(hook), &request), Outcome::Continue(_)));
    respond(&request, 404, "Server: nginx\r\nVary: a\r\nVary: b\r\n");
    let Outcome::Continue(effects) = script.run(Call::Response(hook), &request) else { panic!() };
    assert_eq!(effects.edits.lines(), b"X-Status: 404vnil\r\nVary: a|b\r\n");
    assert!(effects.edits.removes(b"server"));
    assert!(matches!(script.run(Call::Log(hook), &request), Outcome::Continue(_)));
    assert_eq!(*script.host.logs.borrow(), ["Warn test.lua:8 req-1 /a/b 404false"]);
}

#[test]
fn a_hook_may_reply() {
    let script = Script::new(
        "gw.use(function(req) if req:header('x-key') ~= 'k' then return 401, 'no', {['WWW-Authenticate'] = 'Bearer'} end end)
        gw.get('/', function(req) return 200 end)",
    );
    let Outcome::Reply(reply) = script.get("/") else { panic!() };
    assert_eq!((reply.status(), reply.field("www-authenticate")), (401, Some(&b"Bearer"[..])));
}

#[test]
fn a_handler_chooses_a_pool() {
    let script =
        Script::new("gw.get('/', function(req) return req:proxy(gw.hash('a') < 2 and 'api' or 'auth') end)");
    let Outcome::Proxy(effects) = script.get("/") else { panic!() };
    assert_eq!(effects.pool.as_deref(), Some("api"));
    let hook = Script::new("gw.use(function(req) return req:proxy('api') end)");
    let Outcome::Failed(failure) = hook.run(Call::Request(HookId(0)), &request(GET)) else { panic!() };
    assert!(failure.message.contains("req:use_pool(name)"), "{failure}");
}

#[test]
fn rights_are_those_of_the_route() {
    let script = Script::new(
        "gw.use(function(req) req:set_path('/x') end) gw.use(function(req) req:use_pool('any') end)",
    );
    let rights = Rights { pools: None, sets_path: false };
    let Outcome::Failed(failure) = script.run(Call::Request(HookId(0)), &request_with(GET, rights.clone()))
    else {
        panic!()
    };
    assert!(failure.message.contains("before authentication"), "{failure}");
    assert!(matches!(script.run(Call::Request(HookId(1)), &request_with(GET, rights)), Outcome::Continue(_)));
    for path in ["x", "/x y", "/x#y", "/\u{e4}", "/x\r\ny"] {
        assert!(error_of(&format!("req:set_path({path:?})")).contains("begins with /"), "{path}");
    }
}

#[test]
fn a_script_reads_the_body_once() {
    let script = Script::new(
        "gw.post('/', function(req) return 200, req:body(64) .. req:body() .. tostring((req:body(2))) end)",
    );
    let request = request("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 4\r\n\r\n");
    let mut running = script.vm.call(Call::Handler(HandlerId(0)), &request);
    assert!(matches!(script.wait(&mut running), Progress::Body(64)));
    request.set_body(Ok(b"body".to_vec()));
    let Progress::Done(Outcome::Reply(reply)) = script.wait(&mut running) else { panic!() };
    assert_eq!(*reply.body(), bytes("bodybodynil"));
    assert_eq!(request.read_body().as_deref(), Some(&b"body"[..]));
}

#[test]
fn a_fetch_sends_and_returns() {
    let script = Script::new(
        "gw.get('/', function(req)
            local r, err = gw.fetch{pool = 'auth', method = 'POST', path = '/check?a=1', body = 'b', timeout = 50,
                headers = {Authorization = req:header('cookie')}}
            local none, why = gw.fetch{pool = 'auth'}
            return r.status, r.body .. r.headers['x-role'] .. tostring(err) .. tostring(none) .. why
        end)",
    );
    let response = CallResponse { status: 201, lines: b"X-Role: admin\r\n".to_vec(), body: b"{}".to_vec() };
    *script.host.responses.borrow_mut() = vec![(20, Ok(response)), (5, Err(CallError::Timeout))];
    let Outcome::Reply(reply) = script.get("/") else { panic!() };
    assert_eq!((reply.status(), reply.body()), (201, &bytes("{}adminnilniltimeout")));
    let fetches = script.host.fetches.borrow();
    let sent = &fetches[0];
    assert_eq!((&*sent.pool, &*sent.method, &*sent.path), ("auth", "POST", "/check?a=1"));
    assert_eq!((&*sent.lines, &*sent.body), (&b"Authorization: sid=1; a=b\r\n"[..], &b"b"[..]));
    assert_eq!(sent.timeout, Duration::from_millis(50));
    assert_eq!(fetches[1].timeout, Duration::from_secs(1), "the deadline of the call");
}

#[test]
fn arguments_of_a_fetch_are_checked() {
    for (options, wrong) in [
        ("{}", "needs a pool"),
        ("{pool = 'a b'}", "the name of a pool"),
        ("{pool = 'a', url = 'http://x'}", "url is no option"),
        ("{pool = 'a', path = 'x'}", "a path begins with /"),
        ("{pool = 'a', path = '/x y'}", "a path begins with /"),
        ("{pool = 'a', method = 'GET /'}", "a method"),
        ("{pool = 'a', method = 'CONNECT'}", "a method"),
        ("{pool = 'a', headers = {Host = 'x'}}", "is set by the gateway"),
        ("{pool = 'a', headers = {['X-A'] = '1\\r\\nX-B: 2'}}", "X-A: "),
        ("{pool = 'a', headers = {['X A'] = '1'}}", "X A: "),
        ("{pool = 'a', body = ('x'):rep(70000)}", "64 KiB"),
        ("{pool = 'a', timeout = 0}", "timeout is a number"),
        ("{pool = 'a', timeout = 0/0}", "timeout is a number"),
    ] {
        let message = error_of(&format!("gw.fetch{options}"));
        assert!(message.contains(wrong), "{options}: {message}");
    }
}

#[test]
fn tasks_run_beside_each_other() {
    let script = Script::new(
        "gw.get('/', function(req)
            local before = gw.now()
            local r = gw.all{
                function() gw.sleep(30) return 'a' end,
                function() gw.sleep(10) return 'b' end,
                function() return nil end,
                function() return 'd' end,
            }
            return 200, r[1] .. r[2] .. tostring(r[3]) .. r[4] .. math.round((gw.now() - before) * 1000)
        end)",
    );
    assert_eq!(script.body(), "abnild30");
    let failing = Script::new(
        "gw.get('/', function(req) gw.all{function() gw.sleep(1) error('x') end} return 200 end)",
    );
    assert_eq!(failing.failure().kind, FailureKind::Error);
}

#[test]
fn once_runs_once_for_all_that_wait() {
    let script = Script::new(
        "local runs = 0
        gw.get('/', function(req)
            local v = gw.once('k', 60, function() gw.sleep(20) runs += 1 return 'v' .. runs end)
            return 200, v
        end)",
    );
    let (one, two) = (request(GET), request(GET));
    let mut first = script.vm.call(Call::Handler(HandlerId(0)), &one);
    let mut second = script.vm.call(Call::Handler(HandlerId(0)), &two);
    {
        use std::future::Future;
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(std::pin::pin!(first.next()).poll(&mut cx).is_pending());
        assert!(std::pin::pin!(second.next()).poll(&mut cx).is_pending());
        assert_eq!(script.vm.waiting(), 2);
    }
    for running in [&mut first, &mut second] {
        let Progress::Done(Outcome::Reply(reply)) = script.wait(running) else { panic!() };
        assert_eq!(*reply.body(), bytes("v1"));
    }
    assert_eq!(script.body(), "v1");
    script.host.advance(Duration::from_secs(61));
    assert_eq!(script.body(), "v2");
}

/// The call that runs the function is dropped: another one that waits runs it.
#[test]
fn once_goes_on_without_its_leader() {
    use std::future::Future;
    let script = Script::new(
        "gw.get('/', function(req) return 200, gw.once('k', 60, function() gw.sleep(20) return 'v' end) end)",
    );
    let (one, two) = (request(GET), request(GET));
    let mut first = script.vm.call(Call::Handler(HandlerId(0)), &one);
    let mut second = script.vm.call(Call::Handler(HandlerId(0)), &two);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::pin!(first.next()).poll(&mut cx).is_pending());
    assert!(std::pin::pin!(second.next()).poll(&mut cx).is_pending());
    drop(first);
    let Progress::Done(Outcome::Reply(reply)) = script.wait(&mut second) else { panic!() };
    assert_eq!(*reply.body(), bytes("v"));
}

/// Calls that wait interleave, and those that are dropped leave nothing behind.
#[test]
fn dropped_calls_are_collected() {
    use std::future::Future;
    let script = Script::new(
        "gw.get('/', function(req) local t = {req.path, {1, 2, 3}} gw.sleep(60000) return 200 end)",
    );
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut run = |count: usize| {
        for _ in 0..count {
            let request = request(GET);
            let mut running = script.vm.call(Call::Handler(HandlerId(0)), &request);
            assert!(std::pin::pin!(running.next()).poll(&mut cx).is_pending());
        }
        script.vm.collect();
        script.vm.memory_bytes()
    };
    let (few, many) = (run(100), run(2_000));
    assert!(many < few + 200_000, "{few} and {many} bytes");
    assert_eq!(script.vm.waiting(), 0);
}

#[test]
fn calls_that_wait_are_bounded() {
    use std::future::Future;
    let limits = Limits { waiting: 2, ..Limits::default() };
    let script = Script::with_limits(
        "gw.get('/', function(req) gw.sleep(500) return 200 end)",
        limits,
        TestHost::default(),
    );
    let requests = [request(GET), request(GET)];
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let mut calls: Vec<_> =
        requests.iter().map(|request| script.vm.call(Call::Handler(HandlerId(0)), request)).collect();
    for call in &mut calls {
        assert!(std::pin::pin!(call.next()).poll(&mut cx).is_pending());
    }
    assert_eq!(script.failure().kind, FailureKind::Busy);
    drop(calls);
    assert!(matches!(script.get("/"), Outcome::Reply(_)));
}

/// A saved `req` of a call that still waits is as dead for other calls as one that is over.
#[test]
fn calls_that_interleave_cannot_use_each_others_requests() {
    use std::future::Future;
    let script = Script::new(
        "local kept
        gw.get('/', function(req) kept = req gw.sleep(10) return 200, req.path end)
        gw.get('/other', function(req) return 200, tostring(pcall(function() return kept.path end)) end)",
    );
    let waiting = request(GET);
    let mut running = script.vm.call(Call::Handler(HandlerId(0)), &waiting);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::pin!(running.next()).poll(&mut cx).is_pending());
    let Outcome::Reply(reply) = script.get("/other") else { panic!() };
    assert_eq!(*reply.body(), bytes("false"));
    let Progress::Done(Outcome::Reply(reply)) = script.wait(&mut running) else { panic!() };
    assert_eq!(*reply.body(), bytes("/a/b"));
}

#[test]
fn dictionaries_are_shared_and_expire() {
    let script = Script::new(
        "local d = gw.shared('d')
        gw.get('/', function(req)
            local n = d:incr('n', 2, 60)
            d:set('s', 'text') d:set('b', true) d:set('gone', 1) d:set('gone', nil)
            return 200, n .. d:get('s') .. tostring(d:get('b')) .. tostring(d:get('gone'))
                .. tostring(d:add('s', 'x')) .. tostring(d:add('t' .. n, 'x')) .. tostring(d:get('none'))
        end)
        gw.get('/delete', function(req) d:delete('n') return 200 end)
        gw.get('/wrong', function(req) d:incr('s') return 200 end)",
    );
    assert_eq!(script.body(), "2texttruenilfalsetruenil");
    assert_eq!(script.body(), "4texttruenilfalsetruenil");
    script.host.advance(Duration::from_secs(61));
    assert!(script.body().starts_with('2'));
    script.get("/delete");
    assert!(script.body().starts_with('2'));
    let Outcome::Failed(failure) = script.get("/wrong") else { panic!() };
    assert!(failure.message.contains("not a number"), "{failure}");
}

#[test]
fn a_limit_is_that_of_the_gateway() {
    let script = Script::new(
        "local login = gw.limit{name = 'login', rate = 10, per = 60, burst = 2}
        gw.get('/', function(req)
            local ok, wait = login:take(req.client_ip)
            return ok and 200 or 429, ok and '' or tostring(wait)
        end)",
    );
    for status in [200, 200, 429] {
        let Outcome::Reply(reply) = script.get("/") else { panic!() };
        assert_eq!(reply.status(), status);
    }
    let takes = script.host.takes.borrow();
    assert_eq!((&*takes[0].0.name, takes[0].0.requests, &*takes[0].1), ("login", 10, &b"192.0.2.7"[..]));
    assert_eq!(script.vm.bundle().declarations().limits.len(), 1);
}

#[test]
fn small_functions_work() {
    for (expression, value) in [
        ("gw.now()", "1700000000"),
        ("#gw.uuid() .. gw.uuid():sub(15, 15)", "364"),
        ("gw.random() < 1", "true"),
        ("gw.sha256('abc')", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "gw.hmac('key', 'The quick brown fox jumps over the lazy dog')",
            "f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8",
        ),
        ("gw.base64.encode('a?>')", "YT8+"),
        ("gw.base64.decode('YT8+')", "a?>"),
        ("gw.base64.url_encode('a?>a')", "YT8-YQ"),
        ("gw.base64.url_decode('YT8-YQ')", "a?>a"),
        ("select(2, gw.base64.decode('!'))", "not base64"),
        ("gw.hash('canary') == gw.hash('canary')", "true"),
        ("gw.secret('key')", "s3cret"),
        ("gw.secret('other')", "nil"),
        ("gw.json.encode({1, 'a', true, {b = gw.json.null}})", "[1,\"a\",true,{\"b\":null}]"),
        ("gw.json.encode({})", "{}"),
        ("gw.json.encode(1.5)", "1.5"),
        ("gw.json.encode('\"\\n')", "\"\\\"\\n\""),
        ("gw.json.decode('{\"a\": [1, {\"b\": \"x\"}]}').a[2].b", "x"),
        ("gw.json.decode('[null, 2]')[1] == gw.json.null", "true"),
        ("gw.json.decode('{') == nil", "true"),
        ("gw.json.decode('1 2') == nil", "true"),
        ("#select(2, gw.json.decode('x')) > 5", "true"),
    ] {
        assert_eq!(eval(expression), value, "{expression}");
    }
}

/// Canaries are split by it: it may never change.
#[test]
fn the_hash_is_what_it_was() {
    assert_eq!(
        eval("string.format('%.12f', gw.hash('192.0.2.7'))"),
        eval("string.format('%.12f', gw.hash('192.0.2.7'))")
    );
    let spread = eval(
        "(function() local n = 0 for i = 1, 10000 do if gw.hash('user-' .. i) < 0.1 then n += 1 end end return n end)()",
    );
    let spread: u32 = spread.parse().unwrap();
    assert!((900..1_100).contains(&spread), "{spread}");
}

#[test]
fn metrics_and_logs_reach_the_host() {
    let script = Script::new(
        "gw.get('/', function(req)
            gw.metric('logins') gw.metric('logins', 2)
            for i = 1, 20 do gw.log('line\\n' .. i) end
            return 200
        end)",
    );
    script.get("/");
    assert_eq!(script.host.metrics.borrow().get("logins"), Some(&3.0));
    let logs = script.host.logs.borrow();
    assert_eq!((logs.len(), &*logs[0]), (10, "Info test.lua:3 req-1 line 1"));
}

#[test]
fn errors_have_their_place_and_a_traceback() {
    let script = Script::new(
        "local function inner()
            error('boom')
        end
        gw.get('/', function(req)
            inner()
            return 200
        end)",
    );
    let failure = script.failure();
    assert_eq!(
        (failure.kind, failure.place),
        (FailureKind::Error, Some(Place { file: "test.lua".into(), line: 2 }))
    );
    assert!(failure.message.starts_with("test.lua:2: boom"), "{}", failure.message);
    assert!(failure.message.contains("test.lua:5"), "{}", failure.message);
    assert!(error_of("local x = nil + 1").contains("attempt to perform arithmetic"));
}

#[test]
fn findings_about_a_bundle_name_their_line() {
    for (text, message) in [
        ("gw.get('/x', function()", "test.lua:1: Expected 'end'"),
        ("\n\nnothing.x = 1", "test.lua:3: "),
        ("gw.get('x', function() end)", "test.lua:1: \"x\": a pattern begins with /"),
        ("gw.get('/x')", "test.lua:1: the target of a route"),
        ("gw.get(function() end)", "test.lua:1: a route has a pattern and a handler"),
        ("gw:get('/x', function() end)", "test.lua:1: the functions of a router are called with a dot"),
        ("gw.get('/{a}/{a}', function() end)", "two parameters"),
        ("gw.get('/x', function() end)\ngw.use(function() end)", "test.lua:2: use stands before the routes"),
        ("gw.use{}", "a hook is a function"),
        ("gw.use{respond = function() end}", "a hook is a function"),
        ("gw.proxy{}", "needs a pool"),
        ("gw.proxy{pool = 'a', strip = '/'}", "strip is no option"),
        ("gw.get('/x', gw.proxy{pool = ''})", "pool \"\""),
        ("gw.host('a b', function() end)", "\"a b\": "),
        ("gw.now()", "gw.now works in handlers and hooks"),
        ("gw.sleep(1)", "gw.sleep works in handlers and hooks"),
        ("gw.fetch{pool = 'a'}", "gw.fetch works in handlers and hooks"),
        ("math.random()", "no random numbers while"),
        ("gw.shared('d'):get('x')", "a dictionary works in handlers and hooks"),
        ("gw.limit{name = 'a'}", "needs a name and a rate"),
        ("gw.limit{name = 'a', rate = 1} gw.limit{name = 'a', rate = 2}", "has other numbers elsewhere"),
        ("require('lib/none')", "the bundle has no module \"lib/none\""),
        (
            "gw.get('/x', function() end)\ngw.get('/x', function() end)",
            "test.lua:2: the route is declared at test.lua:1",
        ),
        ("gw.group('/a', function(g) g.not_found(function() end) end)", "not for a group"),
    ] {
        let found = finding(text);
        assert!(found.contains(message), "{text}: {found}");
    }
}
