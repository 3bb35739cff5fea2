//! A chunked body, whole and in pieces whose length the first byte gives: the same verdict and, if it ended, the
//! same bytes; if it did not, what was passed on must not look complete.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringway_wire::h1::{BodyError, BodyState, ChunkMode, ChunkedBody};

fn relay(mode: ChunkMode, bytes: &[u8], piece_len: usize) -> (Vec<u8>, Result<BodyState, BodyError>) {
    let mut body = ChunkedBody::new(mode);
    let (mut out, mut buf) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece_len) {
        buf.extend_from_slice(piece);
        match body.feed(&mut buf) {
            Ok(fed) => {
                out.extend_from_slice(&buf[..fed.kept]);
                buf.drain(..fed.consumed);
                if fed.state == BodyState::Done {
                    return (out, Ok(BodyState::Done));
                }
            }
            Err(error) => return (out, Err(error)),
        }
    }
    (out, Ok(BodyState::More))
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&piece_len, bytes)) = bytes.split_first() else { return };
    let piece_len = usize::from(piece_len).max(1);
    for mode in [ChunkMode::Forward, ChunkMode::Decode] {
        let whole = relay(mode, bytes, bytes.len().max(1));
        let pieces = relay(mode, bytes, piece_len);
        assert_eq!(pieces.1, whole.1);
        if whole.1.is_ok() {
            assert_eq!(pieces.0, whole.0);
        }
    }
    let (out, result) = relay(ChunkMode::Forward, bytes, piece_len);
    let expected = if result == Ok(BodyState::Done) { BodyState::Done } else { BodyState::More };
    assert_eq!(relay(ChunkMode::Forward, &out, out.len().max(1)).1, Ok(expected));
});
