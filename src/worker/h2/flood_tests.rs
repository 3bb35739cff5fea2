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

fn guard() -> Guard {
    let mut guard = Guard::new(NOW);
    assert!(passes(&mut guard, PREFACE));
    // SETTINGS are counted.
    guard.is_greeted = true;
    guard
}

/// Whether all of these bytes may pass.
fn passes(guard: &mut Guard, bytes: &[u8]) -> bool {
    guard.read(bytes, NOW) == bytes.len()
}

/// Reads the frame until it is too much; how often that was allowed, and what it was.
fn allowed(guard: &mut Guard, bytes: &[u8]) -> (u32, Option<Abuse>) {
    for count in 0..20_000 {
        if !passes(guard, bytes) {
            return (count, guard.abuse());
        }
    }
    (20_000, None)
}

#[test]
fn each_kind_of_frame_has_its_bound() {
    for (bytes, bound, abuse) in [
        (frame(RST_STREAM, 0, &8u32.to_be_bytes()), crate::limits::H2_RESETS_MAX, Abuse::Resets),
        (frame(CONTINUATION, 0, b""), crate::limits::H2_CONTINUATIONS_MAX, Abuse::Continuations),
        (frame(CONTINUATION, 0, &[7; 300]), crate::limits::H2_CONTINUATIONS_MAX, Abuse::Continuations),
        (frame(DATA, 0, b""), crate::limits::H2_EMPTY_DATA_MAX, Abuse::EmptyData),
        // Padding is no data.
        (frame(DATA, PADDED, &[0]), crate::limits::H2_EMPTY_DATA_MAX, Abuse::EmptyData),
        (
            frame(DATA, PADDED, &[[255].as_slice(), &[0; 255]].concat()),
            crate::limits::H2_EMPTY_DATA_MAX,
            Abuse::EmptyData,
        ),
        (frame(PING, 0, &[0; 8]), crate::limits::H2_PINGS_MAX, Abuse::Pings),
        (frame(SETTINGS, 0, b""), crate::limits::H2_SETTINGS_MAX, Abuse::Settings),
        (frame(2, 0, &[0; 5]), crate::limits::H2_IDLE_FRAMES_MAX, Abuse::Idle),
        (frame(99, 0, &[0; 5]), crate::limits::H2_IDLE_FRAMES_MAX, Abuse::Idle),
        (frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]), crate::limits::H2_WINDOW_UPDATES_MAX, Abuse::WindowUpdates),
    ] {
        assert_eq!(allowed(&mut guard(), &bytes), (bound, Some(abuse)), "{abuse:?}");
    }
}

#[test]
fn a_frame_of_another_size_than_its_kind_has_ends_the_connection_rfc9113_4_2() {
    const PUSH_PROMISE: u8 = 5;
    for (kind, flags, possible, impossible) in [
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
        for (lengths, expected) in [(possible, None), (impossible, Some(Abuse::FrameSize))] {
            for &length in lengths {
                let mut guard = guard();
                let is_good = passes(&mut guard, &frame(kind, flags, &vec![0; length]));
                assert_eq!(
                    (is_good, guard.abuse()),
                    (expected.is_none(), expected),
                    "{kind} {flags} {length}"
                );
            }
        }
    }
}

#[test]
fn what_requests_and_bodies_need_is_never_too_much() {
    let requests: [fn(u32) -> Vec<u8>; 5] = [
        |stream| frame_of(stream, HEADERS, 5, b"x"),
        |stream| [frame_of(stream, HEADERS, 4, b"x"), frame_of(stream, DATA, 0, b"x")].concat(),
        |stream| [frame_of(stream, HEADERS, 4, b"x"), frame_of(stream, DATA, END_STREAM, b"")].concat(),
        // Half of the requests are taken back: a gateway that hedges.
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
            assert!(passes(&mut guard, &request(4 * number + 1)), "{:?}", guard.abuse());
        }
    }
}

#[test]
fn nothing_but_settings_follows_the_preface_rfc9113_3_4() {
    for kind in [DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION, 99]
    {
        let mut guard = Guard::new(NOW);
        let passed = guard.read(&[PREFACE, &frame(kind, 0, &[0; 6]), &frame(PING, 0, &[0; 8])].concat(), NOW);
        match kind {
            SETTINGS => assert_eq!((passed, guard.abuse()), (PREFACE.len() + 15 + 17, None)),
            _ => assert_eq!((passed, guard.abuse()), (PREFACE.len(), Some(Abuse::Preface)), "{kind}"),
        }
    }
}

