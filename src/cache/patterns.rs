//! Patterns of paths to which a configured lifetime is limited, guarded against cache deception.
//!
//! `GET /account/x.css` may get the account page from an origin that ignores the end of the path. A pattern
//! such as `*.css` alone would store it, and show it to anyone who asks for that path. The response must
//! therefore be of the type that the path promises, and the path must have only one reading.

/// Returns whether one of the patterns matches the path, and its response is of the type that the path's
/// extension promises. `path` may have a query. In a pattern, `*` stands for any bytes.
pub(crate) fn permit(patterns: &[Box<str>], path: &[u8], content_type: Option<&[u8]>) -> bool {
    let path = path.split(|byte| *byte == b'?').next().unwrap_or_default();
    is_unambiguous(path)
        && patterns.iter().any(|pattern| matches(pattern.as_bytes(), path))
        && has_promised_type(path, content_type)
}

/// Returns whether all readers of a path see the same segments in it.
fn is_unambiguous(path: &[u8]) -> bool {
    let has_escape = |escape: &[u8]| path.windows(3).any(|part| part.eq_ignore_ascii_case(escape));
    !path.contains(&b';')
        && !path.contains(&b'\\')
        && !path.windows(2).any(|pair| pair == b"..")
        && !AMBIGUOUS.into_iter().any(has_escape)
}

/// Escapes that one reading takes for a delimiter, and another for a part of a name; `%25` is the percent
/// sign of such an escape where a path is decoded twice.
const AMBIGUOUS: [&[u8]; 9] = [b"%25", b"%2f", b"%5c", b"%2e", b"%3b", b"%00", b"%0a", b"%23", b"%3f"];

/// Compares in linear time for each `*`: on a mismatch, the last one takes one byte more.
fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (mut at, mut seen, mut star) = (0, 0, None);
    while seen < path.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, seen));
            at += 1;
        } else if pattern.get(at) == Some(&path[seen]) {
            at += 1;
            seen += 1;
        } else if let Some((after, from)) = star {
            (at, seen) = (after, from + 1);
            star = Some((after, from + 1));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Returns whether the type fits the extension. A path without one promises nothing; with one that is not
/// listed, anything but a page is accepted.
fn has_promised_type(path: &[u8], content_type: Option<&[u8]>) -> bool {
    let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let Some(dot) = name.iter().rposition(|byte| *byte == b'.') else { return true };
    let Some(content_type) = content_type else { return false };
    let essence = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let begins = |with: &str| {
        essence.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
    };
    let extension = name[dot + 1..].to_ascii_lowercase();
    let Some((_, types)) =
        TYPES.iter().find(|(extensions, _)| extensions.split(' ').any(|known| known.as_bytes() == extension))
    else {
        return !begins("text/html") && !begins("application/xhtml");
    };
    types.split(' ').any(begins)
}

/// Extensions, and beginnings of the types that they promise.
const TYPES: &[(&str, &str)] = &[
    ("css", "text/css"),
    ("js mjs cjs", "text/javascript application/javascript application/x-javascript text/ecmascript"),
    ("json map webmanifest", "application/json application/manifest+json application/octet-stream text/json"),
    ("png jpg jpeg gif webp avif ico bmp svg svgz tif tiff apng jxl heic", "image/"),
    (
        "woff woff2 ttf otf eot",
        "font/ application/font application/x-font application/vnd.ms-fontobject application/octet-stream",
    ),
    (
        "mp4 webm m4v mov ogv m3u8 ts mpd",
        "video/ application/vnd.apple.mpegurl application/x-mpegurl application/dash+xml",
    ),
    ("mp3 m4a ogg oga opus wav flac aac", "audio/ application/ogg video/ogg"),
    ("pdf", "application/pdf"),
    ("txt md csv log", "text/plain text/markdown text/csv"),
    (
        "xml rss atom xsl",
        "application/xml text/xml application/rss+xml application/atom+xml application/xslt+xml",
    ),
    ("html htm xhtml", "text/html application/xhtml+xml"),
    ("wasm", "application/wasm"),
    ("zip gz tgz bz2 xz zst 7z rar tar jar", "application/"),
];

#[cfg(test)]
#[path = "patterns_tests.rs"]
mod tests;
