//! Declarations: `gw.get`, `gw.group`, `gw.use` and the others, and `require`.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaString, MultiValue, Table, UserData, Value};
use ringway_model::{AppId, HostPattern};

use super::{error, names};
use crate::budget::{Phase, Shared};
use crate::bundle::{self, Bundle, Chunk};
use crate::declarations::{
    Declarations, FallbackDeclaration, FallbackKind, HandlerId, HookDeclaration, HookId, ProxyTarget,
    RateLimit, RouteDeclaration, RouteMethod, RouteTarget, ScriptDeclaration,
};
use crate::failure::Place;
use crate::limits;
use crate::pattern::Pattern;
use crate::vm::{self, Functions, HookFunctions};

/// Declarations of the scripts that are loaded, and the functions behind them.
#[derive(Default)]
pub(crate) struct Registry {
    pub(crate) declarations: Declarations,
    pub(crate) functions: Functions,
    /// Scope of the outermost functions of `gw`.
    outer: Option<Rc<RefCell<Scope>>>,
}

/// Scope of a router: the outermost one of a script, a group, or a host.
#[derive(Clone, Default)]
struct Scope {
    host: Option<HostPattern>,
    prefix: String,
    hooks: Vec<HookId>,
    depth: usize,
    has_routes: bool,
    /// It is the one of a script itself: its hooks are those of the `lua` stage.
    is_outermost: bool,
}

impl Registry {
    /// Begins with a script: it has a scope of its own.
    pub(crate) fn begin_script(&mut self, script: &Chunk) {
        let declaration =
            ScriptDeclaration { id: script.id.clone(), file: script.file.clone(), hooks: Vec::new() };
        self.declarations.scripts.push(declaration);
        let scope = Scope { is_outermost: true, ..Scope::default() };
        self.outer = Some(Rc::new(RefCell::new(scope)));
    }

    /// Index of the script that is loaded.
    fn script(&self) -> usize {
        self.declarations.scripts.len().saturating_sub(1)
    }

    /// Declares a rate limit.
    pub(super) fn declare_limit(&mut self, limit: &RateLimit) -> mlua::Result<()> {
        match self.declarations.limits.iter().find(|known| known.name == limit.name) {
            Some(known) if known == limit => Ok(()),
            Some(_) => Err(error(format!("the limit {} has other numbers elsewhere", limit.name))),
            None if self.declarations.limits.len() >= limits::HOOKS_MAX => {
                Err(error("a bundle has at most 1,000 limits"))
            }
            None => {
                self.declarations.limits.push(limit.clone());
                Ok(())
            }
        }
    }

    fn handler(&mut self, function: Function, place: Place) -> HandlerId {
        let id = HandlerId(self.functions.handlers.len() as u32);
        self.functions.handlers.push(function);
        self.declarations.handlers.push(place);
        id
    }

    fn hook(&mut self, functions: HookFunctions, place: Place) -> mlua::Result<HookId> {
        if self.functions.hooks.len() >= limits::HOOKS_MAX {
            return Err(error("a bundle has at most 1,000 hooks"));
        }
        let id = HookId(self.functions.hooks.len() as u32);
        self.declarations.hooks.push(HookDeclaration {
            script: self.script(),
            place,
            on_request: functions.request.is_some(),
            on_response: functions.response.is_some(),
            on_log: functions.log.is_some(),
        });
        self.functions.hooks.push(functions);
        Ok(id)
    }
}

/// Shared by the functions of a router.
#[derive(Clone)]
struct Router {
    shared: Rc<Shared>,
    registry: Rc<RefCell<Registry>>,
    /// `None` for `gw` itself, whose scope is that of the script that is loaded.
    scope: Option<Rc<RefCell<Scope>>>,
}

/// Adds the declaring functions to `gw`.
pub(super) fn install(
    lua: &Lua,
    gw: &Table,
    shared: &Rc<Shared>,
    registry: &Rc<RefCell<Registry>>,
) -> mlua::Result<()> {
    let router = Router { shared: shared.clone(), registry: registry.clone(), scope: None };
    router.fill(lua, gw)?;
    let outer = router.clone();
    gw.raw_set(
        "host",
        lua.create_function(move |lua, (name, declare): (LuaString, Function)| {
            outer.host(lua, &name, &declare)
        })?,
    )?;
    let phase = shared.clone();
    gw.raw_set(
        "proxy",
        lua.create_function(move |_, options: Table| {
            loading(&phase, "gw.proxy")?;
            proxy(&options).map(Proxy)
        })?,
    )
}

