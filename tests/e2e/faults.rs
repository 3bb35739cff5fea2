//! Origins that misbehave: one catalogue of what they do, what a client may see of it, and what must hold afterwards.
//!
//! Every row is played against an app of its own. First the fault once: its client sees what the row says, its client's
//! connection and the one upstream end as the row says, and the next two requests get their own answers. Then the fault
//! again and again: the breaker opens where the endpoint is to blame, and only there.
//!
//! `loadtest/report/faults.md` shows this table; a test compares the two.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::kit::h2::H2;
use crate::kit::*;

/// One way to misbehave.
struct Row {
    name: &'static str,
    asked: Asked,
    does: Does,
    sees: Sees,
    client: Fate,
    upstream: Fate,
    blame: Blame,
    patience: Patience,
}

/// The request that meets the fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Get,
    Head,
    Post,
    /// 100 kB, all of them sent at once: more than is taken before an endpoint is asked.
    Upload,
    /// Fifty megabytes are announced, a thousand bytes are sent.
    Unfinished,
}

/// What the origin does.
enum Does {
    /// Nobody listens.
    Refuses,
    /// Before it has read anything.
    OnAccept(Act),
    /// When it has the request's head.
    OnHead(Act),
    /// When it has the request.
    Answers(Act),
    /// It answers well, and misbehaves once the client has the answer.
    Later(Act),
}

type Act = Box<dyn Fn(&mut Connection) -> Then + Send + Sync>;

/// How the origin goes on.
#[derive(Clone, Copy)]
enum Then {
    /// With the next request.
    Serves,
    /// It neither reads nor writes until the proxy closes.
    Waits,
    Closes,
    Resets,
}

/// What the client may see.
enum Sees {
    /// Our own answer, with one of these words.
    Told(u16, &'static [&'static str]),
    /// The origin's answer, whole.
    Answer(u16, &'static str),
    /// A connection that breaks off within the answer.
    Cut,
    /// Either: a reset may overtake what was sent before it.
    CutOrTold(u16, &'static [&'static str]),
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    Ended,
    /// There is none.
    None,
}

/// Whether the breaker opens when it happens again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    Endpoint,
    Nobody,
}

/// How long the proxy waits for an origin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Usual,
    Short,
}

