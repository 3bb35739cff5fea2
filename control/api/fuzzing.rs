//! Entry points for the fuzz targets (`tests/fuzz`): parsing of requests without a plane and sockets.

use crate::request::finding::Finding;
use crate::request::reader::{self, Input, Reader};
use crate::request::{document, shapes as shape};

/// Refusal of a body.
#[derive(Debug)]
pub enum Refusal {
    /// Not a document; the pointer of each duplicate name.
    Document(Vec<String>),
    /// Findings: code and pointer.
    Findings(Vec<(&'static str, Option<String>)>),
}

/// Number of request shapes with a body.
pub const SHAPES: usize = 11;

/// Reads a body by a shape; `key` is what the path would have. The body is overwritten.
///
/// # Errors
/// The findings.
pub fn read(shape: usize, key: Option<String>, body: &mut [u8]) -> Result<(), Refusal> {
    let body = document::parse(body).map_err(|error| match error {
        document::DocumentError::Duplicates(findings) => {
            Refusal::Document(findings.into_iter().filter_map(|finding| finding.pointer).collect())
        }
        _ => Refusal::Document(Vec::new()),
    })?;
    let input = Input { body: Some(body), key, query: Vec::new() };
    match shape % SHAPES {
        0 => take(&input, shape::register_app),
        1 => take(&input, shape::add_instance),
        2 => take(&input, shape::put_webhook),
        3 => take(&input, shape::update_webhook),
        4 => take(&input, shape::register),
        5 => take(&input, shape::deregister),
        6 => take(&input, shape::add_domain),
        7 => take(&input, shape::add_custom_domain),
        8 => take(&input, shape::add_route),
        9 => take(&input, shape::update_domain),
        _ => take(&input, shape::upload),
    }
}

fn take<T>(input: &Input<'_>, shape: impl FnOnce(&mut Reader<'_>) -> Option<T>) -> Result<(), Refusal> {
    let finding = |finding: Finding| (finding.code, finding.pointer);
    reader::read(input, shape)
        .map(|_| ())
        .map_err(|findings| Refusal::Findings(findings.into_iter().map(finding).collect()))
}
