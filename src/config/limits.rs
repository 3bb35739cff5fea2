//! Limits of configuration documents: each with its unit and its reason.

use std::time::Duration;

/// Bytes of all documents of one reading: twice the size of 50,000 routes with headers.
pub const DOCUMENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Values (scalars, lists and mappings) of one document: 8 MiB of the shortest ones would be ten times as
/// many, and take a second of a core.
pub const DOCUMENT_VALUES_MAX: usize = 500_000;
/// Nesting levels of a document: the deepest valid one has nine.
pub const DOCUMENT_DEPTH_MAX: usize = 32;
/// Files of one configuration folder.
pub const SOURCES_MAX: usize = 1_000;
/// Findings of one reading: more do not help whoever mends the file.
pub const DOCUMENT_FINDINGS_MAX: usize = 100;
/// Bytes of one text in a document, such as a path or a name.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// Bytes of a path in a condition or a rewrite: longer than the URLs that browsers and proxies accept.
pub const PATH_BYTES_MAX: usize = 2_048;
/// Conditions of one kind (methods, header fields, parameters) on one route.
pub const CONDITIONS_MAX: usize = 32;
/// Routes made from one tenant: its hosts times its paths.
pub const TENANT_ROUTES_MAX: usize = 1_000;
/// Longest trial of a change on one core.
pub const BAKE_MAX: Duration = Duration::from_secs(3_600);
