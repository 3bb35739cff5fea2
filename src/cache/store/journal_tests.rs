#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn records_since_a_number_are_those_that_came_after_it() {
    let journal = Journal::new(3);
    let start = journal.sequence();
    assert_eq!(journal.since(start), Ok((vec![], 0)));
    journal.append("a");
    journal.append("b");
    assert_eq!(journal.since(start), Ok((vec!["a", "b"], 2)));
    assert_eq!(journal.since(1), Ok((vec!["b"], 2)));
    assert_eq!(journal.since(2), Ok((vec![], 2)));
}

#[test]
fn records_that_were_forgotten_are_not_passed_over() {
    let journal = Journal::new(2);
    for record in 0..5 {
        journal.append(record);
    }
    assert_eq!(journal.since(3), Ok((vec![3, 4], 5)));
    assert_eq!(journal.since(2), Err(Forgotten));
    assert_eq!(journal.since(0), Err(Forgotten));
}
