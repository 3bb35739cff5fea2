//! Parts of a row of the catalogue: the request, the behaviour of the origin, and the expected outcome.

use crate::kit::Connection;

/// One way to misbehave.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) asked: Asked,
    pub(super) does: Does,
    pub(super) sees: Sees,
    pub(super) client: Fate,
    pub(super) upstream: Fate,
    pub(super) blame: Blame,
    pub(super) patience: Patience,
}

/// The request that meets the fault.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Get,
    Head,
    Post,
    /// 100 kB, sent at once: more than is buffered before an endpoint is chosen.
    Upload,
    /// Fifty megabytes are announced, a thousand bytes are sent.
    Unfinished,
}

/// Behaviour of the origin.
pub(super) enum Does {
    /// No listener.
    Refuses,
    /// Before it has read anything.
    OnAccept(Act),
    /// When it has the request's head.
    OnHead(Act),
    /// When it has the request.
    Answers(Act),
    /// Sends a valid response, and misbehaves once the client has received it.
    Later(Act),
}

pub(super) type Act = Box<dyn Fn(&mut Connection) -> Then + Send + Sync>;

/// Next behaviour of the origin.
#[derive(Clone, Copy)]
pub(super) enum Then {
    /// With the next request.
    Serves,
    /// It neither reads nor writes until the proxy closes.
    Waits,
    Closes,
    Resets,
}

/// Acceptable outcome at the client.
pub(super) enum Sees {
    /// Local reply of the proxy, with one of these codes.
    Told(u16, &'static [&'static str]),
    /// The complete response of the origin.
    Answer(u16, &'static str),
    /// A connection that ends within the response.
    Cut,
    /// Either: a reset may overtake what was sent before it.
    CutOrTold(u16, &'static [&'static str]),
}

/// Outcome of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    Ended,
    /// There is none.
    None,
}

/// Whether the circuit breaker opens after repeated faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blame {
    Endpoint,
    Nobody,
}

/// Timeout of the proxy for an origin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    Usual,
    Short,
}

impl Row {
    /// The endpoint disconnects or violates the protocol before its response: the client gets an error and
    /// keeps its connection.
    pub(super) fn told(name: &'static str, status: u16, words: &'static [&'static str], does: Does) -> Self {
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

    /// Its response is not valid HTTP, and is not forwarded.
    pub(super) fn broken(name: &'static str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::told(name, 502, &["upstream_bad_response"], says(bytes, Then::Waits))
    }

    /// It disconnects or violates the protocol after its response began.
    pub(super) fn cut(name: &'static str, bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        let told = Self::told(name, 0, &[], says(bytes, then));
        Self { sees: Sees::Cut, client: Fate::Ended, ..told }
    }

    /// Unusual, but with a valid response.
    pub(super) fn passes(
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

    pub(super) fn asked(self, asked: Asked) -> Self {
        Self { asked, ..self }
    }

    pub(super) fn client(self, client: Fate) -> Self {
        Self { client, ..self }
    }

    pub(super) fn upstream(self, upstream: Fate) -> Self {
        Self { upstream, ..self }
    }

    pub(super) fn blames(self, blame: Blame) -> Self {
        Self { blame, ..self }
    }

    pub(super) fn sees(self, sees: Sees) -> Self {
        Self { sees, ..self }
    }

    pub(super) fn does(self, does: Does) -> Self {
        Self { does, ..self }
    }

    pub(super) fn with_short_patience(self) -> Self {
        Self { patience: Patience::Short, ..self }
    }

    /// The row as the report shows it.
    pub(super) fn line(&self) -> String {
        let request = match self.asked {
            Asked::Get => "GET",
            Asked::Head => "HEAD",
            Asked::Post => "POST",
            Asked::Upload => "POST, 100 kB",
            Asked::Unfinished => "POST, unfinished",
        };
        let sees = match &self.sees {
            Sees::Told(status, words) => format!("{status} `{}`", words.join("` or `")),
            Sees::Answer(status, _) => format!("its {status}, complete"),
            Sees::Cut => "an aborted connection within the response".to_owned(),
            Sees::CutOrTold(status, words) => {
                format!("an aborted connection within the response, or {status} `{}`", words.join("` or `"))
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

/// It sends these bytes once it has the request.
pub(super) fn says(bytes: impl Into<Vec<u8>>, then: Then) -> Does {
    Does::Answers(sends(bytes, then))
}

pub(super) fn sends(bytes: impl Into<Vec<u8>>, then: Then) -> Act {
    let bytes = bytes.into();
    Box::new(move |connection| {
        connection.send(&bytes);
        then
    })
}

/// It sends nothing.
pub(super) fn silent(then: Then) -> Act {
    Box::new(move |_| then)
}

/// Sends `first`, then `piece` until the peer closes.
pub(super) fn without_end(first: &'static str, piece: impl Into<Vec<u8>>) -> Act {
    let piece = piece.into();
    Box::new(move |connection| {
        connection.send(first);
        while connection.send(&piece) {}
        Then::Closes
    })
}

/// It sends every byte by itself.
pub(super) fn drips(bytes: &'static str, then: Then) -> Act {
    Box::new(move |connection| {
        for byte in bytes.as_bytes() {
            connection.send([*byte]);
        }
        then
    })
}

pub(super) const CLOSED: &[&str] = &["upstream_closed"];
pub(super) const HEAD_CUT: &[&str] = &["upstream_head_cut"];
pub(super) const TIMED_OUT: &[&str] = &["upstream_timeout"];
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub(super) const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
pub(super) const SMUGGLED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nSMUGGLED";
