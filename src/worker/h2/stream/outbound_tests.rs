use super::*;

fn outbound() -> Outbound {
    Outbound::new(State::Answered)
}

/// Waits of a second each, with so many bytes in each; how many were allowed.
fn allowed(bytes: u64) -> Option<u32> {
    let mut outbound = outbound();
    (0..1_000).find(|_| {
        outbound.moved += bytes;
        outbound.judge_progress(Duration::from_secs(1)).is_err()
    })
}

#[test]
fn a_window_that_is_opened_by_drips_is_no_progress() {
    let window = crate::limits::BODY_RATE_WINDOW.as_secs() as u32;
    assert_eq!(allowed(1), Some(window - 1));
    assert_eq!(allowed(ringway_model::limits::BODY_RATE_MIN - 1), Some(window - 1));
    assert_eq!(allowed(ringway_model::limits::BODY_RATE_MIN), None);
}

#[test]
fn time_that_was_not_spent_waiting_does_not_count() {
    let mut outbound = outbound();
    for _ in 0..1_000 {
        outbound.moved += 1;
        assert!(outbound.judge_progress(Duration::ZERO).is_ok());
    }
}
