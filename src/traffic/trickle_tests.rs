use super::*;
use crate::limits;

const NOW: Tick = Tick(1_000_000);
const IN_1_S: Tick = Tick(1_001_000);

#[test]
fn a_trickle_is_one_request_a_second() {
    let trickle = Trickle::default();
    assert!(trickle.admit(limits::TRICKLE_INTERVAL, NOW));
    assert!(
        !trickle.admit(limits::TRICKLE_INTERVAL, NOW)
            && !trickle.admit(limits::TRICKLE_INTERVAL, Tick(NOW.0 + 999))
    );
    assert!(trickle.admit(limits::TRICKLE_INTERVAL, IN_1_S));
    assert!(!trickle.admit(limits::TRICKLE_INTERVAL, IN_1_S));
    // A core with a slightly older clock reading.
    assert!(!trickle.admit(limits::TRICKLE_INTERVAL, NOW));
}
