#![allow(clippy::unwrap_used)]

use std::io::Read;

use super::Brotli;

fn decode(coded: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    brotli_decompressor::Decompressor::new(coded, 4096).read_to_end(&mut data).unwrap();
    data
}

/// Encodes pieces; a flush behind each where `flushes`.
fn encode(brotli: &mut Brotli, pieces: &[&[u8]], flushes: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        brotli.write(piece, &mut out);
        if flushes {
            brotli.flush(&mut out);
        }
    }
    brotli.finish(&mut out);
    out
}

fn check(data: &[u8]) -> usize {
    let mut brotli = Brotli::default();
    let whole = encode(&mut brotli, &[data], false);
    assert!(decode(&whole) == data, "{} bytes", data.len());
    brotli.reset();
    let pieces: Vec<&[u8]> = data.chunks(777).collect();
    assert!(decode(&encode(&mut brotli, &pieces, false)) == data, "{} bytes in pieces", data.len());
    brotli.reset();
    assert!(decode(&encode(&mut brotli, &pieces, true)) == data, "{} bytes with flushes", data.len());
    brotli.reset();
    assert_eq!(encode(&mut brotli, &[data], false), whole, "after a reset it is as new");
    whole.len()
}

/// Pseudo-random numbers below `below`.
fn random(count: usize, below: u32) -> Vec<u8> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 16) % below) as u8
    };
    (0..count).map(next).collect()
}

fn text(bytes: usize) -> Vec<u8> {
    let words = ["id", "name", "true", "\"value\": ", "{\n  ", "}, ", "customer", "2026-11-30T10:42:16Z"];
    let order = random(bytes, 8).into_iter().zip(random(bytes + 7, 250).into_iter().skip(7));
    let text = order.flat_map(|(word, number)| format!("{}{number}", words[usize::from(word)]).into_bytes());
    text.take(bytes).collect()
}

#[test]
fn every_kind_of_data_is_decoded_to_itself() {
    for data in [
        Vec::new(),
        b"a".to_vec(),
        b"ab".to_vec(),
        b"abc".to_vec(),
        b"abcd".to_vec(),
        b"abcde".to_vec(),
        vec![b'x'; 5],
        vec![b'x'; 100],
        vec![b'x'; 65_536],
        vec![b'x'; 65_537],
        vec![b'x'; 700_000],
        (0..=255).collect(),
        (0..=255).cycle().take(70_000).collect(),
        random(10, 256),
        random(10_000, 256),
        random(300_000, 256),
        random(50_000, 2),
        random(50_000, 3),
        random(50_000, 4),
        random(50_000, 5),
        text(1_000),
        text(16_384),
        text(65_536),
        text(65_535),
        text(1_000_000),
        [random(70_000, 256), text(70_000), random(66_000, 256), text(140_000)].concat(),
    ] {
        check(&data);
    }
}

#[test]
fn repetition_makes_data_small_and_noise_makes_it_no_larger() {
    assert!(check(&vec![b'x'; 700_000]) < 300);
    let size = check(&text(65_536));
    assert!(size < 65_536 / 3, "{size}");
    let size = check(&random(65_536, 256));
    assert!(size < 65_536 + 16, "{size}");
    // Beyond the window nothing is found, and within it everything.
    let noise = random(120_000, 256);
    let size = check(&noise.repeat(4));
    assert!(size < 150_000, "{size}");
}

#[test]
fn a_flush_brings_everything_out() {
    let (mut brotli, mut out) = (Brotli::default(), Vec::new());
    for event in ["data: 1\n\n", "data: 2\n\n", "", "data: 3\n\n"] {
        brotli.write(event.as_bytes(), &mut out);
        brotli.flush(&mut out);
        let mut got = vec![0; 100];
        // Fails at the end, as the stream goes on; what it had is there.
        let mut decoder = brotli_decompressor::Decompressor::new(&*out, 4096);
        let count = decoder.read(&mut got).unwrap();
        assert!(got[..count].ends_with(if event.is_empty() { b"data: 2\n\n" } else { event.as_bytes() }));
    }
    let before = out.len();
    brotli.flush(&mut out);
    assert_eq!(out.len(), before, "nothing is held");
}

#[test]
fn a_flush_before_the_first_byte_writes_nothing() {
    let (mut brotli, mut out) = (Brotli::default(), Vec::new());
    brotli.flush(&mut out);
    assert_eq!(out, b"");
    brotli.write(b"hello", &mut out);
    brotli.finish(&mut out);
    assert_eq!(decode(&out), b"hello");
}
