#![allow(clippy::unwrap_used)]

use std::io::Read;

use flate2::read::MultiGzDecoder;
use proptest::prelude::*;
use ringway_model::Coding;

use super::{Encoder, Kind};
use crate::limits::WINDOW_BITS;

pub(crate) fn decode(coding: Coding, coded: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    match coding {
        Coding::Gzip => {
            MultiGzDecoder::new(coded).read_to_end(&mut data).unwrap();
        }
        Coding::Br => {
            brotli_decompressor::Decompressor::new(coded, 4096).read_to_end(&mut data).unwrap();
        }
        Coding::Zstd => {
            let mut context = zstd_safe::DCtx::create();
            // Browsers accept more: 8 MiB (RFC 9659).
            context.set_parameter(zstd_safe::DParameter::WindowLogMax(WINDOW_BITS.into())).unwrap();
            let mut input = zstd_safe::InBuffer::around(coded);
            loop {
                data.reserve(64 * 1024);
                let at = data.len();
                let mut output = zstd_safe::OutBuffer::around_pos(&mut data, at);
                let left = context.decompress_stream(&mut output, &mut input).unwrap();
                if left == 0 {
                    assert_eq!(input.pos, coded.len(), "one frame");
                    break;
                }
                assert!(input.pos < coded.len() || data.len() > at, "the frame is complete");
            }
        }
    }
    data
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn decoded_data_is_the_original_in_any_pieces_and_with_any_flushes(
        pieces in proptest::collection::vec(
            (
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..3000),
                    "[a-d]{0,2000}".prop_map(String::into_bytes),
                    (any::<u8>(), 0_usize..150_000).prop_map(|(byte, count)| vec![byte; count]),
                    (0_u8..4, 0_usize..20_000).prop_map(|(from, count)| (from..=255).cycle().take(count).collect()),
                ],
                0_u8..4,
            ),
            0..12,
        ),
        level in 1_u8..=9,
    ) {
        let original: Vec<u8> = pieces.iter().flat_map(|(data, _)| data.iter().copied()).collect();
        for coding in Coding::ALL {
            let mut encoder = Encoder::new(coding, level).unwrap();
            // An encoder that was used for another body, up to a random place, is as new.
            let mut ignored = Vec::new();
            encoder.write(&original[..original.len() / 2], &mut ignored).unwrap();
            encoder.reset().unwrap();
            let mut coded = Vec::new();
            for (data, flushes) in &pieces {
                encoder.write(data, &mut coded).unwrap();
                for _ in 2..*flushes {
                    encoder.flush(&mut coded).unwrap();
                }
            }
            encoder.finish(&mut coded).unwrap();
            prop_assert!(decode(coding, &coded) == original, "{coding:?}");
        }
    }
}

#[test]
fn a_body_without_bytes_is_valid_in_each_coding() {
    for coding in Coding::ALL {
        let (mut encoder, mut coded) = (Encoder::new(coding, 5).unwrap(), Vec::new());
        encoder.finish(&mut coded).unwrap();
        assert!(!coded.is_empty());
        assert_eq!(decode(coding, &coded), b"", "{coding:?}");
    }
}

#[test]
fn a_flush_makes_what_was_written_readable() {
    for coding in Coding::ALL {
        let (mut encoder, mut coded) = (Encoder::new(coding, 5).unwrap(), Vec::new());
        let mut sent = Vec::new();
        for number in 0..50 {
            let event = format!("data: {number}\n\n");
            sent.extend_from_slice(event.as_bytes());
            encoder.write(event.as_bytes(), &mut coded).unwrap();
            encoder.flush(&mut coded).unwrap();
            assert_eq!(decode_begun(coding, &coded, sent.len()), sent, "{coding:?}");
        }
    }
}

/// Decodes the first `count` bytes of a stream that goes on.
fn decode_begun(coding: Coding, coded: &[u8], count: usize) -> Vec<u8> {
    let mut data = vec![0; count];
    match coding {
        Coding::Gzip => MultiGzDecoder::new(coded).read_exact(&mut data).unwrap(),
        Coding::Br => brotli_decompressor::Decompressor::new(coded, 4096).read_exact(&mut data).unwrap(),
        Coding::Zstd => {
            let mut output = zstd_safe::OutBuffer::around(&mut data[..]);
            let mut input = zstd_safe::InBuffer::around(coded);
            zstd_safe::DCtx::create().decompress_stream(&mut output, &mut input).unwrap();
            assert_eq!(output.pos(), count);
        }
    }
    data
}

#[test]
fn states_are_no_larger_than_they_are_counted() {
    let mut encoder = Encoder::new(Coding::Zstd, 5).unwrap();
    let mut out = Vec::new();
    for _ in 0..100 {
        encoder.write(&[b'x'; 10_000], &mut out).unwrap();
    }
    let Kind::Zstd(context) = &encoder.0 else { panic!("an encoder of zstd") };
    let bytes = context.sizeof();
    let counted = Encoder::memory_bytes(Coding::Zstd);
    assert!(bytes <= counted && bytes > counted / 2, "{bytes} of {counted}");
}
