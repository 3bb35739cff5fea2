//! Catalogue of faults, grouped by cause.

use super::row::*;
use crate::kit::pattern;

/// No connection, or one that ends or stalls before its response.
fn connections() -> Vec<Row> {
    use Then::{Closes, Resets, Serves, Waits};
    vec![
        Row::told("refuses connections", 502, &["upstream_connect_failed"], Does::Refuses)
            .upstream(Fate::None),
        Row::told("accepts and sends nothing", 504, TIMED_OUT, Does::OnAccept(silent(Waits)))
            .with_short_patience(),
        Row::told("closes at once", 502, CLOSED, Does::OnAccept(silent(Closes))),
        // The reset may be there before the connect has returned.
        Row::told(
            "resets after accept",
            502,
            &["upstream_closed", "upstream_connect_failed"],
            Does::OnAccept(silent(Resets)),
        ),
        Row::told("closes after the request's head", 502, CLOSED, Does::OnHead(silent(Closes))),
        Row::told("resets after the request's head", 502, CLOSED, Does::OnHead(silent(Resets))),
        Row::told("closes after the request, a POST", 502, CLOSED, says("", Closes)).asked(Asked::Post),
        Row::told("resets after the request, a POST", 502, CLOSED, says("", Resets)).asked(Asked::Post),
        Row::told("reads the request and sends nothing", 504, TIMED_OUT, says("", Waits))
            .with_short_patience(),
        Row::told("half a status line, then close", 502, HEAD_CUT, says("HTTP/1.1 20", Closes)),
        Row::told("half a head, then close", 502, HEAD_CUT, says("HTTP/1.1 200 OK\r\nContent-Le", Closes)),
        Row::told(
            "half a head, then a reset",
            502,
            &["upstream_head_cut", "upstream_closed"],
            says("HTTP/1.1 200 OK\r\nContent-Le", Resets),
        ),
        Row::told("half a head, then silence", 504, TIMED_OUT, says("HTTP/1.1 200 OK\r\nContent-Le", Waits))
            .with_short_patience(),
        Row::told(
            "a head without its empty line, then close",
            502,
            HEAD_CUT,
            says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", Closes),
        ),
        Row::passes("the response in single bytes", "", Serves, 200, "ok")
            .does(Does::Answers(drips(OK, Serves))),
        Row::passes(
            "closes after a response that announced keep-alive",
            "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\nContent-Length: 2\r\n\r\nok",
            Closes,
            200,
            "ok",
        ),
        Row::passes("resets after its response", "", Resets, 200, "ok").does(Does::Later(silent(Resets))),
        Row::passes(
            "announces close and stays open",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            Waits,
            200,
            "ok",
        ),
        Row::passes("closes an idle connection", "", Closes, 200, "ok").does(Does::Later(silent(Closes))),
        Row::passes("sends bytes on an idle connection", "", Waits, 200, "ok")
            .does(Does::Later(sends(SMUGGLED, Waits))),
        Row::passes("sends 408 on an idle connection", "", Closes, 200, "ok").does(Does::Later(sends(
            "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            Closes,
        ))),
        Row::passes("one byte on an idle connection", "", Waits, 200, "ok")
            .does(Does::Later(sends("\n", Waits))),
    ]
}

