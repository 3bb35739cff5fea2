use super::*;

fn outbound() -> Outbound {
    Outbound::new(State::Replaced)
}

/// Sends these bytes after each wait of a second; returns the number of allowed waits.
fn allowed(bytes: u64) -> Option<u32> {
    let mut outbound = outbound();
    (0..1_000).find(|_| {
        outbound.sent_bytes += bytes;
        outbound.check_rate(Duration::from_secs(1)).is_err()
    })
}

#[test]
fn a_window_that_is_opened_by_drips_is_below_the_rate() {
    let window = crate::limits::BODY_RATE_WINDOW.as_secs() as u32;
    assert_eq!(allowed(1), Some(window - 1));
    assert_eq!(allowed(ringway_model::limits::BODY_RATE_MIN - 1), Some(window - 1));
    assert_eq!(allowed(ringway_model::limits::BODY_RATE_MIN), None);
}

#[test]
fn only_waits_count() {
    let mut outbound = outbound();
    for _ in 0..1_000 {
        outbound.sent_bytes += 1;
        assert!(outbound.check_rate(Duration::ZERO).is_ok());
    }
}
