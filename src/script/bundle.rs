//! Bundles: the compiled scripts of one namespace.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use mlua::chunk::Compiler;
use ringway_model::HostPattern;

use crate::declarations::Declarations;
use crate::failure::{Failure, Place};
use crate::limits;
use crate::route_table::RouteTable;
use crate::settings::Limits;
use crate::vm;

/// Compiled scripts of one namespace. Immutable and shared by all cores; equal when the sources, the
/// configuration and the limits are.
pub struct Bundle {
    sha256: [u8; 32],
    /// Scripts, in the order of loading.
    scripts: Vec<Chunk>,
    /// Modules by name: `lib/auth` for `lib/auth.lua`.
    modules: Arc<Modules>,
    config: BTreeMap<Box<str>, ConfigValue>,
    limits: Limits,
    declarations: Declarations,
    tables: BTreeMap<Option<HostPattern>, RouteTable>,
}

/// Modules by name.
pub(crate) type Modules = HashMap<Box<str>, Chunk>;

/// Compiled file. Luau verifies no bytecode: it is made by [`Bundle::compile`] only.
pub(crate) struct Chunk {
    pub(crate) id: Box<str>,
    pub(crate) file: Box<str>,
    pub(crate) bytecode: Box<[u8]>,
}

/// Sources of a [`Bundle`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BundleSource {
    /// Files. Scripts are loaded in this order.
    pub files: Vec<SourceFile>,
    /// Values of `gw.config`.
    pub config: BTreeMap<Box<str>, ConfigValue>,
    /// Limits of its calls.
    pub limits: Limits,
}

/// File of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Path in the bundle, with `/`: `hello.lua`, `lib/auth.lua`.
    pub path: Box<str>,
    /// Source.
    pub text: Box<str>,
    /// Kind.
    pub kind: SourceKind,
}

/// Kind of a [`SourceFile`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// Script, with its id.
    Script(Box<str>),
    /// Module: loaded by the first `require` of its path without `.lua`.
    Module,
}

/// Value of `gw.config`.
#[derive(Clone, Debug, PartialEq)]
pub enum ConfigValue {
    /// Truth value.
    Bool(bool),
    /// Number.
    Number(f64),
    /// Text.
    Text(Box<str>),
}

/// Finding about a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// Place, where the finding has one.
    pub place: Option<Place>,
    /// Message for the author.
    pub message: Box<str>,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for CompileError {}

impl Bundle {
    /// Compiles a bundle, and loads it once for its declarations: 0.1 to 0.3 ms a file. For the control
    /// thread.
    ///
    /// # Errors
    /// All findings of the first phase that has any: limits, syntax, loading, routes.
    pub fn compile(source: &BundleSource) -> Result<Self, Vec<CompileError>> {
        check(source)?;
        let (mut scripts, mut modules, mut errors) = (Vec::new(), Modules::new(), Vec::new());
        for file in &source.files {
            match compile(file) {
                Ok(chunk) => match &file.kind {
                    SourceKind::Script(_) => scripts.push(chunk),
                    SourceKind::Module => {
                        modules.insert(chunk.id.clone(), chunk);
                    }
                },
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut bundle = Self {
            sha256: sha256(source),
            scripts,
            modules: Arc::new(modules),
            config: source.config.clone(),
            limits: source.limits,
            declarations: Declarations::default(),
            tables: BTreeMap::new(),
        };
        bundle.declarations = vm::declarations(&bundle).map_err(|failure| vec![loading_error(failure)])?;
        bundle.tables = RouteTable::compile(&bundle.declarations).map_err(|duplicates| {
            let message = |first: &Place| format!("the route is declared at {first} already").into();
            let error = |first: &Place, second| CompileError { message: message(first), place: Some(second) };
            duplicates.into_iter().map(|found| error(&found.first, found.second)).collect::<Vec<_>>()
        })?;
        Ok(bundle)
    }

    /// SHA-256 of sources, configuration and limits.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// Routes and hooks that its scripts declare.
    pub fn declarations(&self) -> &Declarations {
        &self.declarations
    }

    /// Routes by host; `None` stands for routes that name none.
    pub fn tables(&self) -> &BTreeMap<Option<HostPattern>, RouteTable> {
        &self.tables
    }

    /// Limits of its calls.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn scripts(&self) -> &[Chunk] {
        &self.scripts
    }

    pub(crate) fn modules(&self) -> &Arc<Modules> {
        &self.modules
    }

    pub(crate) fn config(&self) -> &BTreeMap<Box<str>, ConfigValue> {
        &self.config
    }
}

impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
    }
}