#[test]
fn no_window_is_larger_than_windows_may_be_rfc9113_6_5_2() {
    for (payload, is_good) in [
        (&[0, 4, 0x7f, 0xff, 0xff, 0xff][..], true),
        (&[0, 4, 0x80, 0, 0, 0], false),
        (&[0, 4, 0xff, 0xff, 0xff, 0xff], false),
        (&[0, 3, 0, 0, 0, 1, 0, 4, 0x80, 0, 0, 0], false),
        (&[0, 4, 0, 0, 0, 1, 0, 4, 0x80, 0, 0, 0], false),
        // Other settings may have any value, or are the crate's to judge.
        (&[0, 3, 0xff, 0xff, 0xff, 0xff], true),
        (&[4, 4, 0xff, 0xff, 0xff, 0xff], true),
        (&[0, 1, 0xff, 0, 0, 4, 0, 1, 0xff, 0, 0, 4], true),
    ] {
        let bytes = [frame(PING, 0, &[0; 8]), frame(SETTINGS, 0, payload), frame(PING, 0, &[0; 8])].concat();
        for step in 1..=bytes.len() {
            let mut guard = guard();
            let is_all = bytes.chunks(step).all(|piece| passes(&mut guard, piece));
            let expected = (!is_good).then_some(Abuse::FlowControl);
            assert_eq!((is_all, guard.abuse()), (is_good, expected), "{payload:?} in pieces of {step}");
        }
        let mut guard = guard();
        assert_eq!(guard.read(&bytes, NOW), if is_good { bytes.len() } else { 17 }, "{payload:?}");
        // What is no SETTINGS has no settings.
        assert!(passes(&mut self::guard(), &frame(DATA, 0, payload)));
    }
}

#[test]
fn nothing_of_a_request_comes_behind_its_end_rfc9113_5_1() {
    let get = frame(HEADERS, 5, b"x");
    let post = [frame(HEADERS, 4, b"x"), frame(DATA, END_STREAM, b"y")].concat();
    let trailers = [frame(HEADERS, 4, b"x"), frame(DATA, 0, b"y"), frame(HEADERS, 5, b"z")].concat();
    for request in [&get, &post, &trailers] {
        for more in [frame(DATA, 0, b"x"), frame(DATA, END_STREAM, b""), frame(HEADERS, 4, b"x"), get.clone()]
        {
            let mut guard = guard();
            assert!(passes(&mut guard, request));
            assert_eq!((guard.read(&more, NOW), guard.abuse()), (0, Some(Abuse::Closed)));
        }
        for other in [
            frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]),
            frame(PRIORITY, 0, &[0; 5]),
            frame(RST_STREAM, 0, &[0; 4]),
            frame_of(3, HEADERS, 4, b"x"),
        ] {
            let mut guard = guard();
            assert!(passes(&mut guard, request) && passes(&mut guard, &other), "{:?}", guard.abuse());
        }
    }
}

#[test]
fn a_stream_is_forgotten_when_both_have_ended_it() {
    let get = frame(HEADERS, 5, b"x");
    for end in [
        frame(HEADERS, 5, b"x"),
        [frame(HEADERS, 4, b"x"), frame(DATA, END_STREAM, b"y")].concat(),
        frame(RST_STREAM, 0, &[0; 4]),
    ] {
        let mut guard = guard();
        assert!(passes(&mut guard, &get));
        guard.written(&end);
        assert!(guard.ended.is_empty());
    }
    let mut guard = guard();
    for number in 0..20_000 {
        assert!(passes(&mut guard, &frame_of(2 * number + 1, HEADERS, 5, b"x")));
    }
    assert_eq!(guard.ended.len(), ENDED_MAX, "one that is never answered");
    assert!(!passes(&mut guard, &frame_of(2 * 19_999 + 1, DATA, 0, b"x")), "the last are remembered");
}

#[test]
fn data_behind_padding_are_data() {
    let mut guard = guard();
    for _ in 0..20_000 {
        assert!(passes(&mut guard, &frame(DATA, PADDED, &[2, b'x', 0, 0])));
    }
}

#[test]
fn window_updates_are_paid_for_by_data() {
    let mut guard = guard();
    let update = frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]);
    for _ in 0..20_000 {
        guard.written(&frame(DATA, 0, b"x"));
        assert!(passes(&mut guard, &update) && passes(&mut guard, &update));
    }
}

#[test]
fn our_resets_count_when_the_client_is_to_blame() {
    for (code, is_blamed) in [(0, false), (1, true), (2, false), (3, true), (5, true), (7, true), (8, false)]
    {
        let mut guard = guard();
        let reset = frame(RST_STREAM, 0, &u32::to_be_bytes(code));
        for _ in 0..crate::limits::H2_ERRORS_MAX {
            guard.written(&reset);
        }
        assert_eq!(guard.abuse(), None);
        guard.written(&reset);
        assert_eq!(guard.abuse(), is_blamed.then_some(Abuse::Errors), "{code}");
        assert_eq!(passes(&mut guard, b"x"), !is_blamed, "told with the next bytes");
    }
}