fn loading(shared: &Shared, name: &str) -> mlua::Result<()> {
    match shared.current() {
        Some(call) if call.phase == Phase::Load => Ok(()),
        _ => Err(error(format!("{name} works while a script is loaded, not in handlers and hooks"))),
    }
}

impl Router {
    /// Adds the functions of a router to a table.
    fn fill(&self, lua: &Lua, table: &Table) -> mlua::Result<()> {
        let methods = RouteMethod::ALL.map(|method| (method.as_str().to_ascii_lowercase(), Some(method)));
        for (name, method) in methods.into_iter().chain([("any".to_owned(), None)]) {
            let router = self.clone();
            let declare = move |lua: &Lua, (pattern, target): (Value, Value)| {
                router.route(lua, method, &pattern, &target)
            };
            table.raw_set(name, lua.create_function(declare)?)?;
        }
        let router = self.clone();
        table.raw_set(
            "use",
            lua.create_function(move |lua, hooks: MultiValue| router.add_hooks(lua, &hooks))?,
        )?;
        let router = self.clone();
        table
            .raw_set("with", lua.create_function(move |lua, hooks: MultiValue| router.with(lua, &hooks))?)?;
        let router = self.clone();
        let group =
            move |lua: &Lua, (prefix, declare): (LuaString, Function)| router.group(lua, &prefix, &declare);
        table.raw_set("group", lua.create_function(group)?)?;
        for (name, kind) in
            [("not_found", FallbackKind::NotFound), ("method_not_allowed", FallbackKind::MethodNotAllowed)]
        {
            let router = self.clone();
            let declare = move |lua: &Lua, handler: Function| router.fallback(lua, kind, handler);
            table.raw_set(name, lua.create_function(declare)?)?;
        }
        Ok(())
    }

    fn scope(&self) -> mlua::Result<Rc<RefCell<Scope>>> {
        loading(&self.shared, "declaring routes")?;
        let outer = || self.registry.borrow().outer.clone();
        self.scope.clone().or_else(outer).ok_or_else(|| error("no script is loaded"))
    }

    fn route(
        &self,
        lua: &Lua,
        method: Option<RouteMethod>,
        pattern: &Value,
        target: &Value,
    ) -> mlua::Result<()> {
        let scope = self.scope()?;
        let place = place(lua);
        let Value::String(pattern) = pattern else {
            return Err(error(match pattern {
                Value::Table(_) => "the functions of a router are called with a dot: g.get(pattern, handler)",
                _ => "a route has a pattern and a handler: gw.get(\"/users/{id}\", function(req) … end)",
            }));
        };
        let mut scope = scope.borrow_mut();
        let text = joined(&scope.prefix, &names::utf8("a pattern", pattern)?);
        let pattern = Pattern::parse(&text).map_err(|wrong| error(format!("{text:?}: {wrong}")))?;
        let mut registry = self.registry.borrow_mut();
        if registry.declarations.routes.len() >= limits::ROUTES_MAX {
            return Err(error("a bundle has at most 10,000 routes"));
        }
        let target = match target {
            Value::Function(handler) => {
                RouteTarget::Handler(registry.handler(handler.clone(), place.clone()))
            }
            Value::UserData(data) => match data.borrow::<Proxy>() {
                Ok(proxy) => RouteTarget::Proxy(proxy.0.clone()),
                Err(_) => return Err(error(NO_TARGET)),
            },
            _ => return Err(error(NO_TARGET)),
        };
        let script = registry.script();
        let (host, hooks) = (scope.host.clone(), scope.hooks.clone());
        registry.declarations.routes.push(RouteDeclaration {
            script,
            place,
            host,
            method,
            pattern,
            hooks,
            target,
        });
        scope.has_routes = true;
        Ok(())
    }

    /// `gw.use(hook…)`
    fn add_hooks(&self, lua: &Lua, hooks: &MultiValue) -> mlua::Result<()> {
        let scope = self.scope()?;
        if scope.borrow().has_routes {
            return Err(error("use stands before the routes that it is for"));
        }
        let ids = self.declare_hooks(lua, hooks)?;
        let mut scope = scope.borrow_mut();
        if scope.is_outermost {
            let mut registry = self.registry.borrow_mut();
            if let Some(script) = registry.declarations.scripts.last_mut() {
                script.hooks.extend(&ids);
            }
        }
        scope.hooks.extend(ids);
        Ok(())
    }

