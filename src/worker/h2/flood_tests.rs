use super::super::frames::*;
use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const NOW: Tick = Tick(1_000_000);

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    frame_of(1, kind, flags, payload)
}

fn frame_of(stream: u32, kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn guard() -> FloodGuard {
    let mut guard = FloodGuard::new(NOW);
    assert!(passes(&mut guard, PREFACE));
    // SETTINGS are counted.
    guard.has_settings = true;
    guard
}

/// Whether all bytes pass.
fn passes(guard: &mut FloodGuard, bytes: &[u8]) -> bool {
    guard.on_read(bytes, NOW) == bytes.len()
}

/// Reads the frame until it violates a limit; returns how often it was allowed, and the violation.
fn allowed(guard: &mut FloodGuard, bytes: &[u8]) -> (u32, Option<Violation>) {
    for count in 0..20_000 {
        if !passes(guard, bytes) {
            return (count, guard.violation());
        }
    }
    (20_000, None)
}

#[test]
fn each_type_of_frame_has_its_limit() {
    for (bytes, bound, violation) in [
        (frame(RST_STREAM, 0, &8u32.to_be_bytes()), crate::limits::H2_RESETS_MAX, Violation::Resets),
        (frame(CONTINUATION, 0, b""), crate::limits::H2_CONTINUATIONS_MAX, Violation::Continuations),
        (frame(CONTINUATION, 0, &[7; 300]), crate::limits::H2_CONTINUATIONS_MAX, Violation::Continuations),
        (frame(DATA, 0, b""), crate::limits::H2_EMPTY_DATA_MAX, Violation::EmptyData),
        // Padding is no data.
        (frame(DATA, PADDED, &[0]), crate::limits::H2_EMPTY_DATA_MAX, Violation::EmptyData),
        (
            frame(DATA, PADDED, &[[255].as_slice(), &[0; 255]].concat()),
            crate::limits::H2_EMPTY_DATA_MAX,
            Violation::EmptyData,
        ),
        (frame(PING, 0, &[0; 8]), crate::limits::H2_PINGS_MAX, Violation::Pings),
        (frame(SETTINGS, 0, b""), crate::limits::H2_SETTINGS_MAX, Violation::Settings),
        (frame(2, 0, &[0; 5]), crate::limits::H2_IDLE_FRAMES_MAX, Violation::Idle),
        (frame(99, 0, &[0; 5]), crate::limits::H2_IDLE_FRAMES_MAX, Violation::Idle),
        (
            frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]),
            crate::limits::H2_WINDOW_UPDATES_MAX,
            Violation::WindowUpdates,
        ),
    ] {
        assert_eq!(allowed(&mut guard(), &bytes), (bound, Some(violation)), "{violation:?}");
    }
}

#[test]
fn a_frame_of_invalid_size_is_a_violation_rfc9113_4_2() {
    const PUSH_PROMISE: u8 = 5;
    for (kind, flags, valid, invalid) in [
        (DATA, 0, &[0, 1, 16_384][..], &[16_385][..]),
        (DATA, PADDED, &[1, 2, 16_384], &[0, 16_385]),
        (HEADERS, 4, &[0, 1, 16_384], &[16_385]),
        (HEADERS, 4 | PADDED, &[1], &[0]),
        (HEADERS, 4 | WITH_PRIORITY, &[5, 6], &[0, 4]),
        (HEADERS, 4 | PADDED | WITH_PRIORITY, &[6], &[5]),
        (PRIORITY, 0, &[5], &[0, 4, 6]),
        (RST_STREAM, 0, &[4], &[0, 3, 5]),
        (SETTINGS, 0, &[0, 6, 12], &[1, 5, 7]),
        (SETTINGS, ACK, &[0], &[1, 6]),
        (PUSH_PROMISE, 0, &[0, 4], &[16_385]),
        (PING, 0, &[8], &[0, 7, 9]),
        (PING, ACK, &[8], &[0, 7, 9]),
        (GOAWAY, 0, &[8, 9], &[0, 7]),
        (WINDOW_UPDATE, 0, &[4], &[0, 3, 5]),
        (CONTINUATION, 4, &[0, 16_384], &[16_385]),
        (99, 0xff, &[0, 1, 16_384], &[16_385]),
    ] {
        for (lengths, expected) in [(valid, None), (invalid, Some(Violation::FrameSize))] {
            for &length in lengths {
                let mut guard = guard();
                let is_good = passes(&mut guard, &frame(kind, flags, &vec![0; length]));
                assert_eq!(
                    (is_good, guard.violation()),
                    (expected.is_none(), expected),
                    "{kind} {flags} {length}"
                );
            }
        }
    }
}

