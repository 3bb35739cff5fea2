//! VM of one core and one namespace.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use mlua::chunk::ChunkMode;
use mlua::thread::ThreadStatus;
use mlua::{Function, Lua, MultiValue};

use crate::api::{self, Registry};
use crate::budget::{CallState, Phase, Shared};
use crate::bundle::{Bundle, Chunk};
use crate::declarations::{Declarations, HandlerId, HookId};
use crate::failure::{Failure, FailureKind, Place};
use crate::host::Host;
use crate::limits;
use crate::request::ScriptRequest;
use crate::running::{Running, Script, failure_of};
use crate::sandbox;

/// VM of one core and one namespace, with a bundle loaded. Cheap to clone; calls keep it.
#[derive(Clone)]
pub struct Vm(Rc<Inner>);

struct Inner {
    lua: Lua,
    shared: Rc<Shared>,
    functions: Functions,
    bundle: Arc<Bundle>,
}

/// Functions that scripts have declared.
#[derive(Default)]
pub(crate) struct Functions {
    pub(crate) handlers: Vec<Function>,
    pub(crate) hooks: Vec<HookFunctions>,
}

/// Functions of a hook.
#[derive(Clone, Default)]
pub(crate) struct HookFunctions {
    pub(crate) request: Option<Function>,
    pub(crate) response: Option<Function>,
    pub(crate) log: Option<Function>,
}

/// Call of a function that a script has declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A hook, for a request.
    Request(HookId),
    /// A handler.
    Handler(HandlerId),
    /// A hook, for a response.
    Response(HookId),
    /// A hook, for a finished request.
    Log(HookId),
}

impl Vm {
    /// Loads a bundle: 0.4 to 0.9 ms, and 30 us a script.
    ///
    /// # Errors
    /// A script fails, or declares something else than it did when the bundle was compiled.
    pub fn load(bundle: &Arc<Bundle>, host: Rc<dyn Host>) -> Result<Self, Failure> {
        let loaded = load(bundle, Some(host))?;
        if loaded.declarations != *bundle.declarations() {
            let message = "the bundle declares other routes than it did when it was compiled".into();
            return Err(Failure { kind: FailureKind::Error, place: None, message });
        }
        let Loaded { lua, shared, functions, .. } = loaded;
        Ok(Self(Rc::new(Inner { lua, shared, functions, bundle: bundle.clone() })))
    }

    /// Begins a call; it runs while [`Running::next`] is polled.
    pub fn call(&self, call: Call, request: &ScriptRequest) -> Running {
        let inner = &self.0;
        let hook = |id: HookId| inner.functions.hooks.get(id.index());
        let (function, phase) = match call {
            Call::Request(id) => (hook(id).and_then(|hook| hook.request.clone()), Phase::Request),
            Call::Handler(id) => (inner.functions.handlers.get(id.index()).cloned(), Phase::Request),
            Call::Response(id) => (hook(id).and_then(|hook| hook.response.clone()), Phase::Response),
            Call::Log(id) => (hook(id).and_then(|hook| hook.log.clone()), Phase::Log),
        };
        let state = CallState::new(phase, Some(request.clone()), inner.shared.limits.steps);
        let script: Script = match function {
            Some(function) => match api::arguments(&inner.lua, &inner.shared, phase, request) {
                Ok(arguments) => Box::pin(function.call_async::<MultiValue>(arguments)),
                Err(error) => Box::pin(std::future::ready(Err(error))),
            },
            // The hook has no function for this phase: nothing to do.
            None => Box::pin(std::future::ready(Ok(MultiValue::new()))),
        };
        Running::new(self.clone(), call, Rc::new(state), script)
    }

    /// The bundle.
    pub fn bundle(&self) -> &Arc<Bundle> {
        &self.0.bundle
    }

    /// Memory of the VM in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.0.lua.used_memory()
    }

    /// Calls that wait.
    pub fn waiting(&self) -> u32 {
        self.0.shared.waiting.get()
    }

    /// Collects garbage: for a core that has nothing else to do. 6 to 9 us for an idle VM.
    pub fn collect(&self) {
        // It fails in a finalizer only, and scripts have none.
        let _ = self.0.lua.gc_collect();
    }

    pub(crate) fn shared(&self) -> &Rc<Shared> {
        &self.0.shared
    }

    /// Place of the function of a call.
    pub(crate) fn place(&self, call: Call) -> Option<Place> {
        let declarations = self.0.bundle.declarations();
        match call {
            Call::Handler(id) => declarations.handlers.get(id.index()).cloned(),
            Call::Request(id) | Call::Response(id) | Call::Log(id) => {
                declarations.hooks.get(id.index()).map(|hook| hook.place.clone())
            }
        }
    }
}

impl std::fmt::Debug for Vm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vm").field("bundle", &self.0.bundle).finish_non_exhaustive()
    }
}

/// Loads a bundle without clock, random numbers and I/O, for its declarations.
pub(crate) fn declarations(bundle: &Bundle) -> Result<Declarations, Failure> {
    load(bundle, None).map(|loaded| loaded.declarations)
}

struct Loaded {
    lua: Lua,
    shared: Rc<Shared>,
    functions: Functions,
    declarations: Declarations,
}

fn load(bundle: &Bundle, host: Option<Rc<dyn Host>>) -> Result<Loaded, Failure> {
    let shared = Rc::new(Shared::new(*bundle.limits(), host));
    let registry = Rc::new(RefCell::new(Registry::default()));
    let call = Rc::new(CallState::new(Phase::Load, None, limits::LOAD_STEPS_MAX));
    let lua = shared.run(&call, || -> mlua::Result<Lua> {
        let lua = sandbox::open(&shared)?;
        api::install(&lua, &shared, &registry, bundle)?;
        sandbox::close(&lua, &shared)?;
        for script in bundle.scripts() {
            registry.borrow_mut().begin_script(script);
            run(&lua, &call, script)?;
        }
        sandbox::freeze(&lua);
        Ok(lua)
    });
    let lua = lua.map_err(|error| match call.killed() {
        Some(kind) => Failure { kind, place: None, message: "loading the bundle was stopped".into() },
        None => failure_of(&error),
    })?;
    let Registry { functions, declarations, .. } = registry.take();
    Ok(Loaded { lua, shared, functions, declarations })
}

/// Runs the top level of a script.
fn run(lua: &Lua, call: &CallState, script: &Chunk) -> mlua::Result<()> {
    let chunk = chunk(lua, script)?;
    // In a coroutine, where a limit can stop it.
    let thread = lua.create_thread(chunk)?;
    thread.resume::<MultiValue>(())?;
    if call.killed().is_some() {
        return Err(mlua::Error::runtime("a limit stopped the script"));
    }
    match thread.status() {
        ThreadStatus::Finished => Ok(()),
        _ => Err(mlua::Error::runtime("a script cannot wait while it is loaded")),
    }
}

/// The function of a compiled file.
pub(crate) fn chunk(lua: &Lua, chunk: &Chunk) -> mlua::Result<Function> {
    let name = format!("={}", chunk.file);
    lua.load(&chunk.bytecode[..]).set_mode(ChunkMode::Binary).set_name(name).into_function()
}

#[cfg(test)]
#[path = "vm_tests.rs"]
mod tests;