#[test]
fn counts_begin_anew_with_each_window_of_time() {
    let mut guard = guard();
    let settings = frame(SETTINGS, 0, b"");
    for window in 0..3 {
        let now = NOW.after(crate::limits::H2_ABUSE_WINDOW * window);
        for _ in 0..crate::limits::H2_SETTINGS_MAX {
            assert_eq!(guard.read(&settings, now), settings.len());
        }
    }
    assert_eq!(guard.read(&settings, NOW.after(crate::limits::H2_ABUSE_WINDOW * 2)), 0);
}

#[test]
fn frames_are_found_however_their_bytes_are_cut() {
    let frames = [
        frame(SETTINGS, 0, &[0, 1, 0, 0, 0, 2, 0, 3, 0, 0, 0, 4, 5, 6, 7, 8, 9, 10]),
        frame(HEADERS, 5, &[1; 300]),
        frame(RST_STREAM, 0, &[0xaa, 0xbb, 0xcc, 0xdd]),
        frame(RST_STREAM, 0, b"odd"),
        frame(DATA, 1, b""),
        frame(DATA, PADDED, &[3, b'x', 0, 0, 0]),
        frame(DATA, PADDED, b""),
        frame_of(0x8000_0000 | 77, PING, 1, &[9; 8]),
    ];
    let expected = [
        (SETTINGS, 0, 18, 1, 0, 0),
        (HEADERS, 5, 300, 1, 0, 0),
        (RST_STREAM, 0, 4, 1, 0xaabb_ccdd, 0),
        (RST_STREAM, 0, 3, 1, 0, 0),
        (DATA, 1, 0, 1, 0, 0),
        (DATA, PADDED, 5, 1, 0, 4),
        (DATA, PADDED, 0, 1, 0, 0),
        (PING, 1, 8, 77, 0, 0),
    ]
    .map(|(kind, flags, len, stream, code, padding)| {
        Seen::Frame(Frame { len, kind, flags, stream, code, padding })
    });
    let (settings, others) = expected.split_at(1);
    let expected = [
        settings,
        &[(1, 2), (3, 4), (0x506, 0x0708_090a)].map(|(id, value)| Seen::Setting(Setting { id, value })),
        others,
    ]
    .concat();
    let bytes = frames.concat();
    for step in [1, 2, 7, 9, 10, 13, 100, bytes.len()] {
        let mut scanner = Scanner::default();
        let mut found = Vec::new();
        for piece in bytes.chunks(step) {
            let passed = scanner.scan(piece, |seen| {
                match seen {
                    Seen::Frame(frame) => found.push(Seen::Frame(frame)),
                    Seen::Setting(setting) => found.push(Seen::Setting(setting)),
                    Seen::Fields(_) | Seen::EndOfFields => {}
                }
                ControlFlow::Continue(())
            });
            assert_eq!(passed, piece.len());
        }
        assert_eq!(found, expected, "in pieces of {step}");
    }
}

#[test]
fn trailers_with_pseudo_fields_are_found_however_they_are_cut() {
    // `:path: /x` kept in the table, `x: y`, `:path` out of the table, and a block of two frames.
    let path = b"\x44\x02/x";
    let frames = [
        PREFACE.to_vec(),
        frame(SETTINGS, 0, &[]),
        frame_of(1, HEADERS, END_HEADERS, path),
        frame_of(3, HEADERS, END_HEADERS, b"\xbe"),
        frame_of(1, HEADERS, END_HEADERS | END_STREAM, b"\x00\x01x\x01y"),
        frame_of(5, HEADERS, END_HEADERS | END_STREAM, path),
        // Padded, with a priority; then the field that stands in the table twice.
        frame_of(3, HEADERS, END_STREAM | PADDED | WITH_PRIORITY, b"\x03\0\0\0\0\0\x00\x01x\x01yzzz"),
        frame_of(3, CONTINUATION, END_HEADERS, b"\xbf"),
    ];
    let bytes = frames.concat();
    for step in 1..=bytes.len() {
        let mut guard = Guard::new(NOW);
        for piece in bytes.chunks(step) {
            assert_eq!(guard.read(piece, NOW), piece.len());
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
fn what_stands_before_a_fault_passes_and_nothing_behind_it() {
    let good =
        [PREFACE, &frame(SETTINGS, 0, &[0; 6]), &frame(RST_STREAM, 0, &[0; 4]), &frame(HEADERS, 5, b"x")]
            .concat();
    let all = [good.as_slice(), &frame(PING, 0, &[0; 7]), &frame(HEADERS, 5, b"y")].concat();
    for step in 1..=all.len() {
        let mut guard = Guard::new(NOW);
        let passed: Vec<u8> =
            all.chunks(step).flat_map(|piece| &piece[..guard.read(piece, NOW)]).copied().collect();
        assert_eq!(guard.abuse(), Some(Abuse::FrameSize));
        // What had come of its head in a read before has gone on; it is no whole head.
        assert!(passed.starts_with(&good) && passed.len() < good.len() + HEAD_BYTES, "in pieces of {step}");
        assert!(all.starts_with(&passed) && (step < all.len() || passed == good), "in pieces of {step}");
    }
}