#[test]
fn usual_requests_exceed_no_limit() {
    let requests: [fn(u32) -> Vec<u8>; 5] = [
        |stream| frame_of(stream, HEADERS, 5, b"x"),
        |stream| [frame_of(stream, HEADERS, 4, b"x"), frame_of(stream, DATA, 0, b"x")].concat(),
        |stream| [frame_of(stream, HEADERS, 4, b"x"), frame_of(stream, DATA, END_STREAM, b"")].concat(),
        // Half of the requests are reset: a gateway that hedges.
        |stream| {
            let reset = frame_of(stream, RST_STREAM, 0, &8u32.to_be_bytes());
            [frame_of(stream, HEADERS, 5, b"x"), frame_of(stream + 2, HEADERS, 5, b"x"), reset].concat()
        },
        // A priority and a cut header block with each request.
        |stream| {
            let rest = [frame_of(stream, CONTINUATION, 4, b"y"), frame(16, 0, b"u=1")].concat();
            [frame_of(stream, HEADERS, 1, b"x"), rest].concat()
        },
    ];
    for request in requests {
        let mut guard = guard();
        for number in 0..20_000 {
            assert!(passes(&mut guard, &request(4 * number + 1)), "{:?}", guard.violation());
        }
    }
}

#[test]
fn only_settings_may_follow_the_preface_rfc9113_3_4() {
    for kind in [DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION, 99]
    {
        let mut guard = FloodGuard::new(NOW);
        let passed =
            guard.on_read(&[PREFACE, &frame(kind, 0, &[0; 6]), &frame(PING, 0, &[0; 8])].concat(), NOW);
        match kind {
            SETTINGS => assert_eq!((passed, guard.violation()), (PREFACE.len() + 15 + 17, None)),
            _ => assert_eq!((passed, guard.violation()), (PREFACE.len(), Some(Violation::Preface)), "{kind}"),
        }
    }
}

#[test]
fn refuses_windows_above_the_maximum_rfc9113_6_5_2() {
    for (payload, is_good) in [
        (&[0, 4, 0x7f, 0xff, 0xff, 0xff][..], true),
        (&[0, 4, 0x80, 0, 0, 0], false),
        (&[0, 4, 0xff, 0xff, 0xff, 0xff], false),
        (&[0, 3, 0, 0, 0, 1, 0, 4, 0x80, 0, 0, 0], false),
        (&[0, 4, 0, 0, 0, 1, 0, 4, 0x80, 0, 0, 0], false),
        // Other settings may have any value, or are checked by the crate.
        (&[0, 3, 0xff, 0xff, 0xff, 0xff], true),
        (&[4, 4, 0xff, 0xff, 0xff, 0xff], true),
        (&[0, 1, 0xff, 0, 0, 4, 0, 1, 0xff, 0, 0, 4], true),
    ] {
        let bytes = [frame(PING, 0, &[0; 8]), frame(SETTINGS, 0, payload), frame(PING, 0, &[0; 8])].concat();
        for step in 1..=bytes.len() {
            let mut guard = guard();
            let is_all = bytes.chunks(step).all(|piece| passes(&mut guard, piece));
            let expected = (!is_good).then_some(Violation::FlowControl);
            assert_eq!((is_all, guard.violation()), (is_good, expected), "{payload:?} in pieces of {step}");
        }
        let mut guard = guard();
        assert_eq!(guard.on_read(&bytes, NOW), if is_good { bytes.len() } else { 17 }, "{payload:?}");
        // Only SETTINGS have settings.
        assert!(passes(&mut self::guard(), &frame(DATA, 0, payload)));
    }
}

#[test]
fn refuses_frames_of_a_request_after_its_end_rfc9113_5_1() {
    let get = frame(HEADERS, 5, b"x");
    let post = [frame(HEADERS, 4, b"x"), frame(DATA, END_STREAM, b"y")].concat();
    let trailers = [frame(HEADERS, 4, b"x"), frame(DATA, 0, b"y"), frame(HEADERS, 5, b"z")].concat();
    for request in [&get, &post, &trailers] {
        for more in [frame(DATA, 0, b"x"), frame(DATA, END_STREAM, b""), frame(HEADERS, 4, b"x"), get.clone()]
        {
            let mut guard = guard();
            assert!(passes(&mut guard, request));
            assert_eq!((guard.on_read(&more, NOW), guard.violation()), (0, Some(Violation::Closed)));
        }
        for other in [
            frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]),
            frame(PRIORITY, 0, &[0; 5]),
            frame(RST_STREAM, 0, &[0; 4]),
            frame_of(3, HEADERS, 4, b"x"),
        ] {
            let mut guard = guard();
            assert!(passes(&mut guard, request) && passes(&mut guard, &other), "{:?}", guard.violation());
        }
    }
}

