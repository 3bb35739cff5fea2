//! Cost of a lookup in a list of a million domains.

use ringway_forward::{DomainSet, Rules, SuffixKey};
use ringway_model::ListAction;

use crate::harness::Harness;

/// Rules of the list.
const RULES: u64 = 1_000_000;
/// Hosts that are asked for in turn: more than the caches of a processor have room for.
const HOSTS: usize = 65_536;

pub(crate) fn run(bench: &mut Harness) {
    if !bench.wants("forward: ") {
        return;
    }
    let names: Vec<String> =
        (0..RULES).map(|number| format!("site{number:x}.ads{}.example", number % 997)).collect();
    let rules = names.iter().map(|name| (name.as_str(), Rules::both(ListAction::Block)));
    let set = DomainSet::build(&SuffixKey::random(), rules, names.len());
    // Multiplied by an odd number, so that neighbours are far from each other in the table.
    let number = |at: usize| (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) % RULES;
    let listed: Vec<String> = (0..HOSTS).map(|at| format!("cdn.{}", names[number(at) as usize])).collect();
    let others: Vec<String> = (0..HOSTS).map(|at| format!("www.shop{}.example.org", number(at))).collect();
    let mut at = 0;
    let mut next = move || {
        at = (at + 1) % HOSTS;
        at
    };
    bench.line("forward: a host below one of 1000000 domains", || set.find(&listed[next()]));
    bench.line("forward: a host that none of 1000000 domains has", || set.find(&others[next()]));
}
