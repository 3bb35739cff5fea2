#![allow(clippy::unwrap_used)]

#[path = "sandbox_tests/hostile.rs"]
mod hostile;
#[path = "sandbox_tests/scripts.rs"]
mod scripts;

use std::rc::Rc;
use std::sync::Arc;

use crate::testing::{Script, TestHost, eval, request, source};
use crate::{
    Bundle, BundleSource, Call, FailureKind, HandlerId, Limits, Outcome, Progress, SourceFile, SourceKind, Vm,
};

/// Trap: functions of C++ look at no interrupt. The replacements behave as the originals.
#[test]
fn replaced_functions_behave_as_those_of_luau() {
    let long = "('x'):rep(5000)";
    for (expression, value) in [
        ("('hello world'):find('wor', 1, true)", "7"),
        ("select(2, ('hello world'):find('wor', 1, true))", "9"),
        (&format!("({long} .. 'wor'):find('wor')"), "5001"),
        (&format!("select(2, ({long} .. 'wor'):find('wor'))"), "5003"),
        (&format!("({long} .. 'a1'):find('%a%d')"), "5001"),
        (&format!("({long} .. 'abab'):find('ab', -2, true)"), "5003"),
        (&format!("({long}):find('', 10, true)"), "10"),
        (&format!("({long}):find('y', 9999, true)"), "nil"),
        (&format!("select('#', ({long}):find('y'))"), "2"),
        (&format!("#({long} .. ',b,,c'):split(',')"), "4"),
        (&format!("#({long}):split('')"), "5000"),
        ("#(('a,'):rep(200)):split()", "201"),
        ("#('a,b'):split(',')", "2"),
        ("('aXbX'):gsub('X', '-')", "a-b-"),
        ("select(2, ('aXbX'):gsub('X', '-'))", "2"),
        ("('k=v'):match('(%w+)=(%w+)')", "k"),
        ("table.concat({1, 2, 3}, '-')", "1-2-3"),
        ("table.find({'a', 'b'}, 'b')", "2"),
        ("table.find({'a'}, 'b')", "nil"),
        ("#table.move({1, 2, 3}, 1, 3, 2)", "4"),
        ("table.clone({a = 1}).a", "1"),
        ("getmetatable(table.clone(setmetatable({}, {x = 5}))).x", "5"),
        ("select('#', pcall(function() return 1, 2 end))", "3"),
        ("select(2, pcall(error, 'x'))", "x"),
        ("select(2, xpcall(error, function(e) return e .. '!' end, 'x'))", "x!"),
        ("xpcall(function(a) return a end, print, 1)", "true"),
        ("utf8.len('äö')", "2"),
        ("string.format('%5.1f|%s', 1.25, 'x')", "  1.2|x"),
        ("buffer.tostring(buffer.fromstring('ab'))", "ab"),
        ("buffer.len(buffer.create(8))", "8"),
        ("math.random(3, 3)", "3"),
        ("math.random() < 1", "true"),
        ("math.random(5) <= 5", "true"),
    ] {
        assert_eq!(eval(expression), value, "{expression}");
    }
    let sorted = eval("(function() local t = {3, 1, 2} table.sort(t) return table.concat(t) end)()");
    assert_eq!(sorted, "123");
    let sorted = eval(
        "(function() local t = {'b', 'a'} table.sort(t, function(a, b) return a > b end) return t[1] end)()",
    );
    assert_eq!(sorted, "b");
    let inserted = eval(
        "(function() local t = {1, 3} table.insert(t, 2, 2) table.insert(t, 4) return table.concat(t) end)()",
    );
    assert_eq!(inserted, "1234");
}