impl Row {
    /// The endpoint breaks off or breaks the rules before its answer began: the client is told, and keeps its connection.
    fn told(name: &'static str, status: u16, words: &'static [&'static str], does: Does) -> Self {
        Self {
            name,
            asked: Asked::Get,
            does,
            sees: Sees::Told(status, words),
            client: Fate::Kept,
            upstream: Fate::Ended,
            blame: Blame::Endpoint,
            patience: Patience::Usual,
        }
    }

    /// What it answers is no HTTP that may be passed on.
    fn broken(name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::told(name, 502, &["upstream_bad_response"], says(bytes, Then::Waits))
    }

    /// It breaks off or breaks the rules after its answer began.
    fn cut(name: &'static str, bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        let told = Self::told(name, 0, &[], says(bytes, then));
        Self { sees: Sees::Cut, client: Fate::Ended, ..told }
    }

    /// Odd, but its answer is sound.
    fn passes(
        name: &'static str,
        bytes: impl Into<Vec<u8>>,
        then: Then,
        status: u16,
        body: &'static str,
    ) -> Self {
        let upstream = if matches!(then, Then::Serves) { Fate::Kept } else { Fate::Ended };
        let told = Self::told(name, 0, &[], says(bytes, then));
        Self { sees: Sees::Answer(status, body), upstream, blame: Blame::Nobody, ..told }
    }

    fn asked(self, asked: Asked) -> Self {
        Self { asked, ..self }
    }

    fn client(self, client: Fate) -> Self {
        Self { client, ..self }
    }

    fn upstream(self, upstream: Fate) -> Self {
        Self { upstream, ..self }
    }

    fn blames(self, blame: Blame) -> Self {
        Self { blame, ..self }
    }

    fn sees(self, sees: Sees) -> Self {
        Self { sees, ..self }
    }

    fn does(self, does: Does) -> Self {
        Self { does, ..self }
    }

    fn with_short_patience(self) -> Self {
        Self { patience: Patience::Short, ..self }
    }
}

/// It sends these bytes once it has the request.
fn says(bytes: impl Into<Vec<u8>>, then: Then) -> Does {
    Does::Answers(sends(bytes, then))
}

fn sends(bytes: impl Into<Vec<u8>>, then: Then) -> Act {
    let bytes = bytes.into();
    Box::new(move |connection| {
        connection.send(&bytes);
        then
    })
}

/// It sends nothing.
fn silent(then: Then) -> Act {
    Box::new(move |_| then)
}

/// It begins with `first` and goes on with `piece` until nobody listens.
fn without_end(first: &'static str, piece: impl Into<Vec<u8>>) -> Act {
    let piece = piece.into();
    Box::new(move |connection| {
        connection.send(first);
        while connection.send(&piece) {}
        Then::Closes
    })
}

/// It sends every byte by itself.
fn drips(bytes: &'static str, then: Then) -> Act {
    Box::new(move |connection| {
        for byte in bytes.as_bytes() {
            connection.send([*byte]);
        }
        then
    })
}

const CLOSED: &[&str] = &["upstream_closed"];
const HEAD_CUT: &[&str] = &["upstream_head_cut"];
const TIMED_OUT: &[&str] = &["upstream_timeout"];
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const SMUGGLED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nSMUGGLED";

/// No connection, or one that ends or falls silent before its answer began.
fn connections() -> Vec<Row> {
    use Then::{Closes, Resets, Serves, Waits};
    vec![
        Row::told("refuses connections", 502, &["upstream_connect_failed"], Does::Refuses)
            .upstream(Fate::None),
        Row::told("accepts and says nothing", 504, TIMED_OUT, Does::OnAccept(silent(Waits)))
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
        Row::told("reads the request and says nothing", 504, TIMED_OUT, says("", Waits))
            .with_short_patience(),
        Row::told("half a status line, then the end", 502, HEAD_CUT, says("HTTP/1.1 20", Closes)),
        Row::told("half a head, then the end", 502, HEAD_CUT, says("HTTP/1.1 200 OK\r\nContent-Le", Closes)),
        Row::told(
            "half a head, then a reset",
            502,
            &["upstream_head_cut", "upstream_closed"],
            says("HTTP/1.1 200 OK\r\nContent-Le", Resets),
        ),
        Row::told("half a head, then silence", 504, TIMED_OUT, says("HTTP/1.1 200 OK\r\nContent-Le", Waits))
            .with_short_patience(),
        Row::told(
            "a head without its empty line, then the end",
            502,
            HEAD_CUT,
            says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", Closes),
        ),
        Row::passes("the answer in single bytes", "", Serves, 200, "ok")
            .does(Does::Answers(drips(OK, Serves))),
        Row::passes(
            "closes after an answer that promised more",
            "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=60\r\nContent-Length: 2\r\n\r\nok",
            Closes,
            200,
            "ok",
        ),
        Row::passes("resets after its answer", "", Resets, 200, "ok").does(Does::Later(silent(Resets))),
        Row::passes(
            "says that it closes and stays open",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
            Waits,
            200,
            "ok",
        ),
        Row::passes("closes an idle connection", "", Closes, 200, "ok").does(Does::Later(silent(Closes))),
        Row::passes("speaks on an idle connection", "", Waits, 200, "ok")
            .does(Does::Later(sends(SMUGGLED, Waits))),
        Row::passes("says 408 on an idle connection", "", Closes, 200, "ok").does(Does::Later(sends(
            "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            Closes,
        ))),
        Row::passes("one byte on an idle connection", "", Waits, 200, "ok")
            .does(Does::Later(sends("\n", Waits))),
    ]
}

/// Heads that are none, or too much of one.
fn heads() -> Vec<Row> {
    use Then::{Closes, Serves, Waits};
    let broken = |name, text: &str| Row::broken(name, text);
    let endless = |name, first, piece: &[u8]| {
        Row::told(name, 502, &["upstream_bad_response"], Does::Answers(without_end(first, piece)))
    };
    vec![
        endless("a field without an end", "HTTP/1.1 200 OK\r\nX: ", &[b'x'; 4096]),
        endless("fields without an end", "HTTP/1.1 200 OK\r\n", &b"X: y\r\n".repeat(100)),
        endless("a status line without an end", "HTTP/1.1 200 ", &[b'x'; 4096]),
        endless("bytes without an end", "", &[0; 4096]),
        Row::told(
            "interim answers without an end",
            502,
            &["upstream_interim_flood"],
            Does::Answers(without_end("", "HTTP/1.1 102 Processing\r\n\r\n".repeat(20))),
        ),
        Row::told(
            "an interim answer and the end",
            502,
            HEAD_CUT,
            says("HTTP/1.1 102 Processing\r\n\r\n", Closes),
        ),
        Row::told(
            "an interim answer, then silence",
            504,
            TIMED_OUT,
            says("HTTP/1.1 102 Processing\r\n\r\n", Waits),
        )
        .with_short_patience(),
        Row::passes(
            "100s and 103s that nobody waits for",
            format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n{OK}"),
            Serves,
            200,
            "ok",
        ),
        Row::told(
            "101 that nobody asked for",
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
            "another protocol's greeting, unasked",
            502,
            &["upstream_bad_response"],
            Does::OnAccept(sends("SSH-2.0-OpenSSH_9.2\r\n", Waits)),
        ),
        broken("HTTP/2.0 in the status line", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        broken("a version in small letters", "http/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
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
            "bytes beyond ASCII in a value",
            b"HTTP/1.1 200 OK\r\nX: caf\xe9\r\nContent-Length: 2\r\n\r\nok".as_slice(),
            Serves,
            200,
            "ok",
        ),
        Row::passes(
            "an unknown field of the connection",
            "HTTP/1.1 200 OK\r\nConnection: X-Mine\r\nX-Mine: 1\r\nContent-Length: 2\r\n\r\nok",
            Serves,
            200,
            "ok",
        ),
        Row::passes(
            "gateway error 503",
            "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy",
            Serves,
            503,
            "busy",
        )
        .blames(Blame::Endpoint),
        Row::passes(
            "its own error 500",
            "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",
            Serves,
            500,
            "oops",
        ),
        Row::passes(
            "gzip that is none",
            "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\ngarbage",
            Serves,
            200,
            "garbage",
        ),
    ]
}

/// Lengths that contradict themselves, or the body.
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
        ),
        broken("identity as transfer coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok"),
        broken("chunked twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        broken("chunks from HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Row::cut(
            "a huge length and the end",
            "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nok",
            Closes,
        ),
        Row::cut("a length too large and the end", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", Closes),
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
        Row::passes("two answers", format!("{OK}{SMUGGLED}"), Waits, 200, "ok"),
        Row::passes("two answers, and it serves on", format!("{OK}{SMUGGLED}"), Serves, 200, "ok")
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
            "HTTP/1.0 that stays open without a word",
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

/// Chunks that are none.
fn chunks() -> Vec<Row> {
    use Then::{Closes, Resets, Serves, Waits};
    let cut = |name, body: &str| Row::cut(name, format!("{CHUNKED}2\r\nab\r\n{body}"), Waits);
    vec![
        cut("a chunk size that is none", "zz\r\n\r\n0\r\n\r\n"),
        cut("an empty chunk size", "\r\n0\r\n\r\n"),
        cut("a negative chunk size", "-1\r\nx\r\n0\r\n\r\n"),
        cut("a chunk size with 0x", "0x1\r\nx\r\n0\r\n\r\n"),
        cut("a chunk size beyond 64 bits", "fffffffffffffffff\r\nx\r\n0\r\n\r\n"),
        cut("a chunk size of 2^64-1 wrapped", "ffffffffffffffff0\r\nx\r\n0\r\n\r\n"),
        cut("no CRLF after a chunk", "1\r\nxYY0\r\n\r\n"),
        cut("a bare LF after a chunk size", "1\nx\r\n0\r\n\r\n"),
        cut("a bare LF after a chunk", "1\r\nx\n0\r\n\r\n"),
        cut("a NUL in an extension", "1;a\0\r\nx\r\n0\r\n\r\n"),
        cut("an extension without an end", &format!("1;{}", "x".repeat(5000))),
        cut("trailers without an end", &format!("0\r\n{}", "X: y\r\n".repeat(20_000))),
        cut("a trailer without a colon", "0\r\nnonsense\r\n\r\n"),
        cut("a folded trailer", "0\r\nX: y\r\n z\r\n\r\n"),
        cut("chunks that stop", "").with_short_patience(),
        Row::cut("a chunk cut off", format!("{CHUNKED}5\r\nab"), Closes),
        Row::cut("no last chunk", format!("{CHUNKED}2\r\nab\r\n"), Closes),
        Row::cut("no end after the last chunk", format!("{CHUNKED}2\r\nab\r\n0\r\n"), Closes),
        Row::cut("a reset between chunks", format!("{CHUNKED}2\r\nab\r\n"), Resets)
            .sees(Sees::CutOrTold(502, CLOSED)).client(Fate::None),
        Row::passes("chunks of one byte, in single bytes", "", Serves, 200, "abc").does(Does::Answers(drips("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1;x=y\r\nb\r\n01\r\nc\r\n0\r\n\r\n", Serves))),
        Row::passes("trailers that frame or route", format!("{CHUNKED}2\r\nok\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\nX-Sum: 1\r\n\r\n"), Serves, 200, "ok"),
        Row::passes("bytes after the last chunk", format!("{CHUNKED}2\r\nok\r\n0\r\n\r\n{SMUGGLED}"), Waits, 200, "ok"),
    ]
}

/// Answers before the request is over, or instead of reading it.
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
        Row::told("closes during an upload", 502, CLOSED, Does::OnHead(silent(Closes)))
            .asked(Asked::Unfinished)
            .client(Fate::Ended),
        Row::told("resets during an upload", 502, CLOSED, Does::OnHead(silent(Resets)))
            .asked(Asked::Unfinished)
            .client(Fate::Ended),
        Row::told(
            "breaks the rules during an upload",
            502,
            &["upstream_bad_response"],
            Does::OnHead(sends("nonsense\r\n\r\n", Waits)),
        )
        .asked(Asked::Unfinished)
        .client(Fate::Ended),
        Row::passes("answers a POST without reading its body, and closes", "", Closes, 200, "ok")
            .asked(Asked::Post)
            .does(Does::OnHead(sends(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
                Waits,
            ))),
        Row::told("resets after an upload", 502, CLOSED, says("", Resets))
            .asked(Asked::Upload)
            .client(Fate::Ended),
        Row::told("reads an upload and says nothing", 504, TIMED_OUT, says("", Waits))
            .asked(Asked::Upload)
            .client(Fate::Ended)
            .with_short_patience(),
        Row::passes("answers before the request was sent, and once more", "", Waits, 200, "ok").does(
            Does::OnAccept(Box::new(|connection| {
                connection.send(format!("{OK}{SMUGGLED}"));
                Waits
            })),
        ),
    ]
}

fn catalogue() -> Vec<Row> {
    [connections(), heads(), lengths(), chunks(), uploads()].into_iter().flatten().collect()
}

/// An origin that answers `/good/TOKEN` with the token, and misbehaves otherwise.
struct Misbehaving {
    origin: Origin,
    shared: Arc<Shared>,
}

struct Shared {
    fault: Row,
    /// What happens on accept happens only while this is set.
    active: AtomicBool,
    /// Opened by the client's side once it has its answer, and by the origin once it has misbehaved after it.
    answered: Gate,
    done: Gate,
}

impl Misbehaving {
    fn new(fault: Row) -> Self {
        let shared =
            Shared { fault, active: AtomicBool::new(false), answered: Gate::new(), done: Gate::new() };
        let shared = Arc::new(shared);
        let inner = Arc::clone(&shared);
        Self { origin: Origin::script(move |connection| inner.serve(connection)), shared }
    }
}

impl Shared {
    fn serve(&self, connection: &mut Connection) {
        if let Does::OnAccept(act) = &self.fault.does
            && self.active.load(Ordering::SeqCst)
            && self.goes_on(act(connection), connection).is_none()
        {
            return;
        }
        while let Ok(mut request) = connection.request_head() {
            let is_good = request.target().starts_with("/good/");
            let reads_first = !matches!(self.fault.does, Does::OnHead(_));
            if (is_good || reads_first) && connection.body(&mut request).is_err() {
                return;
            }
            connection.remember(&request);
            let then = match &self.fault.does {
                _ if is_good => {
                    connection.reply(200, &request.target().as_bytes()["/good/".len()..]);
                    Then::Serves
                }
                Does::OnHead(act) => {
                    let then = act(connection);
                    // It goes on reading what it has answered already.
                    if matches!(then, Then::Serves) && connection.body(&mut request).is_err() {
                        return;
                    }
                    then
                }
                Does::Answers(act) => act(connection),
                Does::Later(act) => {
                    connection.send(OK);
                    if !self.answered.pass() {
                        return;
                    }
                    let then = act(connection);
                    if matches!(then, Then::Closes | Then::Resets) {
                        // The end itself comes when this script has returned: who waits asks the record.
                        self.goes_on(then, connection);
                        return;
                    }
                    self.done.open();
                    then
                }
                Does::Refuses | Does::OnAccept(_) => return,
            };
            if self.goes_on(then, connection).is_none() {
                return;
            }
        }
    }

