//! Chunked bodies: RFC 9112 §6.2, §7.1.

use ringway_wire::h1::{
    BodyError, BodyState, CHUNK_END, CHUNK_EXTENSION_BYTES_MAX, CHUNK_EXTENSIONS_BYTES_MAX, ChunkMode,
    ChunkedBody, HELD_BYTES_MAX, HeadFault, LAST_CHUNK, TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX, chunk_head,
    field_lines,
};

/// Forwarded bytes, unread bytes, and the end of the body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Relayed {
    pub(crate) out: Vec<u8>,
    pub(crate) rest: Vec<u8>,
    pub(crate) result: Result<BodyState, BodyError>,
}

/// Feeds pieces that end at the given offsets, as a relay does: unread bytes precede the next piece.
pub(crate) fn relay(mode: ChunkMode, bytes: &[u8], cuts: impl IntoIterator<Item = usize>) -> Relayed {
    let mut body = ChunkedBody::new(mode);
    let (mut out, mut buf, mut at) = (Vec::new(), Vec::new(), 0);
    for end in cuts.into_iter().chain([bytes.len()]) {
        buf.extend_from_slice(&bytes[at..end]);
        at = end;
        match body.feed(&mut buf) {
            Ok(fed) => {
                assert!(fed.kept <= fed.consumed && fed.consumed <= buf.len());
                out.extend_from_slice(&buf[..fed.kept]);
                buf.drain(..fed.consumed);
                if fed.state == BodyState::Done {
                    assert!(body.is_done());
                    buf.extend_from_slice(&bytes[at..]);
                    return Relayed { out, rest: buf, result: Ok(BodyState::Done) };
                }
                assert!(buf.len() < HELD_BYTES_MAX, "{} bytes held", buf.len());
            }
            Err(error) => return Relayed { out, rest: Vec::new(), result: Err(error) },
        }
    }
    Relayed { out, rest: buf, result: Ok(BodyState::More) }
}

/// Feeds the bytes at once, byte by byte, and in two pieces split at every position; all give the same
/// result.
fn relay_all_ways(mode: ChunkMode, bytes: &[u8]) -> Relayed {
    let whole = relay(mode, bytes, []);
    let check = |other: Relayed, how: &str| {
        assert_eq!(other.result, whole.result, "{how}");
        if whole.result.is_ok() {
            assert_eq!(other, whole, "{how}");
        }
    };
    check(relay(mode, bytes, 0..bytes.len()), "byte by byte");
    for cut in 0..bytes.len() {
        check(relay(mode, bytes, [cut]), &format!("cut at {cut}"));
    }
    whole
}

fn forwarded(bytes: &str) -> String {
    let relayed = relay_all_ways(ChunkMode::Forward, bytes.as_bytes());
    assert_eq!(relayed.result, Ok(BodyState::Done), "{bytes:?}");
    assert_eq!(relayed.rest, b"");
    String::from_utf8(relayed.out).unwrap()
}

fn decoded(bytes: &str) -> String {
    let relayed = relay_all_ways(ChunkMode::Decode, bytes.as_bytes());
    assert_eq!(relayed.result, Ok(BodyState::Done), "{bytes:?}");
    String::from_utf8(relayed.out).unwrap()
}

fn refused(bytes: &str) -> BodyError {
    let forward = relay_all_ways(ChunkMode::Forward, bytes.as_bytes()).result;
    assert_eq!(relay_all_ways(ChunkMode::Decode, bytes.as_bytes()).result, forward);
    forward.err().unwrap_or_else(|| panic!("accepted: {bytes:?}"))
}

