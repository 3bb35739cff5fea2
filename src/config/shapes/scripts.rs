//! `scripts`: Lua scripts, as a folder or one by one.
//!
//! The texts of the files are read beside the documents, together with those ([`script_paths`]). The
//! canonical form has the sources themselves, and so has each kept version.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use ringway_model::{Kind, ScriptSpec};
use serde_json::json;

use crate::draft::{Declared, Draft};
use crate::reader::read_document;
use crate::tree::{Value, json as json_tree, yaml};
use crate::values::{boolean, id_schema, text};
use crate::{Fault, Field, Place, Pointer, Position, Reader, Source, limits};

/// Files and folders of scripts that documents name. Relative paths begin at the folder of their document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScriptPaths {
    /// Folders: all `*.lua` files in them are scripts, those of folders below them are modules.
    pub folders: BTreeSet<PathBuf>,
    /// Single files.
    pub files: BTreeSet<PathBuf>,
}

/// Files and folders of scripts that these documents name; of documents with mistakes, as many as can be
/// read.
pub fn script_paths(sources: &[Source]) -> ScriptPaths {
    let mut draft = Draft::default();
    // Most configurations have no scripts, and are not parsed a second time.
    for source in sources.iter().filter(|source| source.text.contains("scripts") && !source.is_script()) {
        draft.begin(&source.name);
        let is_json = source.text.trim_start().starts_with(['{', '[']);
        let mut bytes = if is_json { source.text.as_bytes().to_vec() } else { Vec::new() };
        let parsed = match is_json {
            true => json_tree::parse_document(&source.text, &mut bytes),
            false => yaml::parse(&source.text),
        };
        if let Some(root) = parsed.root
            && let Value::Object(object) = &root.value
        {
            // Its findings are made when the documents are read with their scripts.
            let _ = read_document(object, root.at, |reader| section(reader, &mut draft));
        }
    }
    draft.script_paths
}

/// Reads `scripts` and its older form `lua_routing`.
pub(super) fn section(reader: &mut Reader<'_>, draft: &mut Draft) {
    let (mut listed, mut dir) = (Vec::new(), None);
    let found = reader.list_or_object(
        "scripts",
        "Lua scripts: a list, or the folder with them.",
        |reader| {
            listed.extend(script(reader, draft));
            Some(())
        },
        |reader| {
            dir = reader.required(&DIR);
            Some(())
        },
    );
    let has_lua_routing = reader.has("lua_routing");
    reader.object("lua_routing", "Lua scripts: the older form of `scripts`.", |reader| {
        let is_enabled = reader.optional(&boolean("enabled", "Whether scripts run.")).unwrap_or(true);
        let dir = reader.optional(&SCRIPTS_DIR);
        if let Some(dir) = dir.filter(|_| is_enabled) {
            folder(draft, &dir);
        }
        Some(())
    });
    draft.sections.scripts |= has_lua_routing || found.is_some();
    draft.scripts.extend(listed);
    if let Some(dir) = dir {
        folder(draft, &dir);
    }
}

/// A script of the list.
fn script(reader: &mut Reader<'_>, draft: &mut Draft) -> Option<Arc<ScriptSpec>> {
    let id = reader.required(&ID);
    if let Some(id) = &id {
        draft.declare(reader, Kind::Script, id, ID.name);
    }
    let file = reader.optional(&FILE);
    let source = reader.optional(&SOURCE);
    let path = reader.optional(&PATH);
    let is_module = reader.optional(&MODULE).unwrap_or(false);
    let hash = reader.optional(&HASH);
    let source = match (file, source) {
        (Some(file), None) => {
            let path = beside(draft, &file);
            draft.script_paths.files.insert(path.clone());
            let text = draft.script_files.get(path.to_string_lossy().as_ref()).cloned();
            if text.is_none() {
                reader.fault(FILE.name, Fault::invalid(format_args!("{} is not read here", path.display())));
            }
            // Findings about the script name its file.
            if let Some(id) = &id
                && let Some(declared) = draft.names.declared.get_mut(&(Kind::Script, id.clone()))
            {
                declared.place = Some(first_line(&path));
            }
            text
        }
        (None, Some(source)) => Some(source),
        (None, None) => {
            reader
                .fault(FILE.name, Fault { code: "missing", message: "is missing, and so is source".into() });
            None
        }
        (Some(_), Some(_)) => {
            let message = "stands beside file: a script has one of them".into();
            reader.fault(SOURCE.name, Fault { code: "conflict", message });
            None
        }
    };
    if let (Some(hash), Some(source)) = (hash, &source)
        && hash.trim_start_matches("sha256:").to_ascii_lowercase() != sha256(source)
    {
        let message = format!("is not the SHA-256 of the script, which is {}", sha256(source));
        reader.fault(HASH.name, Fault { code: "conflict", message });
    }
    let (id, source) = (id?, source?);
    let file = path.unwrap_or_else(|| format!("{id}.lua").into());
    Some(Arc::new(ScriptSpec { id, file, is_module, source }))
}

