//! Properties for any bytes: splitting changes no result, writing is idempotent, nothing panics.

use proptest::prelude::*;
use ringway_wire::h1::{
    BodyState, ChunkMode, ChunkedBody, Limits, OutFraming, Parse, RequestHead, RequestRewrite, ResponseHead,
    ResponseRewrite, Trust, Underscores, write_request, write_response,
};
use ringway_wire::message::Method;
use ringway_wire::normalize::Authority;

use crate::{bodies, requests, responses};

/// Bytes similar to heads: pieces of syntax in any order.
fn near_heads() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static [u8]> = vec![
        b"GET ",
        b"POST ",
        b"CONNECT ",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 204\r\n",
        b"/",
        b"*",
        b"http://a",
        b"?",
        b"#",
        b"%41",
        b"Host: a\r\n",
        b"Host:",
        b"Content-Length: 3\r\n",
        b"Content-Length:",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:",
        b"Connection: close\r\n",
        b"Connection: X, Upgrade\r\n",
        b"Upgrade: websocket\r\n",
        b"Expect: 100-continue\r\n",
        b"X-Forwarded-For: 1\r\n",
        b"X_Y: z\r\n",
        b"X: y\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"\r",
        b"\n",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"\xff",
        b"a",
        b"0",
        b";",
        b",",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"[::1]",
        b".",
        b"@",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..24).prop_map(|pieces| pieces.concat())
}

fn heads() -> impl Strategy<Value = Vec<u8>> {
    let field = ("[A-Za-z_-]{1,20}", "[ -~]{0,30}").prop_map(|(name, value)| format!("{name}:{value}\r\n"));
    let known = prop::sample::select(vec![
        "Connection: close, X-A\r\n",
        "X-A: b\r\n",
        "Content-Length: 12\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "X-Forwarded-For: 1\r\n",
        "TE: trailers\r\n",
        "Cookie: a=b\r\n",
        "X_Real_IP: 1\r\n",
        "Accept: text/html\r\n",
    ])
    .prop_map(str::to_owned);
    let fields = prop::collection::vec(prop_oneof![field, known], 0..12);
    ("(GET|POST|PUT|PURGE)", "(/[!-\"$-~]{0,30}|http://[a-z]{1,9}(\\?[a-z]*)?)", fields).prop_map(
        |(method, target, fields)| {
            format!("{method} {target} HTTP/1.1\r\nHost: A.b:81\r\n{}\r\n", fields.concat()).into_bytes()
        },
    )
}

fn chunked_bodies() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let chunk = (prop::collection::vec(any::<u8>(), 1..40), prop::option::of("[ -~]{0,20}"), 0usize..3);
    let trailers = prop::collection::vec(("(X-[a-z]{1,9}|Host|X-Tenant-ID)", "[!-~]{0,9}"), 0..4);
    (prop::collection::vec(chunk, 0..6), trailers).prop_map(|(chunks, trailers)| {
        let (mut bytes, mut data) = (Vec::new(), Vec::new());
        for (piece, extension, zeros) in chunks {
            let extension = extension.map(|text| format!(";{text}")).unwrap_or_default();
            bytes.extend(format!("{}{:x}{extension}\r\n", "0".repeat(zeros), piece.len()).bytes());
            bytes.extend(&piece);
            bytes.extend(b"\r\n");
            data.extend(piece);
        }
        bytes.extend(b"0\r\n");
        for (name, value) in trailers {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        bytes.extend(b"\r\n");
        (bytes, data)
    })
}

fn rewritten(buf: &[u8], head: &RequestHead, rewrite: &RequestRewrite<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write_request(&mut out, buf, head, rewrite);
    out
}