    /// `None` when the script is over.
    fn goes_on(&self, then: Then, connection: &mut Connection) -> Option<()> {
        match then {
            Then::Serves => Some(()),
            Then::Waits => {
                connection.until_closed();
                None
            }
            Then::Closes => None,
            Then::Resets => {
                connection.reset();
                None
            }
        }
    }
}

/// What a client speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Front {
    Http1,
    Http2,
}

/// One client connection.
enum Visitor {
    Http1(Client),
    Http2(Box<H2>),
}

/// What came of a request.
#[derive(Debug)]
#[allow(dead_code, reason = "what was seen instead is printed")]
enum Seen {
    Whole { status: u16, body: String, word: Option<String>, circuit_open: bool },
    Cut(String),
    Nothing(String),
}

impl Seen {
    fn whole(status: u16, kind: Option<&str>, circuit_open: bool, body: &[u8]) -> Self {
        let json: Option<Value> =
            kind.filter(|kind| kind.contains("json")).and_then(|_| serde_json::from_slice(body).ok());
        let word = json.and_then(|json| json["error"]["code"].as_str().map(str::to_owned));
        Self::Whole { status, body: String::from_utf8_lossy(body).into_owned(), word, circuit_open }
    }
}

impl Visitor {
    fn ask(&mut self, asked: Asked, host: &str, path: &str) -> Seen {
        let (method, length, sent) = match asked {
            Asked::Get => ("GET", 0, 0),
            Asked::Head => ("HEAD", 0, 0),
            Asked::Post => ("POST", 5, 5),
            Asked::Upload => ("POST", 100_000, 100_000),
            Asked::Unfinished => ("POST", 50_000_000, 1_000),
        };
        match self {
            Self::Http1(client) => {
                let framing =
                    if length > 0 { format!("Content-Length: {length}\r\n") } else { String::new() };
                let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{framing}\r\n");
                client.send([head.into_bytes(), pattern(sent)].concat());
                match client.try_response(method) {
                    Ok(answer) => Seen::whole(
                        answer.status(),
                        answer.field("content-type"),
                        answer.field("x-proxy-circuit-open").is_some(),
                        &answer.body,
                    ),
                    Err(fault @ (Fault::Cut(_) | Fault::CutHead | Fault::Closed | Fault::Reset)) => {
                        Seen::Cut(format!("{fault:?}"))
                    }
                    Err(fault) => Seen::Nothing(format!("{fault:?}")),
                }
            }
            Self::Http2(client) => {
                client.within(SOON);
                let announced = length.to_string();
                let more = [("content-length", announced.as_str())];
                let fields = client.fields(method, host, path, if length > 0 { &more } else { &[] });
                let stream = client.begin(&fields, length == 0);
                if length > 0 {
                    client.upload(stream, &pattern(sent));
                }
                if length > 0 && asked != Asked::Unfinished {
                    client.data(stream, &[], true);
                }
                let answer = client.response(stream);
                match answer.is_ended {
                    true => Seen::whole(
                        answer.status(),
                        answer.get("content-type"),
                        answer.get("x-proxy-circuit-open").is_some(),
                        &answer.body,
                    ),
                    false => Seen::Cut(format!("{:?}", answer.reset)),
                }
            }
        }
    }
}

