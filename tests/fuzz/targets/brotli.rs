//! Encoder of brotli: the decoder of another implementation restores any data, in any pieces, with flushes.

use std::io::Read;

use ringway_compress::{Coding, Encoder};

pub(crate) fn check(bytes: &[u8]) {
    // The first byte is the size of the pieces, the second how often the data is repeated, with a change.
    let [size, times, data @ ..] = bytes else { return };
    let mut original = data.to_vec();
    for round in 0..times % 8 {
        original.push(round);
        original.extend_from_within(..);
        original.truncate(300_000);
    }
    let Ok(mut encoder) = Encoder::new(Coding::Br, 5) else { return };
    let mut coded = Vec::new();
    for (at, piece) in original.chunks(usize::from(*size) * 257 + 1).enumerate() {
        encoder.write(piece, &mut coded).expect("brotli never fails");
        if at % 3 == usize::from(*times) % 3 {
            encoder.flush(&mut coded).expect("brotli never fails");
        }
    }
    encoder.finish(&mut coded).expect("brotli never fails");
    let mut decoded = Vec::new();
    let mut decoder = brotli_decompressor::Decompressor::new(&*coded, 4096);
    decoder.read_to_end(&mut decoded).expect("another implementation decodes it");
    assert!(decoded == original, "{} bytes became {}", original.len(), decoded.len());
    // Stored blocks bound the growth: a few bytes for each block and flush.
    let flushes = original.len() / (usize::from(*size) * 257 + 1) + 2;
    assert!(
        coded.len() <= original.len() + 16 * (flushes + original.len() / 65_536),
        "{} bytes",
        coded.len()
    );
}