#[test]
fn canonical_bodies_are_unchanged() {
    for bytes in
        ["0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "1\r\na\r\nA\r\n0123456789\r\nb\r\n0123456789a\r\n0\r\n\r\n"]
    {
        assert_eq!(forwarded(bytes), bytes);
    }
    assert_eq!(decoded("5\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n"), "hello world");
    assert_eq!(decoded("0\r\n\r\n"), "");
}

#[test]
fn separate_mode_returns_data_and_trailer_lines() {
    let bytes = "5\r\nhello\r\n0\r\ngrpc-status: 0\r\nContent-Length: 9\r\ngrpc-message: a b\r\n\r\nnext";
    let lines = "grpc-status: 0\r\ngrpc-message: a b\r\n";
    let relayed = relay_all_ways(ChunkMode::Separate, bytes.as_bytes());
    assert_eq!((relayed.result, relayed.rest), (Ok(BodyState::Done), b"next".to_vec()));
    assert_eq!(relayed.out, format!("hello{lines}").into_bytes());

    let mut buf = bytes.as_bytes().to_vec();
    let fed = ChunkedBody::new(ChunkMode::Separate).feed(&mut buf).unwrap();
    let fields: Vec<_> = field_lines(&buf[fed.kept - fed.trailers..fed.kept])
        .map(|field| (field.name.to_vec(), field.value.to_vec()))
        .collect();
    assert_eq!(
        fields,
        [(b"grpc-status".to_vec(), b"0".to_vec()), (b"grpc-message".to_vec(), b"a b".to_vec())]
    );
    let mut buf = b"5\r\nhello\r\n0\r\n\r\n".to_vec();
    assert_eq!(ChunkedBody::new(ChunkMode::Separate).feed(&mut buf).unwrap().trailers, 0);
}

#[test]
fn bytes_of_the_next_message_are_not_consumed() {
    for mode in [ChunkMode::Forward, ChunkMode::Decode, ChunkMode::Separate] {
        let relayed = relay_all_ways(mode, b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n");
        assert_eq!((relayed.result, relayed.rest), (Ok(BodyState::Done), b"GET / HTTP/1.1\r\n".to_vec()));
    }
}

#[test]
fn extensions_and_leading_zeros_are_stripped_rfc9112_7_1_1() {
    assert_eq!(forwarded("5;a=b\r\nhello\r\n0;last\r\n\r\n"), "5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(forwarded("5 \t;a=\"q;\\\" \"\r\nhello\r\n00000\r\n\r\n"), "5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(forwarded("0000000000000005\r\nhello\r\n0\r\n\r\n"), "5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(decoded("5;a\r\nhello\r\n0;b\r\n\r\n"), "hello");
}

#[test]
fn extensions_are_bounded() {
    let with = |len: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(len - 1));
    assert_eq!(forwarded(&with(CHUNK_EXTENSION_BYTES_MAX)), "1\r\nx\r\n0\r\n\r\n");
    assert_eq!(refused(&with(CHUNK_EXTENSION_BYTES_MAX + 1)), BodyError::ExtensionsTooLarge);
    assert_eq!(refused(&with(1000)), BodyError::SizeLineTooLong);

    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(255));
    let count = CHUNK_EXTENSIONS_BYTES_MAX / 256;
    let all = |n: usize| format!("{}0\r\n\r\n", chunk.repeat(n));
    assert_eq!(relay(ChunkMode::Forward, all(count).as_bytes(), []).result, Ok(BodyState::Done));
    assert_eq!(
        relay(ChunkMode::Forward, all(count + 1).as_bytes(), []).result,
        Err(BodyError::ExtensionsTooLarge)
    );
}

#[test]
fn sizes_rfc9112_7_1() {
    for (line, error) in [
        ("", BodyError::BadSizeLine),
        (" 5", BodyError::BadSizeLine),
        ("5 ", BodyError::BadSizeLine),
        ("+5", BodyError::BadSizeLine),
        ("-5", BodyError::BadSizeLine),
        ("0x5", BodyError::BadSizeLine),
        ("5g", BodyError::BadSizeLine),
        (";a", BodyError::BadSizeLine),
        ("5 x;a", BodyError::BadSizeLine),
        ("5\r", BodyError::BadSizeLine),
        ("5;a\rb", BodyError::BadSizeLine),
        ("5;a\0", BodyError::BadSizeLine),
        ("8000000000000000", BodyError::SizeTooLarge),
        ("ffffffffffffffff", BodyError::SizeTooLarge),
        ("00000000000000005", BodyError::SizeTooLarge),
        ("10000000000000005", BodyError::SizeTooLarge),
    ] {
        assert_eq!(refused(&format!("{line}\r\nhello\r\n0\r\n\r\n")), error, "{line:?}");
    }
    assert_eq!(refused("5\nhello\r\n0\r\n\r\n"), BodyError::BadSizeLine, "bare LF");
    let largest = relay(ChunkMode::Forward, b"7fffffffffffffff\r\nx", []);
    assert_eq!((largest.result, largest.out), (Ok(BodyState::More), b"7fffffffffffffff\r\nx".to_vec()));
}

