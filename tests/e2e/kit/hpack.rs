//! HPACK (RFC 7541): a minimal encoder, and a complete decoder.

use std::collections::VecDeque;

/// Encodes a literal without indexing and Huffman (RFC 7541 §6.2.2).
pub(crate) fn literal(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    block.push(0);
    for text in [name, value] {
        integer(block, 0, 7, text.len());
        block.extend_from_slice(text);
    }
}

/// Integer with a prefix of `bits` bits (RFC 7541 §5.1).
pub(crate) fn integer(block: &mut Vec<u8>, first: u8, bits: u32, value: usize) {
    let max = (1 << bits) - 1;
    if value < max {
        return block.push(first | value as u8);
    }
    block.push(first | max as u8);
    let mut rest = value - max;
    while rest >= 128 {
        block.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    block.push(rest as u8);
}

/// Decoder of one connection.
#[derive(Default)]
pub(crate) struct Decoder {
    dynamic: VecDeque<(String, String)>,
}

impl Decoder {
    /// Decodes the fields of a block, or returns its error.
    pub(crate) fn decode(&mut self, mut block: &[u8]) -> Result<Vec<(String, String)>, String> {
        let mut fields = Vec::new();
        while let Some(&first) = block.first() {
            let field = if first & 0x80 != 0 {
                self.entry(take_integer(&mut block, 7)?)?
            } else if first & 0x40 != 0 {
                let field = self.literal(&mut block, 6)?;
                self.dynamic.push_front(field.clone());
                self.shrink();
                field
            } else if first & 0x20 != 0 {
                take_integer(&mut block, 5)?;
                continue;
            } else {
                self.literal(&mut block, 4)?
            };
            fields.push(field);
        }
        Ok(fields)
    }

    fn literal(&self, block: &mut &[u8], bits: u32) -> Result<(String, String), String> {
        let name = match take_integer(block, bits)? {
            0 => take_text(block)?,
            index => self.entry(index)?.0,
        };
        Ok((name, take_text(block)?))
    }

    fn entry(&self, index: usize) -> Result<(String, String), String> {
        match (index.checked_sub(1), index.checked_sub(1 + STATIC.len())) {
            (Some(at), None) => Ok((STATIC[at].0.into(), STATIC[at].1.into())),
            (_, Some(at)) => self.dynamic.get(at).cloned().ok_or(format!("no entry {index}")),
            (None, None) => Err("entry 0".into()),
        }
    }

    /// 4096 bytes, each entry with 32 more (RFC 7541 §4.1): the default table size.
    fn shrink(&mut self) {
        while self.dynamic.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>() > 4096 {
            self.dynamic.pop_back();
        }
    }
}

fn take_integer(block: &mut &[u8], bits: u32) -> Result<usize, String> {
    let max = (1 << bits) - 1;
    let (&first, rest) = block.split_first().ok_or("an integer is cut")?;
    *block = rest;
    let mut value = usize::from(first) & max;
    if value < max {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let (&byte, rest) = block.split_first().ok_or("an integer is cut")?;
        *block = rest;
        value += usize::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Ok(value);
        }
    }
    Err("an integer is too long".into())
}

fn take_text(block: &mut &[u8]) -> Result<String, String> {
    let is_coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = take_integer(block, 7)?;
    let (text, rest) = block.split_at_checked(length).ok_or("a text is cut")?;
    *block = rest;
    let bytes = if is_coded { decoded(text)? } else { text.to_vec() };
    Ok(bytes.into_iter().map(char::from).collect())
}

/// The Huffman code (RFC 7541 appendix B) is canonical: a symbol's code follows from its length and position.
fn decoded(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let (mut code, mut length) = (0u32, 0u32);
    for bit in text.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)) {
        code = code << 1 | u32::from(bit);
        length += 1;
        let mut first = 0u32;
        let mut last_length = 0;
        for (symbols_length, symbols) in HUFFMAN {
            first <<= symbols_length - last_length;
            last_length = *symbols_length;
            if length == *symbols_length && code >= first && ((code - first) as usize) < symbols.len() {
                bytes.push(symbols[(code - first) as usize]);
                (code, length) = (0, 0);
                break;
            }
            first += symbols.len() as u32;
        }
        if length > 30 {
            return Err("no symbol".into());
        }
    }
    // The rest is padding: fewer than eight bits, all ones.
    if length < 8 && code == (1 << length) - 1 { Ok(bytes) } else { Err("bad padding".into()) }
}

#[rustfmt::skip]
const HUFFMAN: &[(u32, &[u8])] = &[
    (5, &[48, 49, 50, 97, 99, 101, 105, 111, 115, 116]),
    (6, &[32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95, 98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117]),
    (7, &[58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118, 119, 120, 121, 122]),
    (8, &[38, 42, 44, 59, 88, 90]),
    (10, &[33, 34, 40, 41, 63]),
    (11, &[39, 43, 124]),
    (12, &[35, 62]),
    (13, &[0, 36, 64, 91, 93, 126]),
    (14, &[94, 125]),
    (15, &[60, 96, 123]),
    (19, &[92, 195, 208]),
    (20, &[128, 130, 131, 162, 184, 194, 224, 226]),
    (21, &[153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230]),
    (22, &[129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190, 196, 198, 228, 232, 233]),
    (23, &[1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158, 165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239]),
    (24, &[9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237]),
    (25, &[199, 207, 234, 235]),
    (26, &[192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255]),
    (27, &[203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254]),
    (28, &[2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127, 220, 249]),
    (30, &[10, 13, 22]),
];

#[rustfmt::skip]
const STATIC: &[(&str, &str)] = &[
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7541 §C.6.1 and §C.6.2: Huffman, literals that are indexed, and what was indexed before.
    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let mut decoder = Decoder::default();
        let first = decoder
            .decode(&[
                0x48, 0x82, 0x64, 0x02, 0x58, 0x85, 0xae, 0xc3, 0x77, 0x1a, 0x4b, 0x61, 0x96, 0xd0, 0x7a,
                0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04, 0x0b, 0x81, 0x66, 0xe0,
                0x82, 0xa6, 0x2d, 0x1b, 0xff, 0x6e, 0x91, 0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f,
                0x0b, 0x97, 0xc8, 0xe9, 0xae, 0x82, 0xae, 0x43, 0xd3,
            ])
            .unwrap();
        let expected = [
            (":status", "302"),
            ("cache-control", "private"),
            ("date", "Mon, 21 Oct 2013 20:13:21 GMT"),
            ("location", "https://www.example.com"),
        ];
        assert_eq!(first, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let second = decoder.decode(&[0x48, 0x83, 0x64, 0x0e, 0xff, 0xc1, 0xc0, 0xbf]).unwrap();
        assert_eq!(second[0].1, "307");
        assert_eq!(second[1..], first[1..]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut block = Vec::new();
        let long = "x".repeat(5000);
        for (name, value) in [(":path", "/a"), ("x", ""), ("long", long.as_str())] {
            literal(&mut block, name.as_bytes(), value.as_bytes());
        }
        let fields = Decoder::default().decode(&block).unwrap();
        assert_eq!(fields[2], ("long".to_owned(), long));
        assert_eq!((fields[0].1.as_str(), fields[1].1.as_str()), ("/a", ""));
    }
}