/// Invalid or oversized heads.
fn heads() -> Vec<Row> {
    use Then::{Closes, Serves, Waits};
    let broken = |name, text: &str| Row::broken(name, text);
    let endless = |name, first, piece: &[u8]| {
        Row::told(name, 502, &["upstream_bad_response"], Does::Answers(without_end(first, piece)))
    };
    vec![
        // They exceed a limit of the proxy.
        endless("an endless field", "HTTP/1.1 200 OK\r\nX: ", &[b'x'; 4096]).blames(Blame::Nobody),
        endless("endless fields", "HTTP/1.1 200 OK\r\n", &b"X: y\r\n".repeat(100)).blames(Blame::Nobody),
        endless("an endless status line", "HTTP/1.1 200 ", &[b'x'; 4096]).blames(Blame::Nobody),
        endless("endless bytes", "", &[0; 4096]),
        Row::told(
            "endless interim responses",
            502,
            &["upstream_interim_flood"],
            Does::Answers(without_end("", "HTTP/1.1 102 Processing\r\n\r\n".repeat(20))),
        )
        .blames(Blame::Nobody),
        Row::told(
            "an interim response, then close",
            502,
            HEAD_CUT,
            says("HTTP/1.1 102 Processing\r\n\r\n", Closes),
        ),
        Row::told(
            "an interim response, then silence",
            504,
            TIMED_OUT,
            says("HTTP/1.1 102 Processing\r\n\r\n", Waits),
        )
        .with_short_patience(),
        Row::passes(
            "unsolicited 100s and 103s",
            format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n{OK}"),
            Serves,
            200,
            "ok",
        ),
        Row::told(
            "an unsolicited 101",
            502,
            &["upstream_unasked_upgrade"],
            says(
                format!(
                    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n{SMUGGLED}"
                ),
                Waits,
            ),
        ),
        Row::told(
            "101 to another protocol",
            502,
            &["upstream_unasked_upgrade"],
            says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", Waits),
        ),
        broken("HTTP/0.9: a page without a head", "<html>It works</html>\n"),
        broken("HTTP/2 on a port of HTTP/1", "\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64\r\n\r\n"),
        broken("a TLS alert on a plain port", "\x15\x03\x01\0\x02\x02\x46\r\n\r\n"),
        broken("another protocol's greeting", "220 mail.example ESMTP\r\n\r\n"),
        Row::told(
            "another protocol's greeting, unsolicited",
            502,
            &["upstream_bad_response"],
            Does::OnAccept(sends("SSH-2.0-OpenSSH_9.2\r\n", Waits)),
        ),
        broken("HTTP/2.0 in the status line", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        broken("a lower-case version", "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        broken("two spaces before the status", "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok"),
        broken("no space before the status", "HTTP/1.1200 OK\r\nContent-Length: 2\r\n\r\nok"),
        broken("status 999", "HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok"),
        broken("status 600", "HTTP/1.1 600 Odd\r\nContent-Length: 2\r\n\r\nok"),
        broken("status 099", "HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok"),
        broken("status 000", "HTTP/1.1 000 Odd\r\nContent-Length: 2\r\n\r\nok"),
        broken("status abc", "HTTP/1.1 abc Odd\r\nContent-Length: 2\r\n\r\nok"),
        broken("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"),
        broken("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
        broken("a negative status", "HTTP/1.1 -20 OK\r\nContent-Length: 2\r\n\r\nok"),
        Row::passes("an empty reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", Serves, 200, "ok"),
        Row::passes(
            "no reason and no space",
            "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok",
            Serves,
            200,
            "ok",
        ),
        broken("a folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
        broken("a field that begins with a fold", "HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 2\r\n\r\nok"),
        broken("a NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok"),
        broken(
            "a control character in a value",
            "HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 2\r\n\r\nok",
        ),
        broken("a NUL in a name", "HTTP/1.1 200 OK\r\nX\0: a\r\nContent-Length: 2\r\n\r\nok"),
        broken("bare LFs", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
        broken("one bare LF", "HTTP/1.1 200 OK\r\nX: y\nContent-Length: 2\r\n\r\nok"),
        broken(
            "a bare CR in a value",
            "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: x\r\nContent-Length: 2\r\n\r\nok",
        ),
        broken("a bare CR in the reason", "HTTP/1.1 200 OK\rX: y\r\nContent-Length: 2\r\n\r\nok"),
        broken("a space before a colon", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"),
        broken("a space in a name", "HTTP/1.1 200 OK\r\nX Y: z\r\nContent-Length: 2\r\n\r\nok"),
        broken("a field without a colon", "HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nok"),
        broken("a field without a name", "HTTP/1.1 200 OK\r\n: nonsense\r\nContent-Length: 2\r\n\r\nok"),
        Row::passes(
            "non-ASCII bytes in a value",
            b"HTTP/1.1 200 OK\r\nX: caf\xe9\r\nContent-Length: 2\r\n\r\nok".as_slice(),
            Serves,
            200,
            "ok",
        ),
        Row::passes(
            "an unknown connection option",
            "HTTP/1.1 200 OK\r\nConnection: X-Mine\r\nX-Mine: 1\r\nContent-Length: 2\r\n\r\nok",
            Serves,
            200,
            "ok",
        ),
        Row::passes(
            "its own error 503",
            "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
            Serves,
            503,
            "busy",
        ),
        Row::passes(
            "its own error 500",
            "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",
            Serves,
            500,
            "oops",
        ),
        Row::passes(
            "invalid gzip",
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\ngarbage",
            Serves,
            200,
            "garbage",
        ),
    ]
}

/// Contradictory lengths, or lengths that do not match the body.
fn lengths() -> Vec<Row> {
    use Then::{Closes, Resets, Serves, Waits};
    let broken = |name, text: &str| Row::broken(name, text);
    vec![
        broken("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
        broken("two lengths in one field", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok"),
        broken(
            "a length and chunks",
            &format!(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
            ),
        ),
        broken(
            "chunks and a length",
            &format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n{SMUGGLED}"
            ),
        ),
        broken(
            "a length beyond 64 bits",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        ),
        broken("a negative length", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"),
        broken("a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
        broken("a length in hexadecimal", "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok"),
        broken("an empty length", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok"),
        broken("a length with a space in it", "HTTP/1.1 200 OK\r\nContent-Length: 2 2\r\n\r\nok"),
        broken(
            "gzip as transfer coding",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        )
        .blames(Blame::Nobody),
        broken("identity as transfer coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok")
            .blames(Blame::Nobody),
        broken("chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        broken("chunks from HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Row::cut(
            "a huge length, then close",
            "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nok",
            Closes,
        ),
        Row::cut("a length too large, then close", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", Closes),
        Row::cut(
            "a length too large, then silence",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok",
            Waits,
        )
        .with_short_patience(),
        Row::cut(
            "a length too large, then a reset",
            "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok",
            Resets,
        )
        .sees(Sees::CutOrTold(502, CLOSED))
        .client(Fate::None),
        Row::cut(
            "a long body that stops",
            [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec(), pattern(300_000)].concat(),
            Waits,
        )
        .with_short_patience(),
        Row::cut(
            "a long body that ends early",
            [b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec(), pattern(300_000)].concat(),
            Closes,
        ),
        Row::passes(
            "a length too small",
            format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok{SMUGGLED}"),
            Waits,
            200,
            "ok",
        ),
        Row::passes("two responses", format!("{OK}{SMUGGLED}"), Waits, 200, "ok"),
        Row::passes("two responses, and it continues", format!("{OK}{SMUGGLED}"), Serves, 200, "ok")
            .upstream(Fate::Ended),
        Row::passes("204 with a body", "HTTP/1.1 204 No Content\r\n\r\nhello", Waits, 204, ""),
        Row::passes(
            "304 with a body",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello",
            Waits,
            304,
            "",
        ),
        Row::passes(
            "304 with a length",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            Serves,
            304,
            "",
        ),
        Row::passes("a body after HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", Waits, 200, "")
            .asked(Asked::Head),
        Row::passes(
            "chunks after HEAD",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Waits,
            200,
            "",
        )
        .asked(Asked::Head),
        Row::passes(
            "a length without a body for HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            Serves,
            200,
            "",
        )
        .asked(Asked::Head),
        Row::passes(
            "HTTP/1.0 that stays open without keep-alive",
            "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
            Waits,
            200,
            "ok",
        ),
        Row::passes(
            "HTTP/1.0 with keep-alive",
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
            Serves,
            200,
            "ok",
        ),
        Row::passes(
            "HTTP/1.0 without a length",
            "HTTP/1.0 200 OK\r\n\r\nuntil the end",
            Closes,
            200,
            "until the end",
        ),
        Row::passes(
            "HTTP/1.1 without a length",
            "HTTP/1.1 200 OK\r\n\r\nuntil the end",
            Closes,
            200,
            "until the end",
        ),
        Row::cut("no length, then silence", "HTTP/1.1 200 OK\r\n\r\nuntil the", Waits).with_short_patience(),
        Row::passes("drips its body", "", Serves, 200, "drop by drop")
            .does(Does::Answers(drips("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\ndrop by drop", Serves))),
    ]
}

/// Invalid chunks.
fn chunks() -> Vec<Row> {
    use Then::{Closes, Resets, Serves, Waits};
    const SINGLE_BYTES: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        1\r\na\r\n1;x=y\r\nb\r\n01\r\nc\r\n0\r\n\r\n";
    const TRAILERS: &str = "Content-Length: 99\r\nTransfer-Encoding: chunked\r\nX-Sum: 1\r\n";
    let cut = |name, body: &str| Row::cut(name, format!("{CHUNKED}2\r\nab\r\n{body}"), Waits);
    vec![
        cut("an invalid chunk size", "zz\r\n\r\n0\r\n\r\n"),
        cut("an empty chunk size", "\r\n0\r\n\r\n"),
        cut("a negative chunk size", "-1\r\nx\r\n0\r\n\r\n"),
        cut("a chunk size with 0x", "0x1\r\nx\r\n0\r\n\r\n"),
        cut("a chunk size beyond 64 bits", "fffffffffffffffff\r\nx\r\n0\r\n\r\n"),
        cut("a chunk size of 2^64-1 wrapped", "ffffffffffffffff0\r\nx\r\n0\r\n\r\n"),
        cut("no CRLF after a chunk", "1\r\nxYY0\r\n\r\n"),
        cut("a bare LF after a chunk size", "1\nx\r\n0\r\n\r\n"),
        cut("a bare LF after a chunk", "1\r\nx\n0\r\n\r\n"),
        cut("a NUL in an extension", "1;a\0\r\nx\r\n0\r\n\r\n"),
        cut("an endless extension", &format!("1;{}", "x".repeat(5000))).blames(Blame::Nobody),
        cut("endless trailers", &format!("0\r\n{}", "X: y\r\n".repeat(20_000))).blames(Blame::Nobody),
        cut("a trailer without a colon", "0\r\nnonsense\r\n\r\n"),
        cut("a folded trailer", "0\r\nX: y\r\n z\r\n\r\n"),
        cut("chunks that stop", "").with_short_patience(),
        Row::cut("a truncated chunk", format!("{CHUNKED}5\r\nab"), Closes),
        Row::cut("no last chunk", format!("{CHUNKED}2\r\nab\r\n"), Closes),
        Row::cut("no end after the last chunk", format!("{CHUNKED}2\r\nab\r\n0\r\n"), Closes),
        Row::cut("a reset between chunks", format!("{CHUNKED}2\r\nab\r\n"), Resets)
            .sees(Sees::CutOrTold(502, CLOSED))
            .client(Fate::None),
        Row::passes("chunks of one byte, in single bytes", "", Serves, 200, "abc")
            .does(Does::Answers(drips(SINGLE_BYTES, Serves))),
        Row::passes(
            "trailers with framing or routing fields",
            format!("{CHUNKED}2\r\nok\r\n0\r\n{TRAILERS}\r\n"),
            Serves,
            200,
            "ok",
        ),
        Row::passes(
            "bytes after the last chunk",
            format!("{CHUNKED}2\r\nok\r\n0\r\n\r\n{SMUGGLED}"),
            Waits,
            200,
            "ok",
        ),
    ]
}

/// Responses before the end of the request, or instead of reading it.
fn uploads() -> Vec<Row> {
    use Then::{Closes, Resets, Serves, Waits};
    const TOO_LARGE: &str = "HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nstop";
    let early = |name, bytes: &'static str, then, status, body| {
        Row::passes(name, "", then, status, body)
            .does(Does::OnHead(sends(bytes, then)))
            .client(Fate::Ended)
            .upstream(Fate::Ended)
    };
    vec![
        early("413 early, and closes", TOO_LARGE, Closes, 413, "stop").asked(Asked::Unfinished),
        early("413 early, and reads no more", TOO_LARGE, Waits, 413, "stop").asked(Asked::Unfinished),
        early(
            "413 early, and reads on",
            "HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nstop",
            Serves,
            413,
            "stop",
        )
        .asked(Asked::Unfinished),
        early("200 early, while it is uploaded", OK, Waits, 200, "ok").asked(Asked::Unfinished),
        // Its client kept it waiting, which is why servers do that.
        Row::told("closes during an upload", 502, CLOSED, Does::OnHead(silent(Closes)))
            .asked(Asked::Unfinished)
            .client(Fate::Ended)
            .blames(Blame::Nobody),
        Row::told("resets during an upload", 502, CLOSED, Does::OnHead(silent(Resets)))
            .asked(Asked::Unfinished)
            .client(Fate::Ended)
            .blames(Blame::Nobody),
        Row::told(
            "sends an invalid response during an upload",
            502,
            &["upstream_bad_response"],
            Does::OnHead(sends("nonsense\r\n\r\n", Waits)),
        )
        .asked(Asked::Unfinished)
        .client(Fate::Ended),
        Row::passes("responds to a POST without reading its body, and closes", "", Closes, 200, "ok")
            .asked(Asked::Post)
            .does(Does::OnHead(sends(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
                Waits,
            ))),
        Row::told("resets after an upload", 502, CLOSED, says("", Resets))
            .asked(Asked::Upload)
            .client(Fate::Ended),
        Row::told("reads an upload and sends nothing", 504, TIMED_OUT, says("", Waits))
            .asked(Asked::Upload)
            .client(Fate::Ended)
            .with_short_patience(),
        Row::passes("responds before the request was sent, and again", "", Waits, 200, "ok").does(
            Does::OnAccept(Box::new(|connection| {
                connection.send(format!("{OK}{SMUGGLED}"));
                Waits
            })),
        ),
    ]
}

/// All of them, in the order of the report.
pub(super) fn catalogue() -> Vec<Row> {
    [connections(), heads(), lengths(), chunks(), uploads()].into_iter().flatten().collect()
}