impl Eq for Bundle {}

impl fmt::Debug for Bundle {
    /// Omits sources and configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<&str> = self.scripts.iter().map(|script| &*script.file).collect();
        f.debug_struct("Bundle").field("scripts", &files).finish_non_exhaustive()
    }
}

/// The compiler of scripts. Line numbers stay; no type information, no coverage. `pcall` and `xpcall` are
/// functions of the sandbox.
pub(crate) fn compiler() -> Compiler {
    Compiler::new().set_optimization_level(1).set_debug_level(1).set_disabled_builtins(["pcall", "xpcall"])
}

fn compile(file: &SourceFile) -> Result<Chunk, CompileError> {
    let bytecode = compiler().compile(file.text.as_bytes()).map_err(|error| syntax_error(file, &error))?;
    let id = match &file.kind {
        SourceKind::Script(id) => id.clone(),
        SourceKind::Module => file.path.strip_suffix(".lua").unwrap_or(&file.path).into(),
    };
    Ok(Chunk { id, file: file.path.clone(), bytecode: bytecode.into() })
}

/// Luau's message is `3: unexpected symbol`.
fn syntax_error(file: &SourceFile, error: &mlua::Error) -> CompileError {
    let text = match error {
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        other => other.to_string(),
    };
    let parts = text.trim_start_matches(':').split_once(':');
    let line = parts.and_then(|(line, message)| Some((line.parse().ok()?, message.trim_start())));
    match line {
        Some((line, message)) => {
            CompileError { place: Some(Place { file: file.path.clone(), line }), message: message.into() }
        }
        None => CompileError { place: None, message: format!("{}: {text}", file.path).into() },
    }
}

/// The finding that a failure of loading is: its message without place and traceback.
fn loading_error(failure: Failure) -> CompileError {
    let first = failure.message.lines().next().unwrap_or_default();
    let place = failure.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
    CompileError { message: first.strip_prefix(&*place).unwrap_or(first).into(), place: failure.place }
}

fn check(source: &BundleSource) -> Result<(), Vec<CompileError>> {
    let error = |message: String| vec![CompileError { place: None, message: message.into() }];
    if source.files.len() > limits::BUNDLE_FILES_MAX {
        return Err(error(format!("a bundle has at most {} files", limits::BUNDLE_FILES_MAX)));
    }
    let bytes: usize = source.files.iter().map(|file| file.text.len()).sum();
    if bytes > limits::BUNDLE_BYTES_MAX {
        return Err(error("the sources of a bundle are larger than 1 MiB".to_owned()));
    }
    let mut paths: Vec<&str> = source.files.iter().map(|file| &*file.path).collect();
    paths.sort_unstable();
    if let Some(pair) = paths.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(error(format!("{}: the bundle has two files of this path", pair[0])));
    }
    let bad_path = |path: &&str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        !path.ends_with(".lua")
            || path.len() > PATH_BYTES_MAX
            || path.starts_with('/')
            || path.split('/').any(|part| part.is_empty() || part == "." || part == "..")
            || !path.bytes().all(is_plain)
    };
    if let Some(path) = paths.iter().find(|path| bad_path(path)) {
        return Err(error(format!(
            "{path:?}: a script's path has letters, digits, '.', '_', '-' and '/', and ends with .lua"
        )));
    }
    let mut ids: Vec<&str> = source.files.iter().filter_map(|file| file.kind.id()).collect();
    ids.sort_unstable();
    match ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(error(format!("{}: the bundle has two scripts of this id", pair[0]))),
        None => Ok(()),
    }
}

/// 255 bytes: the path of a file in its bundle.
const PATH_BYTES_MAX: usize = 255;

impl SourceKind {
    /// Id of a script.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Script(id) => Some(id),
            Self::Module => None,
        }
    }
}

/// Hashes each part with its length before it: no two sources have the same bytes.
fn sha256(source: &BundleSource) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut part = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_le_bytes());
        context.update(bytes);
    };
    for file in &source.files {
        part(file.path.as_bytes());
        part(file.text.as_bytes());
        part(file.kind.id().unwrap_or_default().as_bytes());
    }
    for (name, value) in &source.config {
        part(name.as_bytes());
        part(format!("{value:?}").as_bytes());
    }
    part(format!("{:?}", source.limits).as_bytes());
    let mut sum = [0; 32];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
