//! A chunked body, whole and in pieces whose length the first byte gives: the same verdict and, if it ended,
//! the same bytes, which another reader finds too; if it did not end, what was passed on must not look
//! complete.

use ringway_wire::h1::{BodyError, BodyState, ChunkMode, ChunkedBody};

pub(crate) fn check(bytes: &[u8]) {
    let Some((&piece_len, bytes)) = bytes.split_first() else { return };
    let piece_len = usize::from(piece_len).max(1);
    for mode in [ChunkMode::Forward, ChunkMode::Decode] {
        let whole = relay(mode, bytes, bytes.len().max(1));
        let pieces = relay(mode, bytes, piece_len);
        assert_eq!(pieces.1, whole.1, "in pieces and whole");
        if whole.1.is_ok() {
            assert_eq!(pieces.0, whole.0, "in pieces and whole");
        }
        if mode == ChunkMode::Decode && whole.1 == Ok(BodyState::Done) {
            assert_eq!(decode(bytes), Some(whole.0), "another reader");
        }
    }
    let (out, result) = relay(ChunkMode::Forward, bytes, piece_len);
    let (again, seen) = relay(ChunkMode::Forward, &out, out.len().max(1));
    if result == Ok(BodyState::Done) {
        assert_eq!((seen, &again), (Ok(BodyState::Done), &out), "passed on twice");
        assert_eq!(decode(&out), decode(bytes), "passed on");
    } else {
        assert_eq!(seen, Ok(BodyState::More), "a broken body looks complete");
    }
}

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

/// The data of a whole body, read with httparse's sizes.
fn decode(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((at, size))) = httparse::parse_chunk_size(bytes) else {
            return None;
        };
        if size == 0 {
            return Some(data);
        }
        let (chunk, rest) = bytes.get(at..)?.split_at_checked(usize::try_from(size).ok()?)?;
        data.extend_from_slice(chunk);
        bytes = rest.strip_prefix(b"\r\n")?;
    }
}