    /// `gw.with(hook…)`: a router with more hooks.
    fn with(&self, lua: &Lua, hooks: &MultiValue) -> mlua::Result<Table> {
        let mut inner = self.scope()?.borrow().inner()?;
        inner.hooks.extend(self.declare_hooks(lua, hooks)?);
        self.scope()?.borrow_mut().has_routes = true;
        self.router(lua, inner)
    }

    /// `gw.group(prefix, function(g) … end)`
    fn group(&self, lua: &Lua, prefix: &LuaString, declare: &Function) -> mlua::Result<()> {
        let scope = self.scope()?;
        let mut inner = scope.borrow().inner()?;
        let text = names::utf8("a prefix", prefix)?;
        inner.prefix = joined(&inner.prefix, &text);
        // Its errors are those of its routes, but stand at the group.
        Pattern::parse(&inner.prefix).map_err(|wrong| error(format!("{:?}: {wrong}", inner.prefix)))?;
        scope.borrow_mut().has_routes = true;
        declare.call(self.router(lua, inner)?)
    }

    /// `gw.host(name, function(h) … end)`
    fn host(&self, lua: &Lua, name: &LuaString, declare: &Function) -> mlua::Result<()> {
        let scope = self.scope()?;
        let mut inner = scope.borrow().inner()?;
        let text = names::utf8("a host", name)?;
        let host = HostPattern::parse(&text).map_err(|wrong| error(format!("{text:?}: {wrong}")))?;
        inner.host = Some(host);
        declare.call(self.router(lua, inner)?)
    }

    fn router(&self, lua: &Lua, scope: Scope) -> mlua::Result<Table> {
        let router = Self { scope: Some(Rc::new(RefCell::new(scope))), ..self.clone() };
        let table = lua.create_table()?;
        router.fill(lua, &table)?;
        table.set_readonly(true);
        Ok(table)
    }

    fn fallback(&self, lua: &Lua, kind: FallbackKind, handler: Function) -> mlua::Result<()> {
        let scope = self.scope()?;
        let mut scope = scope.borrow_mut();
        if !scope.prefix.is_empty() {
            return Err(error("not_found and method_not_allowed are for a host, not for a group"));
        }
        let place = place(lua);
        let mut registry = self.registry.borrow_mut();
        let (script, handler) = (registry.script(), registry.handler(handler, place.clone()));
        let (host, hooks) = (scope.host.clone(), scope.hooks.clone());
        registry.declarations.fallbacks.push(FallbackDeclaration {
            script,
            host,
            kind,
            hooks,
            handler,
            place,
        });
        scope.has_routes = true;
        Ok(())
    }

    fn declare_hooks(&self, lua: &Lua, hooks: &MultiValue) -> mlua::Result<Vec<HookId>> {
        let place = place(lua);
        let mut registry = self.registry.borrow_mut();
        hooks.iter().map(|hook| registry.hook(hook_functions(hook)?, place.clone())).collect()
    }
}

const NO_TARGET: &str = "the target of a route is a function or gw.proxy{pool = …}";

impl Scope {
    /// The scope of a router inside of this one.
    fn inner(&self) -> mlua::Result<Self> {
        match self.depth >= limits::GROUP_DEPTH_MAX {
            true => Err(error("groups stand in each other at most 16 deep")),
            false => {
                Ok(Self { depth: self.depth + 1, has_routes: false, is_outermost: false, ..self.clone() })
            }
        }
    }
}

/// A prefix and a pattern as one; the root of a group is the group itself.
fn joined(prefix: &str, pattern: &str) -> String {
    match (prefix.strip_suffix('/').unwrap_or(prefix), pattern) {
        ("", pattern) => pattern.to_owned(),
        (prefix, "/") => prefix.to_owned(),
        (prefix, pattern) => format!("{prefix}{pattern}"),
    }
}

