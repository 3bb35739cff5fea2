//! Hostile scripts: body of a handler, and how the call ends.

use crate::FailureKind::{self, Cpu, Deadline, Error, Memory, Returned, Steps};

/// End of a hostile script.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// It fails in one of these ways.
    Fails(&'static [FailureKind]),
    /// It does nothing bad after all, and replies with this text.
    Says(&'static str),
}

use End::{Fails, Says};

const STEPS: End = Fails(&[Steps]);
const ERROR: End = Fails(&[Error]);
/// A limit stops it. Which one depends on the machine: one step may take long.
const STOPPED: End = Fails(&[Steps, Cpu]);
/// Out of memory, or stopped before.
const MEMORY: End = Fails(&[Memory, Steps, Cpu]);
/// The VM refuses it at once, in one way or another.
const REFUSED: End = Fails(&[Error, Memory, Steps, Cpu]);

/// Name, body of the handler, end.
pub(super) const SCRIPTS: &[(&str, &str, End)] = &[
    // Loops and calls.
    ("infinite loop", "while true do end", STEPS),
    ("repeat", "repeat until false", STEPS),
    ("for to infinity", "for i = 1, math.huge do end", STEPS),
    ("generic for without end", "for _ in function() return 1 end do end", STEPS),
    ("pcall loop", "while true do pcall(function() while true do end end) end", STEPS),
    ("pcall tree", "local function f() pcall(f) pcall(f) end f()", STOPPED),
    ("pcall of error in a loop", "while true do pcall(error, 'x') end", STOPPED),
    ("pcall of pcall", "pcall(pcall, pcall, function() while true do end end) return 200, 'x'", STEPS),
    ("xpcall with a handler that loops", "xpcall(error, function() while true do end end)", STEPS),
    (
        "xpcall, both loop",
        "xpcall(function() while true do end end, function() while true do end end)",
        STEPS,
    ),
    ("error in an error handler", "return 200, tostring(xpcall(error, function() error('y') end))", ERROR),
    ("recursion", "local function f(n) return 1 + f(n) end f(1)", REFUSED),
    ("recursion in pcall", "local function f() pcall(f) end f() return 200, 'over'", Says("over")),
    ("tail calls", "local function f() return f() end f()", REFUSED),
    ("mutual recursion", "local f, g function f() return g() end function g() return f() end f()", REFUSED),
    ("Y combinator", "local function y(f) return f(f) end y(function(f) return f(f) end)", REFUSED),
    // Memory.
    ("huge rep", "return 200, ('a'):rep(1e9)", REFUSED),
    ("negative rep", "return 200, ('a'):rep(-5) .. 'x'", Says("x")),
    ("rep of not a number", "return 200, ('a'):rep(0/0) .. 'x'", Says("x")),
    ("doubling", "local s = 'a' while true do s = s .. s end", MEMORY),
    (
        "doubling in pcall",
        "while true do pcall(function() local s = 'a' while true do s = s .. s end end) end",
        STOPPED,
    ),
    ("strings in a table", "local t = {} while true do t[#t + 1] = ('a'):rep(1e5) .. #t end", MEMORY),
    (
        "pcall over memory",
        "local t = {} while true do pcall(function() t[#t + 1] = ('a'):rep(1e5) .. #t end) end",
        STOPPED,
    ),
    ("tables in tables", "local t = {} while true do t = {t} end", MEMORY),
    ("huge table.create", "table.create(1e9, 0)", REFUSED),
    ("table.create in a loop", "while true do table.create(4e5, 0) end", STOPPED),
    (
        "closures",
        "local f = function() end while true do local g = f f = function() return g() end end",
        MEMORY,
    ),
    ("one table with many keys", "local t = {} for i = 1, 1e9 do t['k' .. i] = i end", MEMORY),
    ("varargs", "local function f(...) return f(1, ...) end f()", REFUSED),
    ("unpack of nothing", "return 200, select('#', table.unpack({}, 1, 1e7))", REFUSED),
    (
        "unpack of 7,000",
        "return 200, tostring(select('#', table.unpack(table.create(7000, 1))))",
        Says("7000"),
    ),
    ("byte of everything", "return 200, tostring((('a'):rep(1e6)):byte(1, -1))", REFUSED),
    ("big buffer", "buffer.create(2 ^ 30)", REFUSED),
    ("buffers in a loop", "while true do buffer.create(3e6) end", STOPPED),
    ("concat over memory", "local s = ('x'):rep(1e5) table.concat(table.create(1e5, s))", REFUSED),
    ("garbage", "for i = 1, 40 do local s = ('a'):rep(3e5) .. i end return 200, 'fine'", Says("fine")),
    // Functions of C++.
    (
        "backtracking",
        "return 200, tostring((('a'):rep(3e4)):find(('a?'):rep(30) .. ('a'):rep(30) .. 'b'))",
        STOPPED,
    ),
    ("lazy quantifiers", "return 200, tostring((('a'):rep(5e4)):match('.-.-.-.-.-.-.-b'))", STOPPED),
    (
        "lazy quantifiers in pcall",
        "while true do pcall(string.match, ('a'):rep(5e4), '.-.-.-.-.-.-.-b') end",
        STOPPED,
    ),
    ("gsub without end", "return 200, (('a'):rep(1e5)):gsub('.-b', '')", STOPPED),
    (
        "gsub with a callback that loops",
        "(('a'):rep(1e4)):gsub('a', function() while true do end end)",
        STOPPED,
    ),
    ("gsub that grows", "local s = 'a' while true do s = s:gsub('a', 'aaaaaaaa') end", MEMORY),
    ("gmatch", "for _ in (('a'):rep(1e6)):gmatch('.-b') do end return 200, 'x'", STOPPED),
    (
        "plain find",
        "local s, p = ('a'):rep(2e6), ('a'):rep(1e6) .. 'b' return 200, tostring(s:find(p, 1, true))",
        Says("nil"),
    ),
    (
        "plain find in a loop",
        "local s, p = ('a'):rep(2e6), ('a'):rep(1e6) .. 'b' while true do s:find(p, 1, true) end",
        STOPPED,
    ),
    (
        "find without special characters",
        "local s, p = ('a'):rep(2e6), ('a'):rep(1e6) .. 'b' return 200, tostring(s:find(p))",
        Says("nil"),
    ),
    (
        "find of a long pattern",
        "local s, p = ('a'):rep(2e6), ('a'):rep(1e6) .. '%d' return 200, tostring(s:find(p))",
        ERROR,
    ),
    (
        "quadratic pattern",
        "local s, p = ('a'):rep(1e6), ('a'):rep(4000) .. '%d' while true do s:find(p) end",
        STOPPED,
    ),
    (
        "set of characters",
        "local s = ('a'):rep(1e6) return 200, tostring(s:find('[' .. ('b'):rep(1e3) .. 'a]*c'))",
        ERROR,
    ),
    (
        "smaller set",
        "local s = ('a'):rep(1e5) while true do s:find('[' .. ('b'):rep(1e2) .. 'a]*c') end",
        STOPPED,
    ),
    (
        "split",
        "local s, p = ('a'):rep(2e6), ('a'):rep(1e6) .. 'b' return 200, tostring(#s:split(p))",
        Says("1"),
    ),
    ("split into bytes", "while true do (('a'):rep(1e5)):split('') end", STOPPED),
    (
        "sort of long strings",
        "local a, b = ('a'):rep(1e6) .. '1', ('a'):rep(1e6) .. '2' local t = {} for i = 1, 2e4 do t[i] = i % 2 == 0 and a or b end table.sort(t)",
        STOPPED,
    ),
    (
        "sort of many numbers",
        "local t = {} for i = 1, 1e5 do t[i] = i * 7919 % 200003 end table.sort(t)",
        STOPPED,
    ),
    ("sort with an order that loops", "table.sort({3, 2, 1}, function() while true do end end)", STEPS),
    (
        "sort with an order that loops in pcall",
        "while true do pcall(table.sort, {3, 2, 1}, function() while true do end end) end",
        STEPS,
    ),
    (
        "sort with an order that catches",
        "table.sort({3, 2, 1}, function() while true do pcall(function() while true do end end) end end)",
        STEPS,
    ),
    (
        "sort with no order",
        "table.sort({3, 2, 1, 5, 4}, function() return true end) return 200, 'sorted'",
        Fails(&[Error]),
    ),
    ("find in a table", "local t = table.create(2e5, 1) while true do table.find(t, 2) end", STOPPED),
    ("move of nothing", "table.move({}, 1, 2 ^ 31 - 3, 1, {})", REFUSED),
    ("insert at the front", "local t = {} for i = 1, 1e9 do table.insert(t, 1, i) end", STOPPED),
    (
        "insert at the front of a hash",
        "local t = {} for i = 1e4, 1, -1 do t[i] = i end while true do table.insert(t, 1, 1) end",
        STOPPED,
    ),
    (
        "remove from the front",
        "local t = table.create(1e5, 1) while true do table.remove(t, 1) t[#t + 1] = 1 end",
        STOPPED,
    ),
    (
        "next over empty slots",
        "local t = {} for i = 1, 3e4 do t['k' .. i] = 1 end for k in t do t[k] = nil end while true do next(t) end",
        STOPPED,
    ),
    ("clone", "local t = {} for i = 1, 3e4 do t['k' .. i] = 1 end while true do table.clone(t) end", STOPPED),
    ("clear", "local t = table.create(4e5, 1) while true do table.clear(t) end", STOPPED),
    ("reverse", "local s = ('a'):rep(3e6) while true do s:reverse() end", STOPPED),
    ("upper", "local s = ('a'):rep(1e6) while true do local x = s:upper() end", STOPPED),
    (
        "concatenation of long strings",
        "local s = ('a'):rep(2e6) while true do local x = s .. 'b' end",
        MEMORY,
    ),
    (
        "comparison of long strings",
        "local a, b = ('a'):rep(2e6) .. '1', ('a'):rep(2e6) .. '2' while true do local x = a < b end",
        MEMORY,
    ),
    ("width of a format", "return 200, ('%99999d'):format(1)", ERROR),
    (
        "many formats",
        "return 200, tostring(#(('%99d'):rep(5e3)):format(table.unpack(table.create(5e3, 1))))",
        Says("495000"),
    ),
    ("quoted format", "local s = ('\\0'):rep(1e6) while true do local x = ('%q'):format(s) end", MEMORY),
    ("fill of a buffer", "local b = buffer.create(3e6) while true do buffer.fill(b, 0, 1) end", STOPPED),
    ("length of UTF-8", "local s = ('a'):rep(3e6) while true do utf8.len(s) end", STOPPED),
    ("tonumber of a long text", "local s = ('1'):rep(3e6) while true do tonumber(s) end", STOPPED),
    // Metatables.
    ("index of itself", "local t = setmetatable({}, {}) getmetatable(t).__index = t return t.x", ERROR),
    (
        "index that recurses",
        "local t = setmetatable({}, {__index = function(t, k) return t[k .. 'a'] end}) return t.x",
        REFUSED,
    ),
    (
        "index that loops",
        "local t = setmetatable({}, {__index = function() while true do end end}) return t.x",
        STEPS,
    ),
    (
        "index that catches",
        "local t = setmetatable({}, {__index = function() while true do pcall(function() while true do end end) end end}) return t.x",
        STEPS,
    ),
    (
        "tostring that recurses",
        "local t t = setmetatable({}, {__tostring = function() return tostring(t) end}) tostring(t)",
        REFUSED,
    ),
    (
        "error with a tostring that loops",
        "error(setmetatable({}, {__tostring = function() while true do end end}))",
        Fails(&[Error, Steps]),
    ),
    (
        "finalizer",
        "setmetatable({}, {__gc = function() while true do end end}) return 200, 'none'",
        Says("none"),
    ),
    ("weak table", "local t = setmetatable({}, {__mode = 'k'}) t[{}] = 1 return 200, 'ok'", Says("ok")),
    (
        "length of a lie",
        "return 200, tostring(#setmetatable({}, {__len = function() return 1e15 end}))",
        Says("1000000000000000"),
    ),
    // Errors.
    ("error with a table", "error({a = 1})", ERROR),
    ("error with nil", "error(nil)", ERROR),
    ("error of 1 MB", "error(('x'):rep(1e6))", ERROR),
    ("error with control characters", "error('a\\n\\27[31mb')", ERROR),
    // Libraries that are not there, and those that cannot be changed.
    ("os", "return 200, tostring(os)", Says("nil")),
    ("io", "return 200, tostring(io)", Says("nil")),
    ("debug", "return 200, tostring(debug)", Says("nil")),
    ("coroutine", "return 200, tostring(coroutine)", Says("nil")),
    ("loadstring", "return 200, tostring(loadstring)", Says("nil")),
    ("load", "return 200, tostring(load)", Says("nil")),
    ("getfenv", "return 200, tostring(getfenv)", Says("nil")),
    ("newproxy", "return 200, tostring(newproxy)", Says("nil")),
    ("collectgarbage", "return 200, tostring(collectgarbage)", Says("nil")),
    ("string.dump", "return 200, tostring(string.dump)", Says("nil")),
    ("randomseed", "return 200, tostring(math.randomseed)", Says("nil")),
    ("change of a library", "string.upper = function() return 'x' end", ERROR),
    ("rawset of a library", "rawset(string, 'upper', 1)", ERROR),
    ("change of the metatable of strings", "getmetatable('').__index = {}", ERROR),
    ("new global", "pwned = 1", ERROR),
    ("rawset of a global", "rawset(_G, 'pwned', 1)", ERROR),
    ("metatable of the globals", "setmetatable(_G, {__index = function() return 1 end})", ERROR),
    ("many globals", "for i = 1, 1e9 do _G['g' .. i] = i end", ERROR),
    ("change of gw", "gw.get = 1", ERROR),
    ("change of gw.json", "gw.json.encode = nil", ERROR),
    ("change of gw.config", "gw.config.x = 1", ERROR),
    ("table.insert into a library", "table.insert(string, 1)", ERROR),
    ("table.clear of a library", "table.clear(string)", ERROR),
    ("metatable of req", "return 200, tostring(getmetatable(req))", Says("false")),
    ("metatable of a dictionary", "return 200, tostring(getmetatable(hits))", Says("false")),
    ("change of req", "req.path = '/'", ERROR),
    ("upvalues of the sandbox", "return 200, type(pcall) .. type(xpcall)", Says("functionfunction")),
    ("require at run time", "require('x')", ERROR),
    ("routes at run time", "gw.get('/x', function() end)", ERROR),
    ("hooks at run time", "gw.use(function() end)", ERROR),
    ("dictionaries at run time", "gw.shared('x')", ERROR),
    // Waits.
    ("sleep without end", "gw.sleep(6e4)", Fails(&[Deadline])),
    ("sleep of not a number", "gw.sleep(0/0)", ERROR),
    ("sleep of infinity", "gw.sleep(math.huge)", ERROR),
    ("sleeps in a loop", "while true do gw.sleep(0) end", STEPS),
    ("sleeps in pcall in a loop", "while true do pcall(gw.sleep, 0) end", STEPS),
    ("long values of fields", "for i = 1, 64 do req:set_header('X-' .. i, ('x'):rep(1e5)) end", ERROR),
    (
        "many values of a field",
        "local v = ('x'):rep(8000) return 200, 'x', {['X-A'] = {v, v, v, v, v, v, v, v, v, v}}",
        Fails(&[Returned]),
    ),
    ("sleep in pcall", "pcall(gw.sleep, 1) return 200, 'slept'", Says("slept")),
    ("sleep without end in pcall", "while true do pcall(gw.sleep, 6e4) end", Fails(&[Deadline])),
    (
        "sleep in a metamethod",
        "local t = setmetatable({}, {__index = function() gw.sleep(1) return 1 end}) return t.x",
        ERROR,
    ),
    ("sleep in a sort", "table.sort({3, 2, 1}, function(a, b) gw.sleep(1) return a < b end)", ERROR),
    ("sleep in gsub", "return 200, (('abc'):gsub('.', function() gw.sleep(1) end))", ERROR),
    ("tasks that loop", "gw.all{function() while true do end end, function() while true do end end}", STEPS),
    (
        "tasks that sleep",
        "gw.all{function() gw.sleep(6e4) end, function() gw.sleep(6e4) end}",
        Fails(&[Deadline]),
    ),
    ("tasks in tasks", "local function f() gw.all{f, f} end f()", REFUSED),
    ("too many tasks", "local t = {} for i = 1, 100 do t[i] = function() end end gw.all(t)", ERROR),
    (
        "a task that catches",
        "gw.all{function() while true do pcall(function() while true do end end) end end}",
        STEPS,
    ),
    ("once in once", "local function f() return gw.once('k', 1, f) end f()", Fails(&[Deadline])),
    ("once of a table", "gw.once('k', 1, function() return {} end)", ERROR),
    ("fetches in a loop", "while true do gw.fetch{pool = 'api'} end", ERROR),
    ("fetches in pcall", "while true do pcall(gw.fetch, {pool = 'api'}) end", STOPPED),
    // Arguments and results.
    ("nothing returned", "", Fails(&[Returned])),
    ("status 99", "return 99", Fails(&[Returned])),
    ("status 200.5", "return 200.5", Fails(&[Returned])),
    ("status of text", "return '200'", Fails(&[Returned])),
    ("body of a table", "return 200, {}", Fails(&[Returned])),
    ("body of 2 MiB", "return 200, ('a'):rep(2 ^ 21)", Fails(&[Returned])),
    ("two heads", "return 200, 'x', {['X-A'] = 'b\\r\\nX-C: d'}", Fails(&[Returned])),
    ("framing", "return 200, 'x', {['Content-Length'] = '1'}", Fails(&[Returned])),
    (
        "endless headers",
        "return 200, 'x', setmetatable({}, {__iter = function() while true do end end})",
        Says("x"),
    ),
    ("response splitting", "req:set_header('X-A', 'b\\r\\nX-C: d')", ERROR),
    ("host", "req:set_header('Host', 'b')", ERROR),
    ("tenant, spelled otherwise", "req:set_header('x_tenant.id', 'b')", ERROR),
    ("request id removed", "req:remove_header('X-Request-ID')", ERROR),
    ("a name with a colon", "req:remove_header('X-A: b')", ERROR),
    ("edits in a loop", "for i = 1, 1e9 do req:set_header('X-' .. i, 'x') end", ERROR),
    ("a pool that is not listed", "return req:proxy('other')", ERROR),
    ("variables without end", "for i = 1, 1e9 do req.vars['k' .. i] = 'v' end", ERROR),
    ("JSON in a circle", "local t = {} t.t = t gw.json.encode(t)", ERROR),
    ("deep JSON", "return 200, tostring(gw.json.decode(('['):rep(1e5)))", Says("nil")),
    ("wide JSON", "while true do gw.json.decode('[' .. ('[],'):rep(8e4) .. '0]') end", MEMORY),
    ("JSON of a long string", "gw.json.encode(('a'):rep(3e5))", ERROR),
    ("hash in a loop", "local s = ('a'):rep(2e5) while true do gw.sha256(s) end", STOPPED),
    ("key of 2 KiB", "hits:set(('k'):rep(2048), 1)", ERROR),
    ("value of 100 KB", "hits:set('k', ('v'):rep(1e5))", ERROR),
    ("dictionary in a loop", "for i = 1, 1e9 do hits:set('k' .. i, ('v'):rep(1e4)) end", STOPPED),
    ("incr of infinity", "hits:incr('k', math.huge)", ERROR),
    ("log in a loop", "for i = 1, 1e9 do gw.log('x') end", STEPS),
    (
        "method of another object",
        "local f = req.header return 200, tostring(pcall(f, hits, 'x'))",
        Says("false"),
    ),
];
