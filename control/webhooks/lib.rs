//! Webhooks: what happens to an app is told to the URL that it named.
//!
//! ```text
//! control thread ── Webhooks::send ──► dispatcher: queue (bounded, drops the oldest) ──► senders: POST, signed
//!                                          ▲            retries: 1, 2, 4 s                   │
//!                                          └──────────────────── outcome ───────────────────┘
//! ```
//! Nothing here blocks whoever sends, and nothing waits for a receiver but the few threads that deliver. A receiver has one
//! delivery under way at a time, so that one that hangs does not hold up the others.
//!
//! A delivery is a `POST` of JSON with these fields:
//! - `X-Ringway-Event-Id`: the same in every try, so that a receiver can tell what it has seen;
//! - `X-Ringway-Timestamp`: seconds since 1970, when the try was made;
//! - `X-Ringway-Signature`: `sha256=` and the HMAC-SHA256 of timestamp, a full stop, and the body, in hexadecimal; only when
//!   the webhook has a secret.
//!
//! Any answer of the 200s is a success. 408, 429 and 500s, and no answer, are tried again, three times at most; others say
//! that the receiver does not want it. Redirects are not followed. What waits is lost when the process ends: webhooks tell
//! of what the API can be asked for.
#![forbid(unsafe_code)]

mod dispatch;
mod event;
mod limits;
mod queue;
mod send;

pub use dispatch::{Reading, Webhooks, start};
pub use event::{Details, Event, EventKind};
