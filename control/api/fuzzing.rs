//! Entry points for the fuzz targets (`tests/fuzz`): parsing of requests without a plane and sockets.

use ringway_config::json::{self, DocumentError};
use ringway_config::{Input, Origin, Reader, Report, read_request};

use crate::request::shapes as shape;

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
    let body = json::parse(body).map_err(|error| match error {
        DocumentError::Duplicates(reports) => {
            Refusal::Document(reports.into_iter().map(|report| report.field.to_string()).collect())
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
    let finding = |report: Report| {
        let pointer = (report.origin == Origin::Body).then(|| report.field.to_string());
        (report.code, pointer)
    };
    read_request(input, shape)
        .map(|_| ())
        .map_err(|reports| Refusal::Findings(reports.into_iter().map(finding).collect()))
}