proptest! {
    // `requests::parse` and `responses::parse` compare parsing at once with parsing byte by byte.
    #[test]
    fn arbitrary_bytes_give_one_result_in_any_split(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = requests::parse(&bytes);
        let _ = responses::parse(&bytes, Method::Get);
        let _ = Authority::parse(&bytes);
    }

    #[test]
    fn near_heads_give_one_result_in_any_split(bytes in near_heads(), line in any::<bool>()) {
        let prefix: &[u8] = if line { b"GET / HTTP/1.1\r\nHost: a\r\n" } else { b"" };
        let _ = requests::parse([prefix, &bytes].concat());
        let prefix: &[u8] = if line { b"HTTP/1.1 200 OK\r\n" } else { b"" };
        for method in [Method::Get, Method::Head] {
            let _ = responses::parse([prefix, &bytes].concat(), method);
        }
    }

    #[test]
    fn small_limits_give_one_result_in_any_split(
        bytes in heads(),
        (uri_bytes_max, head_bytes_max, fields_max) in (1usize..40, 1usize..200, 0usize..8),
    ) {
        let limits = Limits { uri_bytes_max, head_bytes_max, fields_max };
        let mut whole = RequestHead::default();
        let verdict = whole.parse(&bytes, &limits);
        let mut drip = RequestHead::default();
        let mut last = Ok(Parse::Partial);
        for end in 0..=bytes.len() {
            last = drip.parse(&bytes[..end], &limits);
            if last != Ok(Parse::Partial) {
                break;
            }
        }
        prop_assert_eq!(last, verdict);
        if verdict == Ok(Parse::Complete) {
            prop_assert!(whole.len() <= head_bytes_max && whole.target(&bytes).len() <= uri_bytes_max);
            prop_assert!(whole.fields(&bytes).count() <= fields_max);
        }
    }

    #[test]
    fn written_requests_are_valid_and_writing_is_idempotent(bytes in heads()) {
        if let Ok((Parse::Complete, head)) = requests::parse(&bytes) {
            let rewrite = RequestRewrite { trust: Trust::Trusted, underscores: Underscores::Keep, ..Default::default() };
            let once = rewritten(&bytes, &head, &rewrite);
            let again = requests::complete(&once);
            prop_assert_eq!(again.len(), once.len());
            prop_assert_eq!(again.framing(), head.framing());
            prop_assert_eq!(again.host(), head.host());
            prop_assert_eq!(again.path_and_query(&once), head.path_and_query(&bytes));
            prop_assert!(again.keep_alive());
            prop_assert_eq!(&rewritten(&once, &again, &rewrite), &once);

            let untrusted = rewritten(&bytes, &head, &RequestRewrite::default());
            let head = requests::complete(&untrusted);
            let leaked = head.fields(&untrusted).any(|field| {
                let name = field.name.to_ascii_lowercase();
                name.starts_with(b"x-forwarded") || name.contains(&b'_') || name == b"te" || name == b"connection"
            });
            prop_assert!(!leaked, "{}", String::from_utf8_lossy(&untrusted));
        }
    }

    #[test]
    fn written_responses_are_read_back_the_same(bytes in heads(), status in 200u16..600) {
        let fields_at = bytes.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
        let text = [format!("HTTP/1.0 {status} why\r\n").as_bytes(), &bytes[fields_at..]].concat();
        if let Ok((Parse::Complete, head)) = responses::parse(&text, Method::Get) {
            let mut out = Vec::new();
            let framing = if head.keep_alive() { OutFraming::AsReceived } else { OutFraming::Chunked };
            write_response(&mut out, &text, &head, &ResponseRewrite { framing, ..Default::default() });
            let again = responses::complete(&out, Method::Get);
            prop_assert_eq!((again.status(), again.reason(&out), again.len()), (status, b"why".as_slice(), out.len()));
            prop_assert!(again.keep_alive(), "{}", String::from_utf8_lossy(&out));
            let mut twice = Vec::new();
            write_response(&mut twice, &out, &again, &ResponseRewrite::default());
            prop_assert_eq!(twice, out);
        }
    }

    #[test]
    fn chunked_bodies_pass_in_any_split(
        (bytes, data) in chunked_bodies(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        rest in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        let input = [bytes.as_slice(), &rest].concat();
        let forwarded = bodies::relay(ChunkMode::Forward, &input, cuts.clone());
        prop_assert_eq!(forwarded.result, Ok(BodyState::Done));
        prop_assert_eq!(&forwarded.rest, &rest);
        let decoded = bodies::relay(ChunkMode::Decode, &input, cuts);
        prop_assert_eq!(&decoded.out, &data);
        // The forwarded bytes decode to the same body, and forwarding them again changes nothing.
        let again = bodies::relay(ChunkMode::Forward, &forwarded.out, []);
        prop_assert_eq!(again.result, Ok(BodyState::Done));
        prop_assert_eq!(&again.out, &forwarded.out);
        prop_assert_eq!(bodies::relay(ChunkMode::Decode, &forwarded.out, []).out, data);
    }

    #[test]
    fn malformed_chunked_bodies_give_one_result_and_never_look_complete(
        (bytes, _) in chunked_bodies(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = bytes;
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let whole = bodies::relay(ChunkMode::Forward, &bytes, []);
        let drip = bodies::relay(ChunkMode::Forward, &bytes, 0..bytes.len());
        prop_assert_eq!(drip.result, whole.result);
        if drip.result != Ok(BodyState::Done) {
            prop_assert_eq!(bodies::relay(ChunkMode::Forward, &drip.out, []).result, Ok(BodyState::More));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_a_body(bytes in near_heads()) {
        for mode in [ChunkMode::Forward, ChunkMode::Decode, ChunkMode::Separate] {
            let mut bytes = bytes.clone();
            let _ = ChunkedBody::new(mode).feed(&mut bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic_a_response(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let mut head = ResponseHead::default();
        let text = [b"HTTP/1.1 200 OK\r\n".as_slice(), &bytes].concat();
        let _ = head.parse(&text, Method::Get, &Limits::default());
    }

    #[test]
    fn a_normal_authority_is_its_own_normal_form(text in "[A-Za-z0-9.-]{1,40}(:[0-9]{0,5})?") {
        if let Ok(authority) = Authority::parse(text.as_bytes()) {
            let written = authority.to_string();
            prop_assert_eq!(Authority::parse(written.as_bytes()).map(|again| again.to_string()), Ok(written));
        }
    }
}
