//! Scripts of a program without Lua: there are none.

use ringway_model::ScriptSpec;

use super::ScriptFinding;

/// Scripts of a snapshot.
#[derive(Debug, PartialEq, Eq)]
pub enum Scripts {}

/// Refuses scripts.
///
/// # Errors
/// There is one.
pub fn check<'s>(scripts: impl IntoIterator<Item = &'s ScriptSpec>) -> Result<(), Vec<ScriptFinding>> {
    match scripts.into_iter().next() {
        Some(script) => Err(vec![ScriptFinding {
            place: Some((script.file.as_ref().into(), 1)),
            message: "this program is built without Lua (feature lua): it cannot run scripts".into(),
        }]),
        None => Ok(()),
    }
}
