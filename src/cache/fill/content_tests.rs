#![allow(clippy::unwrap_used)]

use super::*;

fn chunk(byte: u8) -> Bytes {
    Bytes::from(vec![byte; CHUNK_BYTES])
}

#[test]
fn pieces_are_read_before_their_chunk_is_whole_and_after() {
    let mut content = Content::default();
    content.push_chunk(chunk(1));
    content.push_piece(Bytes::from_static(b"abc"));
    content.push_piece(Bytes::from_static(b"de"));
    assert_eq!(content.len(), CHUNK + 5);
    assert_eq!(content.read(CHUNK - 1), Some(Bytes::from_static(&[1])));
    assert_eq!(content.read(CHUNK), Some(Bytes::from_static(b"abc")));
    assert_eq!(content.read(CHUNK + 2), Some(Bytes::from_static(b"c")));
    assert_eq!(content.read(CHUNK + 3), Some(Bytes::from_static(b"de")));
    assert_eq!(content.read(CHUNK + 5), None);
    assert_eq!(content.push_chunk(Bytes::from_static(b"abcdef")).len(), 2);
    assert_eq!(content.read(CHUNK + 2), Some(Bytes::from_static(b"cdef")));
    assert_eq!(content.len(), CHUNK + 6);
}

#[test]
fn an_offset_beyond_the_content_has_no_bytes() {
    let mut content = Content::default();
    assert_eq!(content.read(0), None);
    assert_eq!(content.read(u64::MAX), None);
    content.push_chunk(Bytes::from_static(b"x"));
    assert_eq!(content.read(1), None);
    assert_eq!(content.read(CHUNK), None);
}

#[test]
fn forgotten_chunks_keep_the_offsets_of_the_others() {
    let mut content = Content::default();
    (1..=3).for_each(|byte| drop(content.push_chunk(chunk(byte))));
    assert!(content.forget(CHUNK - 1).is_empty());
    assert_eq!(content.forget(2 * CHUNK + 1), [chunk(1), chunk(2)]);
    assert_eq!((content.start(), content.kept(), content.len()), (2 * CHUNK, CHUNK, 3 * CHUNK));
    assert_eq!(content.read(0), None);
    assert_eq!(content.read(2 * CHUNK), Some(chunk(3)));
    assert_eq!(content.chunks(), None, "not whole");
    content.push_piece(Bytes::from_static(b"end"));
    assert_eq!(content.read(3 * CHUNK), Some(Bytes::from_static(b"end")));
    assert_eq!(content.forget(u64::MAX).len(), 1);
}
