use super::*;

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

#[test]
fn finds_frames_however_their_bytes_are_cut() {
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
        FrameEvent::Frame(Frame { len, kind, flags, stream, code, padding })
    });
    let (settings, others) = expected.split_at(1);
    let expected = [
        settings,
        &[(1, 2), (3, 4), (0x506, 0x0708_090a)].map(|(id, value)| FrameEvent::Setting(Setting { id, value })),
        others,
    ]
    .concat();
    let bytes = frames.concat();
    for step in [1, 2, 7, 9, 10, 13, 100, bytes.len()] {
        let mut scanner = FrameScanner::default();
        let mut found = Vec::new();
        for piece in bytes.chunks(step) {
            let passed = scanner.scan(piece, |event| {
                match event {
                    FrameEvent::Frame(frame) => found.push(FrameEvent::Frame(frame)),
                    FrameEvent::Setting(setting) => found.push(FrameEvent::Setting(setting)),
                    FrameEvent::Fields(_) | FrameEvent::EndOfFields => {}
                }
                ControlFlow::Continue(())
            });
            assert_eq!(passed, piece.len());
        }
        assert_eq!(found, expected, "in pieces of {step}");
    }
}