/// One row against one proxy.
struct Play<'a> {
    proxy: &'a Proxy,
    front: Front,
    authority: &'a Authority,
    host: String,
    target: Misbehaving,
    number: usize,
    asked: usize,
}

impl Play<'_> {
    fn fault(&self) -> &Row {
        &self.target.shared.fault
    }

    fn visitor(&self) -> Visitor {
        match self.front {
            Front::Http1 => Visitor::Http1(self.proxy.client()),
            Front::Http2 => {
                let tls = Tls::new(self.authority, &self.host).alpn(&["h2"]);
                Visitor::Http2(Box::new(H2::open(
                    Box::new(tls.stream(self.proxy.https()).unwrap()),
                    "https",
                    &[],
                )))
            }
        }
    }

    /// Everything that the row says, or what does not hold.
    fn run(mut self) -> Result<(), String> {
        let mut visitor = self.visitor();
        self.misbehave(&mut visitor)?;
        let mut visitors = vec![self.visitor()];
        match (self.fault().client, &mut visitor) {
            // An answer that broke off is the end already; and of HTTP/2 one stream ends, not the connection.
            (Fate::Ended, Visitor::Http1(client)) if !matches!(self.fault().sees, Sees::Cut) => {
                ended(client)?
            }
            (Fate::Ended | Fate::None, Visitor::Http1(_)) => {}
            (Fate::Kept, _) | (_, Visitor::Http2(_)) => visitors.push(visitor),
        }
        let before = self.target.origin.connections().len();
        for visitor in &mut visitors {
            self.good(visitor)?;
        }
        let after = self.target.origin.connections();
        match self.fault().upstream {
            Fate::Kept if after.len() != before => return Err("its connection was not used again".into()),
            // What is left open is the one connection of the good requests.
            Fate::Ended => {
                let used_again = after.len() == before && !matches!(self.fault().does, Does::OnAccept(_));
                let is_over = || after.iter().rev().skip(1).all(|one| one.has_ended());
                if used_again || !soon(is_over) {
                    return Err(format!("its connection was kept, used again: {used_again}"));
                }
            }
            Fate::Kept | Fate::None => {}
        }
        for _ in 0..5 {
            let mut visitor = self.visitor();
            self.misbehave(&mut visitor).map_err(|what| format!("again: {what}"))?;
        }
        let mut visitor = self.visitor();
        match self.fault().blame {
            Blame::Nobody => self.good(&mut visitor),
            Blame::Endpoint => match visitor.ask(Asked::Get, &self.host, "/good/blamed") {
                Seen::Whole { status: 502, circuit_open: true, .. } => Ok(()),
                other => Err(format!("the breaker did not open: {other:?}")),
            },
        }
    }

    /// A request for something sound gets its own answer.
    fn good(&mut self, visitor: &mut Visitor) -> Result<(), String> {
        self.asked += 1;
        let token = format!("{}-{}", self.number, self.asked);
        match visitor.ask(Asked::Get, &self.host, &format!("/good/{token}")) {
            Seen::Whole { status: 200, body, .. } if body == token => Ok(()),
            other => Err(format!("afterwards, {token} was answered with {other:?}")),
        }
    }

    /// The fault, and what its client sees of it.
    fn misbehave(&self, visitor: &mut Visitor) -> Result<(), String> {
        let fault = self.fault();
        // What the fault meets is a new connection, never one that an earlier request left behind.
        self.target.origin.cut();
        self.target.shared.active.store(true, Ordering::SeqCst);
        if matches!(fault.does, Does::Refuses) {
            self.target.origin.die();
        }
        let seen = visitor.ask(fault.asked, &self.host, "/fault");
        let verdict = fault.sees.judge(&seen);
        if matches!(fault.does, Does::Later(_)) {
            self.target.shared.answered.open();
            let last = self.target.origin.connections().pop().ok_or("no connection")?;
            if !soon(|| last.has_ended() || self.target.shared.done.pass_now()) {
                return Err("the origin did not misbehave".into());
            }
        }
        self.target.shared.active.store(false, Ordering::SeqCst);
        if matches!(fault.does, Does::Refuses) {
            self.target.origin.revive();
        }
        verdict
    }
}