/// Declares all scripts of a folder.
fn folder(draft: &mut Draft, dir: &str) {
    let folder = beside(draft, dir);
    draft.script_paths.folders.insert(folder.clone());
    let prefix = format!("{}/", folder.to_string_lossy().trim_end_matches('/'));
    let files: Vec<(Arc<str>, Arc<str>, Arc<str>)> = draft
        .script_files
        .iter()
        .filter_map(|(path, text)| Some((path.clone(), path.strip_prefix(&*prefix)?.into(), text.clone())))
        .collect();
    for (path, file, source) in files {
        let is_module = file.contains('/');
        let id: Arc<str> = file.strip_suffix(".lua").unwrap_or(&file).into();
        let place = first_line(Path::new(&*path));
        let key = (Kind::Script, id.clone());
        if draft.names.declared.contains_key(&key) {
            // A file of the list has the same id.
            continue;
        }
        draft.names.declared.insert(key, Declared { pointer: Pointer::default(), place: Some(place) });
        draft.scripts.push(Arc::new(ScriptSpec { id, file, is_module, source }));
    }
}

fn first_line(path: &Path) -> Place {
    let name: Arc<str> = path.to_string_lossy().into();
    Place::new(&name, Position { line: 1, column: 1 })
}

/// A path that begins at the folder of the document under reading.
fn beside(draft: &Draft, path: &str) -> PathBuf {
    let path = path.strip_prefix("./").unwrap_or(path).trim_end_matches('/');
    match Path::new(&*draft.file).parent() {
        Some(folder) => folder.join(path),
        None => PathBuf::from(path),
    }
}

fn sha256(text: &str) -> String {
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

static ID: Field<Arc<str>> = Field {
    name: "id",
    doc: "Id of the script.",
    schema: || id_schema("hello"),
    parse: |given| {
        let id = given.text()?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte);
        match !id.is_empty() && id.len() <= limits::SCRIPT_ID_BYTES_MAX && id.bytes().all(is_plain) {
            true => Ok(id.into()),
            false => Err(Fault::invalid("must have 1 to 128 letters, digits, '_', '.', '-' and '/'")),
        }
    },
};

static FILE: Field<Arc<str>> =
    text("file", "File of the script; a relative path begins at the document's folder.");
static DIR: Field<Arc<str>> = text(
    "dir",
    "The folder with the scripts: its `*.lua` files run, those of folders below are modules for `require`; a relative path begins at the document's folder.",
);
static SCRIPTS_DIR: Field<Arc<str>> = text("scripts_dir", "The folder with the scripts.");
static HASH: Field<Arc<str>> =
    text("hash", "SHA-256 of the file, in hexadecimal digits: another content is refused.");
static PATH: Field<Arc<str>> =
    text("path", "Name in messages and for `require`; the id with `.lua` when absent.");
static MODULE: Field<bool> = boolean("module", "Whether it runs only where another script requires it.");

static SOURCE: Field<Arc<str>> = Field {
    name: "source",
    doc: "The script itself, in place of a file.",
    schema: || json!({ "type": "string", "maxLength": limits::SCRIPT_BYTES_MAX }),
    parse: |given| {
        let text = given.text()?;
        match text.len() <= limits::SCRIPT_BYTES_MAX {
            true => Ok(text.into()),
            false => Err(Fault::range("must not be longer than 1 MiB")),
        }
    },
};