#[test]
fn data_ends_where_its_size_says() {
    for bytes in
        ["5\r\nhelloX\r\n", "5\r\nhello\n", "5\r\nhello\rX", "4\r\nhello\r\n0\r\n\r\n", "5\r\nhello0\r\n\r\n"]
    {
        assert_eq!(refused(bytes), BodyError::BadChunkEnd, "{bytes:?}");
    }
}

#[test]
fn forbidden_trailers_are_dropped_rfc9110_6_5_1() {
    let body = "1\r\nx\r\n0\r\nContent-Length: 5\r\nX-Checksum: 1\r\nTransfer-Encoding: chunked\r\nHost: evil\r\n\
        X-Tenant-ID: t\r\nx-forwarded-for: 1\r\nX_Real_IP: 1\r\nAuthorization: x\r\nConnection: x\r\nContent-Type: x\r\n\
        Content-Digest: d\r\nIf-Match: x\r\nSet-Cookie: x\r\nCache-Control: x\r\nTrailer: x\r\ngrpc-status: 0\r\n\r\n";
    assert_eq!(
        forwarded(body),
        "1\r\nx\r\n0\r\nX-Checksum: 1\r\nContent-Digest: d\r\ngrpc-status: 0\r\n\r\n"
    );
    assert_eq!(forwarded("0;e\r\nHost: x\r\n\r\n"), "0\r\n\r\n");
}

#[test]
fn refused_trailers_are_dropped_in_each_form() {
    for (mode, kept) in [
        (ChunkMode::Forward, "1\r\nx\r\n0\r\nX-Checksum: 1\r\n\r\n"),
        (ChunkMode::Separate, "xX-Checksum: 1\r\n"),
        (ChunkMode::Decode, "x"),
    ] {
        let mut buf = b"1\r\nx\r\n0\r\nX-User: root\r\nX-Checksum: 1\r\nx-user: root\r\n\r\n".to_vec();
        let refused = |name: &[u8]| name.eq_ignore_ascii_case(b"x-user");
        let fed = ChunkedBody::new(mode).feed_refusing(&mut buf, &refused).unwrap();
        assert_eq!(fed.state, BodyState::Done);
        assert_eq!(String::from_utf8_lossy(&buf[..fed.kept]), kept, "{mode:?}");
    }
}

#[test]
fn trailers_are_validated_and_bounded() {
    for (line, fault) in [
        ("X: a\n", HeadFault::BareLf),
        ("X : a\r\n", HeadFault::SpaceBeforeColon),
        (": a\r\n", HeadFault::EmptyFieldName),
        ("X\r\n", HeadFault::MissingColon),
        (" x\r\n", HeadFault::ObsFold),
        ("X: a\0\r\n", HeadFault::BadFieldValue),
        ("\n", HeadFault::BareLf),
    ] {
        assert_eq!(refused(&format!("1\r\nx\r\n0\r\n{line}\r\n")), BodyError::BadTrailer(fault), "{line:?}");
    }
    let fields = |n: usize| format!("0\r\n{}\r\n", "X: y\r\n".repeat(n));
    assert_eq!(forwarded(&fields(TRAILER_FIELDS_MAX)), fields(TRAILER_FIELDS_MAX));
    assert_eq!(refused(&fields(TRAILER_FIELDS_MAX + 1)), BodyError::TrailersTooLarge);
    // The section has the field, its line end and the empty line.
    let bytes = |n: usize| format!("0\r\nX: {}\r\n\r\n", "y".repeat(n - "X: \r\n\r\n".len()));
    let whole = |text: String| relay(ChunkMode::Forward, text.as_bytes(), 0..text.len()).result;
    assert_eq!(whole(bytes(TRAILER_BYTES_MAX)), Ok(BodyState::Done));
    assert_eq!(whole(bytes(TRAILER_BYTES_MAX + 1)), Err(BodyError::TrailersTooLarge));
}

