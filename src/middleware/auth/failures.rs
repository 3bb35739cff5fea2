//! Failed authentications of clients: bounds the cryptography that guesses cost.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::limits;

/// Failures of the clients of one core, as GCRA: a client that fails more often than
/// [`AUTH_FAILURE_INTERVAL_US`](limits::AUTH_FAILURE_INTERVAL_US) beyond a burst is not judged for a while.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// Theoretical arrival time of the next failure, in microseconds.
    clients: HashMap<IpAddr, u64, ahash::RandomState>,
}

impl Failures {
    /// Whether a client has failed too often lately. No cost while none has.
    pub(crate) fn is_throttled(&self, client: IpAddr, now_us: u64) -> bool {
        !self.clients.is_empty()
            && self.clients.get(&network(client)).is_some_and(|tat| *tat > now_us + burst_us())
    }

    /// Counts a failure.
    pub(crate) fn note(&mut self, client: IpAddr, now_us: u64) {
        if self.clients.len() >= limits::AUTH_FAILING_CLIENTS_MAX {
            self.clients.retain(|_, tat| *tat > now_us);
            if self.clients.len() >= limits::AUTH_FAILING_CLIENTS_MAX {
                // Full of failing clients: better forget them than refuse others.
                self.clients.clear();
            }
        }
        let tat = self.clients.entry(network(client)).or_insert(now_us);
        *tat = (*tat).max(now_us) + limits::AUTH_FAILURE_INTERVAL_US;
    }
}

fn burst_us() -> u64 {
    limits::AUTH_FAILURE_INTERVAL_US * limits::AUTH_FAILURE_BURST
}

/// The address; of IPv6 the network of 64 bits, which a client has as a whole.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_throttled_beyond_the_burst_and_recovers() {
        let (mut failures, client) = (Failures::default(), IpAddr::from([192, 0, 2, 1]));
        for _ in 0..limits::AUTH_FAILURE_BURST {
            failures.note(client, 1_000);
            assert!(!failures.is_throttled(client, 1_000));
        }
        failures.note(client, 1_000);
        assert!(failures.is_throttled(client, 1_000));
        assert!(!failures.is_throttled(IpAddr::from([192, 0, 2, 2]), 1_000));
        assert!(!failures.is_throttled(client, 1_000 + limits::AUTH_FAILURE_INTERVAL_US));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut failures = Failures::default();
        for client in 0..2 * limits::AUTH_FAILING_CLIENTS_MAX as u32 {
            failures.note(IpAddr::from(client.to_be_bytes()), 5);
            assert!(failures.clients.len() <= limits::AUTH_FAILING_CLIENTS_MAX);
        }
    }
}