/// Whether it becomes true in time.
fn soon(mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + SOON;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        pause();
    }
}

/// A connection that is over says nothing more.
fn ended(client: &mut Client) -> Result<(), String> {
    let rest = client.rest();
    if rest.is_empty() {
        Ok(())
    } else {
        Err(format!("more after the end: {:?}", String::from_utf8_lossy(&rest)))
    }
}

impl Sees {
    fn judge(&self, seen: &Seen) -> Result<(), String> {
        let is_told = |wanted: u16, words: &[&str]| matches!(seen, Seen::Whole { status, word: Some(word), .. } if *status == wanted && words.contains(&word.as_str()));
        let is_cut = matches!(seen, Seen::Cut(_));
        let holds = match self {
            Self::Told(status, words) => is_told(*status, words),
            Self::Answer(wanted, text) => {
                matches!(seen, Seen::Whole { status, body, .. } if status == wanted && body == text)
            }
            Self::Cut => is_cut,
            Self::CutOrTold(status, words) => is_cut || is_told(*status, words),
        };
        if holds { Ok(()) } else { Err(format!("its client saw {seen:?}")) }
    }
}

/// How many rows are played at one time: most of them wait.
const PLAYERS: usize = 16;

/// Plays the whole catalogue.
fn play(driver: Driver, front: Front) {
    let authority = Authority::new("faults");
    let names: Vec<String> = (0..catalogue().len()).map(|number| format!("app{number}.test")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    // One worker, so that it is known which connections are pooled; checks that come once, so that only requests blame.
    let start = || {
        let builder = Proxy::on(driver).env("PROXY_WORKERS", "1").env("HEALTH_CHECK_INTERVAL", "300s");
        let (certificate, key) = authority.server(&names).write(builder.folder(), "default");
        builder
            .env("PROXY_HTTPS_PORT", "0")
            .env("PROXY_HANDSHAKE_RATE", "0")
            .env("PROXY_TLS_CERT", certificate.to_str().unwrap())
            .env("PROXY_TLS_KEY", key.to_str().unwrap())
    };
    let usual = start().start();
    let impatient = start().env("PROXY_RESPONSE_TIMEOUT", "2s").env("PROXY_BODY_TIMEOUT", "2s").start();
    let rows = Mutex::new(catalogue().into_iter().enumerate());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..PLAYERS {
            scope.spawn(|| {
                while let Some((number, fault)) = { rows.lock().unwrap().next() } {
                    let proxy = if fault.patience == Patience::Usual { &usual } else { &impatient };
                    let name = fault.name;
                    let target = Misbehaving::new(fault);
                    let (app, host) = (format!("app{number}"), format!("app{number}.test"));
                    proxy.serve(&app, &host, &target.origin);
                    let play = Play { proxy, front, authority: &authority, host, target, number, asked: 0 };
                    // The other rows shall be heard, too.
                    let played = catch_unwind(AssertUnwindSafe(|| play.run()));
                    if let Err(what) = played.unwrap_or_else(|_| Err("a panic, see above".into())) {
                        wrong.lock().unwrap().push(format!("{name}: {what}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} rows do not hold:\n{}", wrong.len(), wrong.join("\n"));
}

on_both_drivers! {
    fn every_fault_of_an_origin_is_answered_as_the_catalogue_says(driver) {
        play(driver, Front::Http1);
    }

    fn every_fault_of_an_origin_is_answered_so_over_http2_too(driver) {
        play(driver, Front::Http2);
    }
}

impl Row {
    /// The row as the report shows it.
    fn line(&self) -> String {
        let request = match self.asked {
            Asked::Get => "GET",
            Asked::Head => "HEAD",
            Asked::Post => "POST",
            Asked::Upload => "POST, 100 kB",
            Asked::Unfinished => "POST, unfinished",
        };
        let sees = match &self.sees {
            Sees::Told(status, words) => format!("{status} `{}`", words.join("` or `")),
            Sees::Answer(status, _) => format!("its {status}, whole"),
            Sees::Cut => "a connection cut within the answer".to_owned(),
            Sees::CutOrTold(status, words) => {
                format!("a connection cut within the answer, or {status} `{}`", words.join("` or `"))
            }
        };
        let fate = |fate| match fate {
            Fate::Kept => "kept",
            Fate::Ended => "ended",
            Fate::None => "-",
        };
        let blame = match self.blame {
            Blame::Endpoint => "yes",
            Blame::Nobody => "no",
        };
        format!(
            "| {} | {request} | {sees} | {} | {} | {blame} |\n",
            self.name,
            fate(self.client),
            fate(self.upstream)
        )
    }
}

/// `FAULTS_REPORT=write` writes the table anew.
#[test]
fn the_report_shows_the_catalogue() {
    const BEGIN: &str =
        "<!-- The catalogue: FAULTS_REPORT=write cargo test --test e2e the_report_shows_the_catalogue -->\n";
    const END: &str = "<!-- The catalogue ends. -->";
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/report/faults.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let rows = catalogue();
    let mut table = format!(
        "{} ways.\n\n| the origin | request | its client sees | client's connection | upstream | opens the breaker |\n|---|---|---|---|---|---|\n",
        rows.len()
    );
    table.extend(rows.iter().map(Row::line));
    let (before, rest) = text.split_once(BEGIN).expect("the catalogue's place in the report");
    let (shown, after) = rest.split_once(END).expect("the catalogue's end in the report");
    if std::env::var("FAULTS_REPORT").is_ok_and(|wish| wish == "write") {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    } else {
        assert_eq!(shown, table, "the report is older than the catalogue");
    }
    let mut names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|two| two[0] != two[1]), "two rows have the same name");
}
