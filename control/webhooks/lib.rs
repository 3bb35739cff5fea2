//! Webhooks: delivery of events to the URLs of apps and of the operator.
//!
//! ```text
//! control thread ── Webhooks::send ──► dispatcher: bounded queue ──► senders: POST, signed
//!                                          ▲    retries: 1, 2, 4 s       │
//!                                          └────────── outcome ──────────┘
//! ```
//! Sending an event never blocks; only the few delivery threads wait for receivers. A receiver has one
//! delivery in flight at a time, and one that hangs does not delay the others.
//!
//! A delivery is a `POST` of JSON with these fields:
//! - `X-Ringway-Event-Id`: the same in every attempt, for the receiver to recognise duplicates;
//! - `X-Ringway-Timestamp`: time of the attempt in seconds since 1970;
//! - `X-Ringway-Signature`: `sha256=` and the HMAC-SHA256 of timestamp, a full stop, and the body, in
//!   hexadecimal; only when the webhook has a secret.
//!
//! A response of 200 to 299 is a success. 408, 429, 500 to 599 and a missing response are retried, three
//! times at most; any other status is a refusal. Redirects are not followed. Waiting deliveries are lost when
//! the process ends: their content is available from the API.
#![forbid(unsafe_code)]

mod dispatch;
mod event;
mod limits;
mod queue;
mod send;

pub use dispatch::{WebhookCounters, Webhooks, start};
pub use event::{Details, Event, EventKind};