#[test]
fn forgets_a_stream_once_both_sides_have_ended_it() {
    let get = frame(HEADERS, 5, b"x");
    for end in [
        frame(HEADERS, 5, b"x"),
        [frame(HEADERS, 4, b"x"), frame(DATA, END_STREAM, b"y")].concat(),
        frame(RST_STREAM, 0, &[0; 4]),
    ] {
        let mut guard = guard();
        assert!(passes(&mut guard, &get));
        guard.on_written(&end);
        assert!(guard.ended.is_empty());
    }
    let mut guard = guard();
    for number in 0..20_000 {
        assert!(passes(&mut guard, &frame_of(2 * number + 1, HEADERS, 5, b"x")));
    }
    assert_eq!(guard.ended.len(), ENDED_MAX, "streams without a response");
    assert!(!passes(&mut guard, &frame_of(2 * 19_999 + 1, DATA, 0, b"x")), "the latest are kept");
}

#[test]
fn padded_data_are_not_empty() {
    let mut guard = guard();
    for _ in 0..20_000 {
        assert!(passes(&mut guard, &frame(DATA, PADDED, &[2, b'x', 0, 0])));
    }
}

#[test]
fn sent_data_allow_window_updates() {
    let mut guard = guard();
    let update = frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]);
    for _ in 0..20_000 {
        guard.on_written(&frame(DATA, 0, b"x"));
        assert!(passes(&mut guard, &update) && passes(&mut guard, &update));
    }
}

#[test]
fn our_resets_count_for_errors_of_the_client() {
    for (code, is_blamed) in [(0, false), (1, true), (2, false), (3, true), (5, true), (7, true), (8, false)]
    {
        let mut guard = guard();
        let reset = frame(RST_STREAM, 0, &u32::to_be_bytes(code));
        for _ in 0..crate::limits::H2_ERRORS_MAX {
            guard.on_written(&reset);
        }
        assert_eq!(guard.violation(), None);
        guard.on_written(&reset);
        assert_eq!(guard.violation(), is_blamed.then_some(Violation::Errors), "{code}");
        assert_eq!(passes(&mut guard, b"x"), !is_blamed, "takes effect with the next bytes");
    }
}

#[test]
fn counters_restart_with_each_time_window() {
    let mut guard = guard();
    let settings = frame(SETTINGS, 0, b"");
    for window in 0..3 {
        let now = NOW.after(crate::limits::H2_FLOOD_WINDOW * window);
        for _ in 0..crate::limits::H2_SETTINGS_MAX {
            assert_eq!(guard.on_read(&settings, now), settings.len());
        }
    }
    assert_eq!(guard.on_read(&settings, NOW.after(crate::limits::H2_FLOOD_WINDOW * 2)), 0);
}

#[test]
fn finds_pseudo_fields_in_trailers_however_they_are_cut() {
    // `:path: /x` added to the table, `x: y`, `:path` from the table, and a block of two frames.
    let path = b"\x44\x02/x";
    let frames = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, &[]),
        frame_of(1, HEADERS, END_HEADERS, path),
        frame_of(3, HEADERS, END_HEADERS, b"\xbe"),
        frame_of(1, HEADERS, END_HEADERS | END_STREAM, b"\x00\x01x\x01y"),
        frame_of(5, HEADERS, END_HEADERS | END_STREAM, path),
        // Padded, with a priority; then the field that is in the table twice.
        frame_of(3, HEADERS, END_STREAM | PADDED | WITH_PRIORITY, b"\x03\0\0\0\0\0\x00\x01x\x01yzzz"),
        frame_of(3, CONTINUATION, END_HEADERS, b"\xbf"),
    ];
    let bytes = frames.concat();
    for step in 1..=bytes.len() {
        let mut guard = FloodGuard::new(NOW);
        for piece in bytes.chunks(step) {
            assert_eq!(guard.on_read(piece, NOW), piece.len());
        }
        let malformed = guard.malformed();
        assert_eq!(
            [1, 3, 5].map(|stream| malformed.take(stream)),
            [false, true, false],
            "in pieces of {step}"
        );
    }
}

#[test]
fn passes_the_bytes_before_a_violation_only() {
    let good =
        [PREFACE, &frame(SETTINGS, 0, &[0; 6]), &frame(RST_STREAM, 0, &[0; 4]), &frame(HEADERS, 5, b"x")]
            .concat();
    let all = [good.as_slice(), &frame(PING, 0, &[0; 7]), &frame(HEADERS, 5, b"y")].concat();
    for step in 1..=all.len() {
        let mut guard = FloodGuard::new(NOW);
        let passed: Vec<u8> =
            all.chunks(step).flat_map(|piece| &piece[..guard.on_read(piece, NOW)]).copied().collect();
        assert_eq!(guard.violation(), Some(Violation::FrameSize));
        // The part of its header from an earlier read has passed; it is not a complete header.
        assert!(passed.starts_with(&good) && passed.len() < good.len() + HEAD_BYTES, "in pieces of {step}");
        assert!(all.starts_with(&passed) && (step < all.len() || passed == good), "in pieces of {step}");
    }
}
