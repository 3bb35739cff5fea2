use proptest::prelude::*;

use super::*;

fn cycle(weights: &[u16]) -> Vec<u16> {
    match Shares::new(weights) {
        Shares::Weighted(sequence) => sequence.0.to_vec(),
        shares => panic!("{shares:?}"),
    }
}

#[test]
fn equal_weights_need_no_sequence() {
    for weights in [&[1][..], &[7, 7, 7], &[65_535; 100]] {
        assert_eq!(Shares::new(weights), Shares::Equal);
    }
    assert_eq!(Shares::new(&[]), Shares::Equal);
    assert_eq!(Shares::new(&[0, 0]), Shares::None);
}

#[test]
fn a_heavy_endpoint_gets_no_bursts() {
    assert_eq!(cycle(&[5, 1, 1]), [0, 0, 0, 1, 0, 0, 2]);
    assert_eq!(cycle(&[200, 100]), [0, 0, 1]);
    assert_eq!(cycle(&[1, 0, 1]), [0, 2]);
    // Half of all, among many light ones: every other pick.
    let mut weights = vec![1; 50];
    weights.push(50);
    let cycle = cycle(&weights);
    assert!(cycle.chunks(2).all(|pair| pair.contains(&50)), "{cycle:?}");
}

#[test]
fn weights_beyond_the_length_are_scaled_and_none_is_lost() {
    let cycle = cycle(&[65_535, 1, 0]);
    assert!(cycle.len() as u64 <= SEQUENCE_LENGTH_MAX + 1, "{}", cycle.len());
    assert_eq!(cycle.iter().filter(|index| **index == 1).count(), 1);
    assert!(!cycle.contains(&2));
    let many: Vec<u16> = (0..1_000).map(|number| if number == 0 { 65_535 } else { 1 + number % 2 }).collect();
    let Shares::Weighted(sequence) = Shares::new(&many) else { panic!("weights differ") };
    for index in 0..1_000 {
        assert!(sequence.0.contains(&index), "{index}");
    }
}

#[test]
fn cores_start_far_from_each_other() {
    let Shares::Weighted(sequence) = Shares::new(&[99, 1]) else { panic!("weights differ") };
    let mut starts: Vec<usize> = (0..8).map(|core| sequence.start_of(core)).collect();
    assert_eq!(starts[0], 0);
    starts.sort_unstable();
    assert!(starts.windows(2).all(|pair| pair[1] - pair[0] >= 5), "{starts:?}");
    assert!(*starts.last().unwrap() < 100);
}

proptest! {
    /// From any position on, after any number of picks, no endpoint is two picks away from its share.
    #[test]
    fn no_endpoint_is_two_picks_away_from_its_share(
        weights in prop::collection::vec(0..40_u16, 2..60), core in 0..256_u16
    ) {
        let Shares::Weighted(sequence) = Shares::new(&weights) else { return Ok(()) };
        let (length, sum) = (sequence.len(), f64::from(weights.iter().map(|weight| u32::from(*weight)).sum::<u32>()));
        let mut counts = vec![0_u32; weights.len()];
        let start = sequence.start_of(core);
        for picks in 1..=2 * length {
            counts[sequence.at(start + picks - 1)] += 1;
            for (count, weight) in counts.iter().zip(&weights) {
                let due = picks as f64 * f64::from(*weight) / sum;
                prop_assert!((f64::from(*count) - due).abs() < 2.0, "{} of {} after {}", count, due, picks);
            }
        }
    }
}
