//! Models of counters that one core writes and the control thread reads, for loom.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p ringway-telemetry --lib --target-dir target/loom models
//! ```

use loom::sync::Arc;
use loom::thread;

use super::*;

#[test]
fn a_reader_sees_counts_rise_and_in_the_end_all_of_them() {
    loom::model(|| {
        let counter = Arc::new(Counter::default());
        let writer = counter.clone();
        let thread = thread::spawn(move || (1..=3).for_each(|count| writer.add(count)));
        let (first, second) = (counter.read(), counter.read());
        assert!(first <= second && [0, 1, 3, 6].contains(&first) && [0, 1, 3, 6].contains(&second));
        thread.join().expect("a thread of the model");
        assert_eq!(counter.read(), 6);
    });
}

#[test]
fn a_reader_never_sees_a_word_twice_or_with_more_than_was_counted() {
    loom::model(|| {
        let words = Arc::new(Words::default());
        let writer = words.clone();
        let thread =
            thread::spawn(move || ["one", "two", "one"].into_iter().for_each(|word| writer.add(word)));
        let seen: Vec<_> = words.read().collect();
        for (position, (word, count)) in seen.iter().enumerate() {
            assert!((*word, position) == (Some("one"), 0) || (*word, position) == (Some("two"), 1));
            assert!(*count <= 2 - position as u64);
        }
        thread.join().expect("a thread of the model");
        assert_eq!(words.read().collect::<Vec<_>>(), [(Some("one"), 2), (Some("two"), 1)]);
    });
}
