//! The side that faces the endpoints: connections to them, and one attempt to have a request answered.

mod attempt;
mod connect;
mod outgoing;
mod pool;
mod respond;
mod sending;
mod trust;
mod upgrade;

pub(crate) use attempt::{Attempt, Failed, Reuse, Stage, forward};
pub(crate) use pool::{File, Files, Pool, Upstream};
pub(crate) use trust::Trust;
