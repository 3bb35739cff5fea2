//! Loom models of counters that one core writes and the control thread reads.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p ringway-telemetry --lib --target-dir target/loom models
//! ```
//! The reader is the second thread: loom does not try a reader before a writer that reads what it will write,
//! but it does try everything that a reader after it can see. The tests compare the set of all results, so
//! that a missing interleaving fails them.

use std::collections::BTreeSet;
use std::sync::Mutex;

use loom::sync::Arc;
use loom::thread;

use super::*;

/// Runs writer and reader concurrently in every interleaving; returns the reader's results over all of them.
fn seen<S, T>(
    writer: impl Fn(&S) + Clone + Send + Sync + 'static,
    reader: impl Fn(&S) -> T + Clone + Send + Sync + 'static,
    after: impl Fn(&S) + Send + Sync + 'static,
) -> BTreeSet<T>
where
    S: Default + Send + Sync + 'static,
    T: Ord + Send + 'static,
{
    let all = std::sync::Arc::new(Mutex::new(BTreeSet::new()));
    let these = all.clone();
    loom::model(move || {
        let state = Arc::new(S::default());
        let (write, written) = (writer.clone(), state.clone());
        let writing = thread::spawn(move || write(&written));
        let (read, shared) = (reader.clone(), state.clone());
        let reading = thread::spawn(move || read(&shared));
        let outcome = reading.join().expect("a thread of the model");
        these.lock().expect("not poisoned").insert(outcome);
        writing.join().expect("a thread of the model");
        after(&state);
    });
    std::sync::Arc::into_inner(all).expect("the model is over").into_inner().expect("not poisoned")
}

#[test]
fn a_reader_sees_counts_rise_and_finally_all_of_them() {
    let pairs = seen(
        |counter: &Counter| (1..=3).for_each(|count| counter.add(count)),
        |counter| (counter.read(), counter.read()),
        |counter| assert_eq!(counter.read(), 6),
    );
    let counts = [0, 1, 3, 6];
    let rising = counts.into_iter().flat_map(|first| counts.map(|second| (first, second)));
    assert_eq!(pairs, rising.filter(|(first, second)| first <= second).collect());
}

#[test]
fn a_reader_sees_each_word_once_and_no_count_above_the_written_one() {
    let lists = seen(
        |words: &WordCounters| ["one", "two", "one"].into_iter().for_each(|word| words.add(word)),
        |words| words.read().collect::<Vec<_>>(),
        |words| assert_eq!(words.read().collect::<Vec<_>>(), [(Some("one"), 2), (Some("two"), 1)]),
    );
    // The second "one" may be seen without the "two" before it: counts are not ordered like a log. A list of
    // "one" with a count and no "two" is possible as well, but no step of the model lies between those two.
    let possible =
        (0..=2).flat_map(|one| (0..=1).map(move |two| vec![(Some("one"), one), (Some("two"), two)]));
    let possible = possible.chain([vec![(Some("one"), 0)]]);
    assert_eq!(lists, possible.collect());
}
