//! Clients of one core: their open tunnels, and their wrong passwords.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use ahash::RandomState;
use ringway_model::Tick;

use crate::limits;

/// Client as it is counted: its address; of IPv6 the network of 64 bits, which a client has as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey(IpAddr);

/// Counts of the clients of a core.
#[derive(Debug, Default)]
pub struct Clients(HashMap<ClientKey, Client, RandomState>);

#[derive(Clone, Copy, Debug, Default)]
struct Client {
    tunnels: u32,
    failures: u32,
    failing_since: Tick,
    banned_until: Option<Tick>,
    seen: Tick,
}

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        })
    }
}

impl Clients {
    /// Counts a tunnel; false where the client has `max` already.
    pub fn begin_tunnel(&mut self, client: ClientKey, max: u32, now: Tick) -> bool {
        let client = self.entry(client, now);
        if client.tunnels >= max {
            return false;
        }
        client.tunnels += 1;
        true
    }

    /// Ends a tunnel that [`begin_tunnel`](Self::begin_tunnel) has counted.
    pub fn end_tunnel(&mut self, client: ClientKey) {
        if let Some(client) = self.0.get_mut(&client) {
            client.tunnels = client.tunnels.saturating_sub(1);
        }
    }

    /// Counts a wrong password, and begins a ban after too many.
    pub fn note_failure(&mut self, client: ClientKey, now: Tick) {
        let client = self.entry(client, now);
        if client.failures == 0 || now.since(client.failing_since) > limits::AUTH_FAILURE_WINDOW {
            (client.failures, client.failing_since) = (0, now);
        }
        client.failures += 1;
        if client.failures >= limits::AUTH_FAILURES_MAX {
            client.failures = 0;
            client.banned_until = Some(now.after(limits::AUTH_BAN));
        }
    }

    /// Time left of a client's ban.
    pub fn ban_left(&self, client: ClientKey, now: Tick) -> Option<Duration> {
        let until = self.0.get(&client)?.banned_until?;
        (until > now).then(|| now.until(until))
    }

    fn entry(&mut self, client: ClientKey, now: Tick) -> &mut Client {
        if self.0.len() >= limits::CLIENTS_PER_CORE_MAX && !self.0.contains_key(&client) {
            self.forget(now);
        }
        let entry = self.0.entry(client).or_default();
        entry.seen = now;
        entry
    }

    /// Drops the clients without tunnels and bans; if there is none, all but the later half of those with a
    /// ban: better forget some than count no others.
    fn forget(&mut self, now: Tick) {
        let is_banned = |client: &Client| client.banned_until.is_some_and(|until| until > now);
        self.0.retain(|_, client| client.tunnels > 0 || is_banned(client));
        if self.0.len() >= limits::CLIENTS_PER_CORE_MAX {
            self.0.retain(|_, client| client.tunnels > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(last: u8) -> ClientKey {
        IpAddr::from([192, 0, 2, last]).into()
    }

    #[test]
    fn tunnels_are_limited_per_client_and_per_network_of_ipv6() {
        let (mut clients, now) = (Clients::default(), Tick::default());
        assert!(clients.begin_tunnel(client(1), 1, now));
        assert!(!clients.begin_tunnel(client(1), 1, now));
        assert!(clients.begin_tunnel(client(2), 1, now));
        clients.end_tunnel(client(1));
        assert!(clients.begin_tunnel(client(1), 1, now));
        let of = |text: &str| ClientKey::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), client(1));
    }

    #[test]
    fn wrong_passwords_end_in_a_ban_and_the_ban_ends() {
        let (mut clients, now) = (Clients::default(), Tick::default());
        for _ in 1..limits::AUTH_FAILURES_MAX {
            clients.note_failure(client(1), now);
        }
        assert_eq!(clients.ban_left(client(1), now), None);
        clients.note_failure(client(1), now);
        assert_eq!(clients.ban_left(client(1), now), Some(limits::AUTH_BAN));
        assert_eq!(clients.ban_left(client(2), now), None);
        assert_eq!(clients.ban_left(client(1), now.after(limits::AUTH_BAN)), None);
        let later = now.after(limits::AUTH_FAILURE_WINDOW + Duration::from_secs(1));
        for _ in 1..limits::AUTH_FAILURES_MAX {
            clients.note_failure(client(3), now);
        }
        clients.note_failure(client(3), later);
        assert_eq!(clients.ban_left(client(3), later), None, "old failures are forgotten");
    }

    #[test]
    fn the_table_is_bounded_and_keeps_clients_with_tunnels() {
        let (mut clients, now) = (Clients::default(), Tick::default());
        assert!(clients.begin_tunnel(client(1), 1, now));
        for number in 0..2 * limits::CLIENTS_PER_CORE_MAX as u32 {
            clients.note_failure(IpAddr::from((number | 1 << 31).to_be_bytes()).into(), now);
        }
        assert!(clients.0.len() <= limits::CLIENTS_PER_CORE_MAX);
        assert!(!clients.begin_tunnel(client(1), 1, now));
    }
}