fn hook_functions(hook: &Value) -> mlua::Result<HookFunctions> {
    const NO_HOOK: &str = "a hook is a function, or {request = …, response = …, log = …}";
    let table = match hook {
        Value::Function(function) => {
            return Ok(HookFunctions { request: Some(function.clone()), ..HookFunctions::default() });
        }
        Value::Table(table) => table,
        _ => return Err(error(NO_HOOK)),
    };
    let mut functions = HookFunctions::default();
    for pair in table.pairs::<Value, Function>() {
        let (name, function) = pair.map_err(|_| error(NO_HOOK))?;
        let slot = match name.as_string().map(|name| name.as_bytes().to_vec()).as_deref() {
            Some(b"request") => &mut functions.request,
            Some(b"response") => &mut functions.response,
            Some(b"log") => &mut functions.log,
            _ => return Err(error(NO_HOOK)),
        };
        *slot = Some(function);
    }
    match functions.request.is_none() && functions.response.is_none() && functions.log.is_none() {
        true => Err(error(NO_HOOK)),
        false => Ok(functions),
    }
}

/// `gw.proxy{…}` as a value.
struct Proxy(ProxyTarget);

impl UserData for Proxy {}

fn proxy(options: &Table) -> mlua::Result<ProxyTarget> {
    let (mut pool, mut strip_prefix, mut timeout) = (None, None, None);
    for pair in options.pairs::<LuaString, Value>() {
        let (name, value) = pair.map_err(|_| error("gw.proxy takes a table of options"))?;
        match (&*name.as_bytes(), &value) {
            (b"pool", Value::String(text)) => {
                let text = names::utf8("pool", text)?;
                pool = Some(AppId::parse(&text).map_err(|wrong| error(format!("pool {text:?}: {wrong}")))?);
            }
            (b"strip_prefix", Value::String(text)) => {
                let text = names::utf8("strip_prefix", text)?;
                Pattern::parse(&text).map_err(|wrong| error(format!("strip_prefix {text:?}: {wrong}")))?;
                strip_prefix = Some(text.into());
            }
            (b"timeout", value) => {
                let millis = names::number("timeout", value, 1.0, PROXY_TIMEOUT_MS_MAX)?;
                timeout = Some(Duration::from_millis(millis as u64));
            }
            (name, _) => {
                let name = String::from_utf8_lossy(name);
                return Err(error(format!("gw.proxy: {name} is no option, or its value has another type")));
            }
        }
    }
    let Some(pool) = pool else { return Err(error("gw.proxy{pool = …} needs a pool")) };
    Ok(ProxyTarget { pool, strip_prefix, timeout })
}

/// 1 h, in milliseconds: the longest timeout of a target.
const PROXY_TIMEOUT_MS_MAX: f64 = 3_600_000.0;

/// Place in a script from which a function of the API is called.
pub(super) fn place(lua: &Lua) -> Place {
    let frame = |level| {
        lua.inspect_stack(level, |frame| {
            let file = frame.source().short_src.map(|file| file.into_owned());
            Some((file?, frame.current_line()?))
        })
        .flatten()
    };
    match (0..4).find_map(frame) {
        Some((file, line)) => Place { file: file.into(), line: u32::try_from(line).unwrap_or(u32::MAX) },
        None => Place { file: "?".into(), line: 0 },
    }
}

/// `require`, for the modules of the bundle: each is loaded once, while scripts are loaded.
pub(super) fn require(lua: &Lua, shared: &Rc<Shared>, bundle: &Bundle) -> mlua::Result<Function> {
    let modules = bundle.modules().clone();
    let shared = shared.clone();
    let find = lua.create_function(move |lua, name: LuaString| {
        loading(&shared, "require of a module that is not loaded yet")?;
        let name = names::utf8("the name of a module", &name)?;
        let key = name.strip_suffix(".lua").unwrap_or(&name);
        match modules.get(key) {
            Some(module) => vm::chunk(lua, module),
            None => Err(error(format!("the bundle has no module {name:?}"))),
        }
    })?;
    let code = bundle::compiler().compile(REQUIRE)?;
    let require = lua.load(&code[..]).set_mode(ChunkMode::Binary).set_name("=require").into_function()?;
    require.call(find)
}

/// In Lua: a module runs in the coroutine of its script, where limits can stop it.
const REQUIRE: &str = r#"
local find = ...
local loaded, loading = {}, {}
return function(name)
    local module = loaded[name]
    if module == loading then
        error("the module " .. name .. " requires itself", 2)
    end
    if module == nil then
        local load = find(name)
        loaded[name] = loading
        module = load()
        if module == nil then
            module = true
        end
        loaded[name] = module
    end
    return module
end
"#;