/// Trap: an error can be caught, a yield can not.
#[test]
fn a_stopped_script_does_not_run_on() {
    let script = Script::new(
        "local state = {stopped = 0}
        gw.get('/', function(req)
            for i = 1, 20 do
                pcall(function() while true do end end)
                state.stopped += 1
            end
            return 200
        end)
        gw.get('/stopped', function(req) return 200, tostring(state.stopped) end)",
    );
    assert_eq!(script.failure().kind, FailureKind::Steps);
    let Outcome::Reply(reply) = script.get("/stopped") else { panic!() };
    assert_eq!(*reply.body(), crate::testing::bytes("0"));
}

/// A script that is stopped in the code around an asynchronous function is resumed there when it is dropped:
/// it must not go on, wherever the limit stops it.
#[test]
fn a_script_that_is_stopped_between_waits_does_not_run_on() {
    for turns in 0..24 {
        let text = format!(
            "local n = 0
            gw.get('/', function(req)
                for i = 1, {turns} do end
                while true do
                    pcall(gw.sleep, 0)
                    n += 1
                end
            end)
            gw.get('/n', function(req) return 200, tostring(n) end)"
        );
        let limits = Limits { steps: 300, ..Limits::default() };
        let script = Script::with_limits(&text, limits, TestHost::default());
        assert_eq!(script.failure().kind, FailureKind::Steps);
        let Outcome::Reply(reply) = script.get("/n") else { panic!() };
        let ringway_middleware::ReplyBody::Bytes(n) = reply.body() else { panic!() };
        let n: u32 = String::from_utf8_lossy(n).parse().unwrap();
        assert!((10..100).contains(&n), "{n} turns");
    }
}

#[test]
fn a_vm_frees_everything() {
    let script = Script::new(
        "local t = {gw.shared('d'), gw.limit{name = 'l', rate = 1}}
        gw.get('/', function(req)
            t[3] = req
            gw.once('k', 60, function() return 'v' end)
            return 200, tostring(t[1]:get('x'))
        end)",
    );
    assert_eq!(script.body(), "nil");
    let Script { vm, host } = script;
    drop(vm);
    assert_eq!(Rc::strong_count(&host), 1, "the VM has left the host");
}

/// The number of steps is the same each time, on each machine.
#[test]
fn steps_are_counted_the_same_each_time() {
    let run = || {
        let script = Script::new("gw.get('/', function(req) for i = 1, 1000 do end return 200 end)");
        let mut running = script.vm.call(Call::Handler(HandlerId(0)), &request(HEAD));
        let progress = script.wait(&mut running);
        assert!(matches!(progress, Progress::Done(Outcome::Reply(_))), "{progress:?}");
        running.steps()
    };
    let steps = run();
    assert!((1_000..1_020).contains(&steps), "{steps}");
    assert_eq!(steps, run());
}

const HEAD: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

#[test]
fn a_namespace_may_have_lower_limits() {
    let loops = "gw.get('/', function(req) for i = 1, 1000 do end return 200 end)";
    let limits = Limits { steps: 500, ..Limits::default() };
    let script = Script::with_limits(loops, limits, TestHost::default());
    assert_eq!(script.failure().kind, FailureKind::Steps);
    let fetches = "gw.get('/', function(req) gw.fetch{pool = 'api'} gw.fetch{pool = 'api'} return 200 end)";
    let limits = Limits { fetches: 1, ..Limits::default() };
    let script = Script::with_limits(fetches, limits, TestHost::default());
    assert!(script.failure().message.contains("at most 1 fetches"));
}

/// Trap: Luau collects garbage by allocations alone, and has no collection when memory runs out.
#[test]
fn garbage_of_large_strings_does_not_use_up_the_memory() {
    let text = "gw.get('/', function(req)
        local n = 0
        for i = 1, 20 do n += #(('x'):rep(3e5) .. i) end
        return 200, tostring(n > 6e6)
    end)";
    let limits = Limits { memory_bytes: 4 * 1024 * 1024, ..Limits::default() };
    let script = Script::with_limits(text, limits, TestHost::default());
    for _ in 0..50 {
        assert_eq!(script.body(), "true");
    }
}