#[test]
fn a_truncated_body_never_looks_complete() {
    let bytes = b"3;x\r\nabc\r\n2\r\n0\r\r\n0;end\r\nX-T: 1\r\nHost: a\r\n\r\n";
    assert_eq!(relay(ChunkMode::Forward, bytes, []).result, Ok(BodyState::Done));
    for end in 0..bytes.len() {
        let cut = relay(ChunkMode::Forward, &bytes[..end], 0..end);
        assert_eq!(cut.result, Ok(BodyState::More), "cut at {end}");
        // A second reader of the forwarded bytes still waits for more.
        assert_eq!(relay(ChunkMode::Forward, &cut.out, []).result, Ok(BodyState::More), "cut at {end}");
        assert!(!cut.out.ends_with(LAST_CHUNK), "cut at {end}");
    }
}

#[test]
fn a_body_with_malformed_last_lines_never_looks_complete() {
    for tail in [
        "0\r\nX : y\r\n\r\n",
        "0\r\n\n",
        "0\n\r\n",
        "0 \r\n\r\n",
        "0x\r\n\r\n",
        "\r\n\r\n",
        "00000000000000000\r\n\r\n",
    ] {
        let bytes = format!("3\r\nabc\r\n{tail}");
        for relayed in [
            relay(ChunkMode::Forward, bytes.as_bytes(), 0..bytes.len()),
            relay(ChunkMode::Forward, bytes.as_bytes(), [8]),
        ] {
            assert!(relayed.result.is_err(), "{tail:?}");
            assert_eq!(relay(ChunkMode::Forward, &relayed.out, []).result, Ok(BodyState::More), "{tail:?}");
        }
    }
}

#[test]
fn data_is_counted_without_the_coding() {
    let mut body = ChunkedBody::new(ChunkMode::Forward);
    let mut buf = *b"A;x\r\n01234";
    let fed = body.feed(&mut buf).unwrap();
    assert_eq!((fed.kept, fed.consumed, &buf[..fed.kept]), (8, 10, b"A\r\n01234".as_slice()));
    assert_eq!((body.data_bytes(), body.data_left()), (5, 5));
    let mut buf = *b"56789\r\n0\r\n\r\n";
    assert_eq!(body.feed(&mut buf).unwrap().state, BodyState::Done);
    assert_eq!((body.data_bytes(), body.data_left()), (10, 0));
    assert_eq!(body.feed(&mut [1, 2, 3]).unwrap().consumed, 0, "a finished body consumes nothing");
}

#[test]
fn encoded_chunks_are_read_back() {
    assert_eq!(&*chunk_head(0), b"");
    assert_eq!(&*chunk_head(1), b"1\r\n");
    assert_eq!(&*chunk_head(0xabc0), b"abc0\r\n");
    assert_eq!(&*chunk_head(usize::MAX), b"ffffffffffffffff\r\n");
    let data = vec![b'x'; 70_000];
    let mut bytes = Vec::new();
    for piece in data.chunks(33_000) {
        bytes.extend_from_slice(&chunk_head(piece.len()));
        bytes.extend_from_slice(piece);
        bytes.extend_from_slice(CHUNK_END);
    }
    bytes.extend_from_slice(LAST_CHUNK);
    let relayed = relay(ChunkMode::Decode, &bytes, []);
    assert_eq!((relayed.out, relayed.result), (data, Ok(BodyState::Done)));
}
