//! Escaping of untrusted text in a log line.
//!
//! Escapes everything that could end a line or a string, move a terminal's cursor, or make a line look
//! different from its content: quotes and backslashes, C0 and C1 controls, DEL, line and paragraph
//! separators, bidirectional controls, zero-width and blank characters. All become `\uXXXX`, which is valid
//! inside a JSON string. Bytes that are not UTF-8 become `\\xNN` (a JSON parser reads `\xNN`).

use crate::request_id::HEX;

/// Most bytes of the escape of one byte.
pub(crate) const GROWTH: usize = 6;

/// Appends the escaped `text` without quotes, truncated to `bytes_max` input bytes between characters.
///
/// Appends at most `bytes_max * GROWTH` bytes. About 5 ns for 40 plain bytes.
pub(crate) fn write_escaped(out: &mut Vec<u8>, text: &[u8], bytes_max: usize) {
    let mut rest = truncate(text, bytes_max);
    loop {
        let plain = plain_prefix(rest);
        out.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        let Some(&first) = rest.first() else { return };
        if first.is_ascii() {
            write_ascii(out, first);
            rest = &rest[1..];
        } else {
            let run = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
            write_run(out, &rest[..run]);
            rest = &rest[run..];
        }
    }
}

/// Truncates before the character that would not fit whole; in text that is not UTF-8, exactly at the limit.
fn truncate(text: &[u8], bytes_max: usize) -> &[u8] {
    if text.len() <= bytes_max {
        return text;
    }
    let is_continuation = |at: usize| text[at] & 0xc0 == 0x80;
    // A character has at most three continuation bytes.
    let cut = (bytes_max.saturating_sub(3)..=bytes_max).rev().find(|at| !is_continuation(*at));
    &text[..cut.unwrap_or(bytes_max)]
}

/// Returns the length of the prefix that needs no escape.
#[inline]
fn plain_prefix(text: &[u8]) -> usize {
    let (words, tail) = text.as_chunks::<8>();
    let plain = words.iter().take_while(|word| is_plain_word(u64::from_ne_bytes(**word))).count() * 8;
    if plain == text.len() - tail.len() {
        // Most texts are plain to the end: checks the tail as one more word, padded with plain bytes.
        let mut last = [b' '; 8];
        last[..tail.len()].copy_from_slice(tail);
        if is_plain_word(u64::from_ne_bytes(last)) {
            return text.len();
        }
    }
    plain + text[plain..].iter().take_while(|byte| is_plain(**byte)).count()
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

/// Returns whether eight bytes are all plain. Exact: borrows between bytes only begin at a byte that is not
/// plain.
#[inline]
fn is_plain_word(word: u64) -> bool {
    let any_zero = |x: u64| x.wrapping_sub(ONES) & !x;
    let controls = word.wrapping_sub(ONES * 0x20) & !word;
    let quotes = any_zero(word ^ (ONES * u64::from(b'"')));
    let backslashes = any_zero(word ^ (ONES * u64::from(b'\\')));
    let deletes = any_zero(word ^ (ONES * 0x7f));
    (word | controls | quotes | backslashes | deletes) & (ONES * 0x80) == 0
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);

fn write_ascii(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        byte => write_unit(out, u16::from(byte)),
    }
}

/// Appends a run of bytes that are not ASCII.
fn write_run(out: &mut Vec<u8>, run: &[u8]) {
    for chunk in run.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_deceptive(c) {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| write_unit(out, *unit));
            } else {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        for byte in chunk.invalid() {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'\\', b'x', high, low]);
        }
    }
}