/// Trap: `coroutine` comes with asynchronous functions; a script in a coroutine of its own gets mlua's
/// tokens.
#[test]
fn there_are_no_coroutines() {
    assert_eq!(eval("coroutine"), "nil");
    assert_eq!(
        eval("(function() for k in _G do if k == 'coroutine' then return k end end return nil end)()"),
        "nil"
    );
}

#[test]
fn only_harmless_globals_are_there() {
    let names = eval(
        "(function()
            local names = {}
            for name in _G do names[#names + 1] = name end
            table.sort(names)
            return table.concat(names, ' ')
        end)()",
    );
    assert_eq!(
        names,
        "_G _VERSION assert bit32 buffer error getmetatable gw ipairs math next pairs pcall rawequal rawget \
         rawlen rawset require select setmetatable string table tonumber tostring type typeof unpack utf8 xpcall"
    );
}

/// Trap: a pcall must not swallow a panic of ours.
#[test]
fn a_panic_of_the_host_goes_through_pcall() {
    struct Panics;
    impl crate::Host for Panics {
        fn unix_micros(&self) -> u64 {
            panic!("the host is broken")
        }
        fn now_micros(&self) -> u64 {
            0
        }
        fn cpu_micros(&self) -> u64 {
            0
        }
        fn random(&self) -> u64 {
            0
        }
        fn sleep(&self, _: std::time::Duration) -> ringway_middleware::Waiting<'static, ()> {
            Box::pin(std::future::ready(()))
        }
        fn fetch(
            &self,
            _: crate::Fetch,
        ) -> ringway_middleware::Waiting<
            'static,
            Result<ringway_middleware::CallResponse, ringway_middleware::CallError>,
        > {
            Box::pin(std::future::ready(Err(ringway_middleware::CallError::Unavailable)))
        }
        fn dictionary(&self, _: &str) -> Option<Arc<crate::Dictionary>> {
            None
        }
        fn take(&self, _: &crate::RateLimit, _: &[u8]) -> Result<(), std::time::Duration> {
            Ok(())
        }
        fn log(&self, _: crate::LogLine<'_>) {}
        fn count(&self, _: &str, _: f64) {}
        fn secret(&self, _: &str) -> Option<Box<str>> {
            None
        }
    }
    for catch in ["pcall(gw.now)", "xpcall(gw.now, function(e) return e end)", "pcall(pcall, gw.now)"] {
        let text = format!("gw.get('/', function(req) {catch} return 200, 'caught' end)");
        let bundle = Arc::new(Bundle::compile(&source(&text)).unwrap());
        let vm = Vm::load(&bundle, Rc::new(Panics)).unwrap();
        let call = std::panic::AssertUnwindSafe(|| {
            let mut running = vm.call(Call::Handler(HandlerId(0)), &request(HEAD));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let next = std::pin::pin!(running.next());
            std::future::Future::poll(next, &mut cx).map(drop)
        });
        let panic = std::panic::catch_unwind(call).expect_err(catch);
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"the host is broken"), "{catch}");
    }
}

/// Trap: a `req` that is kept beyond its call is dead, also while another call runs.
#[test]
fn a_request_is_dead_after_its_call() {
    let script = Script::new(
        "local kept, vars
        gw.get('/keep', function(req) kept, vars = req, req.vars return 200 end)
        gw.get('/path', function(req) return 200, kept.path end)
        gw.get('/header', function(req) return 200, kept:header('host') end)
        gw.get('/vars', function(req) return 200, vars.x end)
        gw.get('/edit', function(req) kept:set_header('X-A', '1') return 200 end)
        gw.get('/proxy', function(req) return kept:proxy('api') end)
        gw.get('/body', function(req) return 200, (kept:body()) end)",
    );
    assert!(matches!(script.get("/keep"), Outcome::Reply(_)));
    for path in ["/path", "/header", "/vars", "/edit", "/proxy", "/body"] {
        let Outcome::Failed(failure) = script.get(path) else { panic!("{path}") };
        assert!(failure.message.contains("the request is over"), "{path}: {failure}");
    }
}

