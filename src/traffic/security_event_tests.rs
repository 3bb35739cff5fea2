use super::*;

fn refused(route: &str) -> SecurityEvent {
    SecurityEvent {
        kind: SecurityEventKind::AuthRefused,
        subject: SecuritySubject::Route(route.into()),
        reason: "expired",
    }
}

fn client(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([192, 0, 2, last]))
}

#[test]
fn equal_ones_are_counted_with_their_first_client() {
    let mut counts = SecurityCounts::default();
    assert!(counts.is_empty());
    for last in [7, 8, 9] {
        counts.count(refused("api"), client(last));
    }
    counts.count(refused("shop"), client(1));
    let expected = [
        (refused("api"), SecurityCount { client: client(7), count: 3 }),
        (refused("shop"), SecurityCount { client: client(1), count: 1 }),
    ];
    assert_eq!(*counts.copy(), expected);
    counts.clear();
    assert!(counts.is_empty());
}

#[test]
fn a_flood_of_routes_is_counted_together() {
    let mut counts = SecurityCounts::default();
    for number in 0..SECURITY_EVENTS_MAX + 500 {
        counts.count(refused(&format!("route-{number:05}")), client(1));
    }
    // Those that are known are still counted apart.
    counts.count(refused("route-00000"), client(2));
    let all = counts.copy();
    assert_eq!(all.len(), SECURITY_EVENTS_MAX + 1);
    let count_of = |event: &SecurityEvent| all.iter().find(|(of, _)| of == event).map(|(_, of)| of.count);
    assert_eq!(count_of(&refused("route-00000")), Some(2));
    assert_eq!(count_of(&refused("route-00000").among_others()), Some(500));
}