fn write_unit(out: &mut Vec<u8>, unit: u16) {
    let digit = |shift: u16| HEX[usize::from(unit >> shift & 15)];
    out.extend_from_slice(&[b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}

/// Returns whether a character beyond ASCII is invisible or changes the display of its neighbours (Unicode
/// 16: Cc, Zl, Zp, most of Cf, and the blank letters).
fn is_deceptive(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}'         // C1 controls
        | '\u{ad}'                  // soft hyphen
        | '\u{34f}'                 // combining grapheme joiner
        | '\u{61c}'                 // Arabic letter mark
        | '\u{115f}' | '\u{1160}'   // Hangul fillers
        | '\u{17b4}' | '\u{17b5}'   // Khmer inherent vowels
        | '\u{180b}'..='\u{180f}'   // Mongolian selectors and vowel separator
        | '\u{200b}'..='\u{200f}'   // zero width space, joiners, direction marks
        | '\u{2028}'..='\u{202e}'   // line and paragraph separator, embeddings and overrides
        | '\u{2060}'..='\u{206f}'   // word joiner, invisible operators, isolates
        | '\u{2800}'                // blank Braille pattern
        | '\u{3164}' | '\u{ffa0}'   // Hangul fillers
        | '\u{feff}'                // byte order mark
        | '\u{fff0}'..='\u{fffb}'   // interlinear annotation
        | '\u{1bca0}'..='\u{1bca3}' // shorthand format controls
        | '\u{1d173}'..='\u{1d17a}' // musical format controls
        | '\u{e0000}'..='\u{e0fff}' // tags, variation selectors
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &[u8], bytes_max: usize) -> String {
        let mut out = Vec::new();
        write_escaped(&mut out, text, bytes_max);
        assert!(out.len() <= text.len().min(bytes_max) * GROWTH, "grew too much: {text:?}");
        String::from_utf8(out).expect("the output is UTF-8")
    }

    fn check(text: &[u8], expected: &str) {
        assert_eq!(escaped(text, 1000), expected, "{text:?}");
    }

    #[test]
    fn plain_text_and_other_scripts_are_unchanged() {
        for text in ["", "a", "/v1/users/123?", "bücher", "日本語", "emoji 😀", "Ω~!"] {
            check(text.as_bytes(), text);
        }
    }

    #[test]
    fn characters_that_end_strings_or_lines_are_escaped() {
        check(b"\"", "\\\"");
        check(b"\\", "\\\\");
        check(b"a\r\n{\"status\":200}", "a\\u000d\\u000a{\\\"status\\\":200}");
        check(b"\x1b[2K\x7f\0\t", "\\u001b[2K\\u007f\\u0000\\u0009");
        check("\u{85}\u{9b}31m\u{2028}\u{2029}".as_bytes(), "\\u0085\\u009b31m\\u2028\\u2029");
    }

    #[test]
    fn deceptive_characters_are_escaped() {
        for c in
            ['\u{61c}', '\u{200b}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{202a}', '\u{202e}', '\u{2060}']
                .into_iter()
                .chain(['\u{2066}', '\u{2069}', '\u{feff}', '\u{ad}', '\u{3164}'])
        {
            check(format!("a{c}b").as_bytes(), &format!("a\\u{:04x}b", u32::from(c)));
        }
        check("\u{e0041}".as_bytes(), "\\udb40\\udc41");
    }

    #[test]
    fn every_ascii_byte_is_plain_or_escaped_at_any_offset() {
        for byte in 0..=127u8 {
            let alone = match byte {
                b'"' => "\\\"".to_owned(),
                b'\\' => "\\\\".to_owned(),
                b' '..=b'~' => char::from(byte).to_string(),
                _ => format!("\\u{byte:04x}"),
            };
            for at in 0..20 {
                let mut text = [b'x'; 20];
                text[at] = byte;
                check(&text, &format!("{}{alone}{}", "x".repeat(at), "x".repeat(19 - at)));
            }
        }
    }

    #[test]
    fn invalid_utf8_is_shown_as_hex() {
        check(b"\xff", "\\\\xff");
        check(b"a\xc3", "a\\\\xc3");
        check(b"\xc3\xa9\xc3(", "é\\\\xc3(");
        check(b"\xed\xa0\x80", "\\\\xed\\\\xa0\\\\x80");
        check(b"\xf0\x9f\x98x", "\\\\xf0\\\\x9f\\\\x98x");
        check(b"\xc0\xaf", "\\\\xc0\\\\xaf");
    }

    #[test]
    fn a_long_text_is_truncated_between_characters() {
        assert_eq!(escaped(b"abcdef", 6), "abcdef");
        assert_eq!(escaped(b"abcdefg", 6), "abcdef");
        assert_eq!(escaped("abcdé".as_bytes(), 6), "abcdé");
        assert_eq!(escaped("abcdeé".as_bytes(), 6), "abcde");
        assert_eq!(escaped("abc😀".as_bytes(), 6), "abc");
        assert_eq!(escaped("abc😀".as_bytes(), 7), "abc😀");
        assert_eq!(escaped("😀".as_bytes(), 3), "");
        assert_eq!(escaped(&[0x80; 9], 6), "\\\\x80".repeat(6));
        assert_eq!(escaped(b"abc", 0), "");
    }

    proptest::proptest! {
        #[test]
        fn the_result_is_one_line_without_controls(text: Vec<u8>, bytes_max in 0usize..40) {
            let line = escaped(&text, bytes_max);
            proptest::prop_assert!(!line.chars().any(|c| c.is_control() || is_deceptive(c)));
            // Every quote is escaped: an odd number of backslashes stands before it.
            let mut backslashes = 0;
            for c in line.chars() {
                proptest::prop_assert!(c != '"' || backslashes % 2 == 1);
                backslashes = if c == '\\' { backslashes + 1 } else { 0 };
            }
            proptest::prop_assert!(backslashes % 2 == 0, "the closing quote stays a quote");
        }
    }
}
