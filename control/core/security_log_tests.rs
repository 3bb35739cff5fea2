use std::net::IpAddr;
use std::time::Duration;

use ringway_traffic::security_event::{SecurityEventKind, SecuritySubject};

use super::*;

fn refused(route: &str) -> SecurityEvent {
    let subject = SecuritySubject::Route(route.into());
    SecurityEvent { kind: SecurityEventKind::AuthRefused, subject, reason: "expired" }
}

fn from(last: u8, count: u64) -> SecurityCount {
    SecurityCount { client: Some(IpAddr::from([192, 0, 2, last])), count }
}

#[test]
fn the_first_is_reported_at_once_and_the_others_at_the_end_of_the_interval() {
    let (mut log, start) = (SecurityLog::default(), Tick(5_000));
    assert_eq!(log.next_deadline(), Tick::NEVER);
    log.count(refused("api"), from(1, 1), start);
    assert_eq!(log.next_deadline(), start);
    assert_eq!(log.take_due(start), [(refused("api"), from(1, 1))]);
    log.count(refused("api"), from(2, 40), start.after(Duration::from_secs(1)));
    log.count(refused("api"), from(3, 2), start.after(Duration::from_secs(59)));
    assert_eq!(log.take_due(start.after(Duration::from_secs(59))), []);
    let end = start.after(SECURITY_EVENT_INTERVAL);
    assert_eq!(log.next_deadline(), end);
    assert_eq!(log.take_due(end), [(refused("api"), from(2, 42))]);
    // A quiet interval ends it.
    let later = end.after(SECURITY_EVENT_INTERVAL);
    assert_eq!(log.take_due(later), []);
    assert_eq!(log.next_deadline(), Tick::NEVER);
}

#[test]
fn events_beyond_the_bound_share_a_report() {
    let (mut log, now) = (SecurityLog::default(), Tick(5_000));
    for number in 0..SECURITY_EVENTS_WATCHED_MAX + 7 {
        log.count(refused(&format!("route-{number:05}")), from(1, 2), now);
    }
    let due = log.take_due(now);
    assert_eq!(due.len(), SECURITY_EVENTS_WATCHED_MAX + 1);
    assert!(due.contains(&(refused("").among_others(), from(1, 14))), "{:?}", due.last());
}

#[test]
fn the_end_of_the_process_waits_for_no_interval() {
    let (mut log, now) = (SecurityLog::default(), Tick(5_000));
    log.count(refused("api"), from(1, 1), now);
    assert_eq!(log.take_due(now).len(), 1);
    log.count(refused("api"), from(2, 9), now);
    assert_eq!(log.take_all(), [(refused("api"), from(2, 9))]);
    assert_eq!(log.take_all(), []);
}
