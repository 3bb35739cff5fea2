use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const NOW: Tick = Tick(1_000_000);

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
    bytes.extend_from_slice(payload);
    bytes
}

fn guard() -> Guard {
    let mut guard = Guard::new(NOW);
    assert!(guard.read(PREFACE, NOW));
    guard
}

/// Reads the frame until it is too much; how often that was allowed, and what it was.
fn allowed(guard: &mut Guard, bytes: &[u8]) -> (u32, Option<Abuse>) {
    for count in 0..20_000 {
        if !guard.read(bytes, NOW) {
            return (count, guard.abuse());
        }
    }
    (20_000, None)
}

#[test]
fn each_kind_of_frame_has_its_bound() {
    for (bytes, bound, abuse) in [
        (frame(RST_STREAM, 0, &8u32.to_be_bytes()), limits::H2_RESETS_MAX, Abuse::Resets),
        (frame(CONTINUATION, 0, b""), limits::H2_CONTINUATIONS_MAX, Abuse::Continuations),
        (frame(CONTINUATION, 0, &[7; 300]), limits::H2_CONTINUATIONS_MAX, Abuse::Continuations),
        (frame(DATA, 0, b""), limits::H2_EMPTY_DATA_MAX, Abuse::EmptyData),
        (frame(PING, 0, &[0; 8]), limits::H2_PINGS_MAX, Abuse::Pings),
        (frame(SETTINGS, 0, b""), limits::H2_SETTINGS_MAX, Abuse::Settings),
        (frame(2, 0, &[0; 5]), limits::H2_IDLE_FRAMES_MAX, Abuse::Idle),
        (frame(99, 0, &[0; 5]), limits::H2_IDLE_FRAMES_MAX, Abuse::Idle),
        (frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]), limits::H2_WINDOW_UPDATES_MAX, Abuse::WindowUpdates),
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
                let is_good = guard.read(&frame(kind, flags, &vec![0; length]), NOW);
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
    for bytes in [
        frame(HEADERS, 5, b"x"),
        frame(DATA, 0, b"x"),
        frame(DATA, END_STREAM, b""),
        // Half of the requests are taken back: a gateway that hedges.
        [frame(HEADERS, 5, b"x"), frame(HEADERS, 5, b"x"), frame(RST_STREAM, 0, &8u32.to_be_bytes())]
            .concat(),
        // A priority and a cut header block with each request.
        [frame(HEADERS, 1, b"x"), frame(CONTINUATION, 4, b"y"), frame(16, 0, b"u=1")].concat(),
    ] {
        assert_eq!(allowed(&mut guard(), &bytes), (20_000, None));
    }
}

#[test]
fn window_updates_are_paid_for_by_data() {
    let mut guard = guard();
    let update = frame(WINDOW_UPDATE, 0, &[0, 0, 0, 1]);
    for _ in 0..20_000 {
        guard.written(&frame(DATA, 0, b"x"));
        assert!(guard.read(&update, NOW) && guard.read(&update, NOW));
    }
}

#[test]
fn our_resets_count_when_the_client_is_to_blame() {
    for (code, is_blamed) in [(0, false), (1, true), (2, false), (3, true), (5, true), (7, true), (8, false)]
    {
        let mut guard = guard();
        let reset = frame(RST_STREAM, 0, &u32::to_be_bytes(code));
        for _ in 0..limits::H2_ERRORS_MAX {
            guard.written(&reset);
        }
        assert_eq!(guard.abuse(), None);
        guard.written(&reset);
        assert_eq!(guard.abuse(), is_blamed.then_some(Abuse::Errors), "{code}");
        assert_eq!(guard.read(b"x", NOW), !is_blamed, "told with the next bytes");
    }
}

#[test]
fn counts_begin_anew_with_each_window_of_time() {
    let mut guard = guard();
    let settings = frame(SETTINGS, 0, b"");
    for window in 0..3 {
        let now = NOW.after(limits::H2_ABUSE_WINDOW * window);
        for _ in 0..limits::H2_SETTINGS_MAX {
            assert!(guard.read(&settings, now));
        }
    }
    assert!(!guard.read(&settings, NOW.after(limits::H2_ABUSE_WINDOW * 2)));
}

#[test]
fn frames_are_found_however_their_bytes_are_cut() {
    let frames = [
        frame(SETTINGS, 0, &[0; 18]),
        frame(HEADERS, 5, &[1; 300]),
        frame(RST_STREAM, 0, &[0xaa, 0xbb, 0xcc, 0xdd]),
        frame(RST_STREAM, 0, b"odd"),
        frame(DATA, 1, b""),
        frame(PING, 1, &[9; 8]),
    ];
    let expected = [
        (SETTINGS, 0, 18, 0),
        (HEADERS, 5, 300, 0),
        (RST_STREAM, 0, 4, 0xaabb_ccdd),
        (RST_STREAM, 0, 3, 0),
        (DATA, 1, 0, 0),
        (PING, 1, 8, 0),
    ]
    .map(|(kind, flags, len, code)| Frame { len, kind, flags, code });
    let bytes = frames.concat();
    for step in [1, 2, 7, 9, 10, 13, 100, bytes.len()] {
        let mut scanner = Scanner::default();
        let mut found = Vec::new();
        for piece in bytes.chunks(step) {
            scanner.scan(piece, |frame| found.push(frame));
        }
        assert_eq!(found, expected, "in pieces of {step}");
    }
}