#[test]
fn globals_are_frozen_and_locals_are_not() {
    let script = Script::new(
        "limit = 5
        local count = 0
        gw.get('/', function(req) count += 1 return 200, limit .. '/' .. count end)
        gw.get('/set', function(req) limit = 6 return 200 end)",
    );
    assert_eq!(script.body(), "5/1");
    let Outcome::Failed(failure) = script.get("/set") else { panic!() };
    assert!(failure.message.contains("readonly"), "{failure}");
    assert_eq!(script.body(), "5/2");
}

/// Two namespaces share no VM; the host keeps their names apart.
#[test]
fn namespaces_cannot_reach_each_other() {
    let text = "local d = gw.shared('d')
        secret = 'of ' .. gw.config.me
        gw.get('/', function(req) return 200, tostring(d:get('k')) .. ' ' .. secret .. ' ' .. tostring(pwned) end)
        gw.get('/set', function(req)
            d:set('k', gw.config.me)
            pcall(function() _G.pwned = 1 end)
            pcall(rawset, string, 'upper', 1)
            pcall(rawset, getmetatable(''), '__index', {})
            return 200
        end)";
    let dictionaries = Arc::default();
    let vm = |namespace: &str| {
        let mut source = source(text);
        source.config.insert("me".into(), crate::ConfigValue::Text(namespace.into()));
        let host = TestHost {
            namespace: namespace.to_owned(),
            dictionaries: Arc::clone(&dictionaries),
            ..TestHost::default()
        };
        let (bundle, host) = (Arc::new(Bundle::compile(&source).unwrap()), Rc::new(host));
        Script { vm: Vm::load(&bundle, host.clone()).unwrap(), host }
    };
    let (one, two, one_too) = (vm("one"), vm("two"), vm("one"));
    one.get("/set");
    assert_eq!(one.body(), "one of one nil");
    assert_eq!(two.body(), "nil of two nil");
    assert_eq!(one_too.body(), "one of one nil", "cores of a namespace share its dictionaries");
}

#[test]
fn a_bundle_that_does_not_end_is_refused() {
    for text in [
        "while true do end",
        "gw.group('/x', function(g) while true do end end)",
        "pcall(function() while true do end end) while true do end",
        "table.sort({2, 1}, function() while true do end end)",
        "setmetatable({}, {__index = function() while true do end end}).x = nil local y = setmetatable({}, {__index = function() while true do end end}).x",
    ] {
        let errors = Bundle::compile(&source(text)).unwrap_err();
        assert_eq!(&*errors[0].message, "loading the bundle was stopped", "{text}: {errors:?}");
    }
    let errors = Bundle::compile(&source("local t = {} while true do t = {t} end")).unwrap_err();
    assert!(errors[0].message.contains("memory"), "{errors:?}");
}

/// A bundle has no file of bytecode: what is not source is a syntax error.
#[test]
fn bytecode_is_no_source() {
    let bytecode = crate::bundle::compiler().compile("return 1").unwrap();
    let text = String::from_utf8_lossy(&bytecode).into_owned();
    let file = SourceFile { path: "x.lua".into(), text: text.into(), kind: SourceKind::Script("x".into()) };
    let source = BundleSource { files: vec![file], ..BundleSource::default() };
    assert!(Bundle::compile(&source).is_err());
}

/// The parser recurses: it has a limit of its own.
#[test]
fn deep_sources_are_refused() {
    for text in [
        format!("return {}1{}", "(".repeat(100_000), ")".repeat(100_000)),
        format!("return {}{}", "{".repeat(100_000), "}".repeat(100_000)),
        format!("return {}1", "not ".repeat(100_000)),
        format!("return {}''", "'' .. ".repeat(100_000)),
        format!("{} end", "do ".repeat(100_000)),
    ] {
        let errors = Bundle::compile(&source(&text)).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
    }
}
