//! Sections that later versions support: read and checked like the others, without effect.
//!
//! Each gives one warning per document and name, so that nothing is ignored in silence.

mod extensions;
mod process;
mod traffic;

pub(super) use extensions::{discover, lua_of_tenant, security};
pub(super) use process::members_of_settings;

use crate::Reader;

/// Reads the sections of the whole document.
pub(super) fn sections(reader: &mut Reader<'_>) {
    extensions::sections(reader);
    process::sections(reader);
    traffic::sections(reader);
}

/// Reads an object without effect.
fn object(
    reader: &mut Reader<'_>,
    name: &'static str,
    doc: &'static str,
    shape: impl FnOnce(&mut Reader<'_>),
) {
    reader.object(name, doc, |reader| {
        shape(reader);
        Some(())
    });
    reader.has_no_effect(name);
}
