//! Simulations of cores with queues, and of a backend behind an adaptive limit. All randomness is seeded.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::*;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Within 0 (excluded) and 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 1.0) / (1u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -self.unit().ln() * mean
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

fn limit(max_concurrent: u32, queue_size: u32, state: &Arc<LoadState>) -> LoadLimit {
    let settings = LoadSettings {
        max_concurrent,
        queue_size,
        queue_timeout: Duration::from_secs(1),
        adaptive: None,
        dry_run: false,
    };
    LoadLimit::new(settings, state.clone())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives { core: usize },
    Finishes { core: usize },
    GivesUp { id: u64, core: usize },
    Wakes { core: usize },
    Changes { max: u32 },
}

/// Cores with their queues, woken after a delay.
struct Cores {
    limit: LoadLimit,
    rng: Rng,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    now_us: u64,
    queues: Vec<VecDeque<(u64, u64)>>,
    /// Wake-ups on their way, by core.
    waking: Vec<u32>,
    in_flight: u32,
    service_us: u64,
    wake_us: u64,
    patience_us: Option<u64>,
    /// `max_concurrent` was constant so far.
    is_steady: bool,
    admitted: u64,
    refused: u64,
    waits_us: Vec<Vec<u64>>,
    crossings: u64,
}

impl Cores {
    fn new(cores: usize, max: u32, queue_size: u32, seed: u64) -> Self {
        Self {
            limit: limit(max, queue_size, &Arc::new(LoadState::new(cores))),
            rng: Rng(seed),
            events: BinaryHeap::new(),
            sequence: 0,
            now_us: 0,
            queues: vec![VecDeque::new(); cores],
            waking: vec![0; cores],
            in_flight: 0,
            service_us: 50_000,
            wake_us: 100,
            patience_us: None,
            is_steady: true,
            admitted: 0,
            refused: 0,
            waits_us: vec![Vec::new(); cores],
            crossings: 0,
        }
    }

    fn at(&mut self, at_us: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at_us, self.sequence, event)));
    }

    fn run(&mut self) {
        while let Some(Reverse((at_us, _, event))) = self.events.pop() {
            self.now_us = at_us;
            self.handle(event);
            self.check();
        }
        let waiting: usize = self.queues.iter().map(VecDeque::len).sum();
        assert_eq!(waiting, 0, "a waiter was never woken");
        assert_eq!(self.limit.state.counts(), Counts::default());
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrives { core } => match self.limit.admit(core) {
                Admission::Admitted => self.start(core, self.now_us),
                Admission::Full => self.refused += 1,
                Admission::Queued => {
                    self.sequence += 1;
                    let (id, is_first) = (self.sequence, self.queues[core].is_empty());
                    self.queues[core].push_back((id, self.now_us));
                    if let Some(patience_us) = self.patience_us {
                        let at_us = self.now_us + self.rng.below(2 * patience_us);
                        self.at(at_us, Event::GivesUp { id, core });
                    }
                    if is_first && self.limit.set_head(core, Some(self.now_us)) {
                        self.serve(core);
                    }
                }
            },
            Event::Finishes { core } => {
                self.in_flight -= 1;
                if self.limit.release() {
                    self.serve(core);
                }
            }
            Event::GivesUp { id, core } => {
                let Some(at) = self.queues[core].iter().position(|&(queued, _)| queued == id) else { return };
                self.queues[core].remove(at);
                self.limit.leave();
                if at == 0 {
                    let head = self.queues[core].front().map(|&(_, since_us)| since_us);
                    if self.limit.set_head(core, head) {
                        self.serve(core);
                    }
                }
            }
            Event::Wakes { core } => {
                self.waking[core] -= 1;
                self.serve(core);
            }
            Event::Changes { max } => {
                self.is_steady = false;
                let settings = LoadSettings { max_concurrent: max, ..self.limit.settings.clone() };
                self.limit = LoadLimit::new(settings, self.limit.state.clone());
                if self.limit.apply_settings() {
                    self.serve(0);
                }
            }
        }
    }

    fn start(&mut self, core: usize, since_us: u64) {
        self.in_flight += 1;
        self.admitted += 1;
        self.waits_us[core].push(self.now_us - since_us);
        let service_us = self.rng.exponential(self.service_us as f64) as u64;
        self.at(self.now_us + service_us, Event::Finishes { core });
    }

    fn serve(&mut self, core: usize) {
        loop {
            match self.limit.next(core) {
                Next::Nothing => break,
                Next::Own => {
                    let (_, since_us) = self.queues[core].pop_front().expect("a published head is there");
                    self.check_order(core, since_us);
                    let head = self.queues[core].front().map(|&(_, since_us)| since_us);
                    let _ = self.limit.set_head(core, head);
                    self.start(core, since_us);
                }
                Next::Wake(other) => {
                    self.crossings += 1;
                    self.waking[other] += 1;
                    let at_us = self.now_us + self.rng.below(self.wake_us + 1);
                    self.at(at_us, Event::Wakes { core: other });
                    break;
                }
            }
        }
    }

    /// No other one has waited 20 ms longer, but for those whose core is being woken.
    fn check_order(&self, core: usize, since_us: u64) {
        for (other, queue) in self.queues.iter().enumerate() {
            if other != core
                && self.waking[other] == 0
                && let Some(&(_, waits_since_us)) = queue.front()
            {
                assert!(waits_since_us + QUEUE_SLACK_US >= since_us, "core {other} was passed over");
            }
        }
    }

    fn check(&self) {
        let counts = self.limit.state.counts();
        let waiting: usize = self.queues.iter().map(VecDeque::len).sum();
        assert_eq!(counts.in_flight, self.in_flight + counts.granted, "every permit has a request");
        assert_eq!(counts.waiting as usize, waiting, "every waiter is counted once");
        let max = self.limit.settings.max_concurrent;
        if self.is_steady {
            assert!(counts.in_flight <= max, "{counts:?}");
        }
        assert!(counts.queued() <= self.limit.settings.queue_size, "{counts:?}");
        assert!(counts.queued() == 0 || counts.in_flight >= max, "a permit is free: {counts:?}");
        let wakes: u32 = self.waking.iter().sum();
        assert!(counts.granted == 0 || wakes > 0, "a granted permit that no core looks for");
    }

    /// Requests that arrive at random on cores with these shares of the load.
    fn load(&mut self, shares: &[u64], per_second: f64, seconds: u64) {
        let total: u64 = shares.iter().sum();
        let mut at = 0.0;
        while at < seconds as f64 * 1e6 {
            at += self.rng.exponential(1e6 / per_second);
            let mut drawn = self.rng.below(total);
            let core = shares.iter().position(|&share| {
                let is_here = drawn < share;
                drawn = drawn.saturating_sub(share);
                is_here
            });
            self.at(at as u64, Event::Arrives { core: core.expect("the shares add up") });
        }
    }
}

#[test]
fn permits_are_exact_and_no_waiter_is_forgotten() {
    for seed in 0..300 {
        let mut cores = Cores::new(1 + seed as usize % 5, 1 + seed as u32 % 7, 20, seed);
        (cores.wake_us, cores.patience_us) = (30_000, Some(60_000));
        let shares: Vec<u64> = (0..cores.queues.len() as u64).map(|core| 1 + 3 * core).collect();
        let max = f64::from(cores.limit.settings.max_concurrent);
        cores.load(&shares, 25.0 * max, 10);
        cores.run();
        assert!(cores.admitted > 0, "seed {seed}");
    }
}

#[test]
fn a_changed_maximum_wakes_waiters_or_lets_requests_end() {
    for seed in 0..100 {
        let mut cores = Cores::new(3, 8, 50, seed);
        cores.load(&[5, 1, 1], 200.0, 10);
        for second in 1..10 {
            let max = 1 + cores.rng.below(16) as u32;
            cores.at(second * 1_000_000, Event::Changes { max });
        }
        // The assertions about free permits hold after every change.
        cores.run();
    }
}

#[test]
fn a_raised_maximum_serves_those_who_wait_at_once() {
    let state = Arc::new(LoadState::new(2));
    let low = limit(1, 5, &state);
    assert_eq!(low.admit(0), Admission::Admitted);
    assert_eq!(low.admit(1), Admission::Queued);
    assert!(!low.set_head(1, Some(10)));
    let high = limit(2, 5, &state);
    assert!(high.apply_settings());
    assert_eq!((high.next(0), high.next(1)), (Next::Wake(1), Next::Own));
    // Both end under the snapshot that admitted them.
    assert!(!low.release() && !low.release());
    assert_eq!(state.counts(), Counts::default());
}

#[test]
fn a_lowered_maximum_is_kept_by_requests_of_the_older_snapshot() {
    let state = Arc::new(LoadState::new(1));
    let high = limit(3, 5, &state);
    (0..3).for_each(|_| assert_eq!(high.admit(0), Admission::Admitted));
    assert_eq!(high.admit(0), Admission::Queued);
    let low = limit(1, 5, &state);
    assert!(!low.apply_settings() && !low.set_head(0, Some(0)));
    assert!(!high.release() && !high.release(), "two more than allowed");
    assert!(high.release(), "the last one's permit goes to the waiter");
    assert_eq!(high.next(0), Next::Own);
    assert_eq!(state.counts(), Counts { in_flight: 1, waiting: 0, granted: 0 });
}

#[test]
fn busy_and_quiet_cores_wait_alike_and_few_permits_wake_another_core() {
    let mut cores = Cores::new(4, 20, 100, 1);
    cores.load(&[7, 1, 1, 1], 440.0, 120);
    cores.run();
    let p99_ms = |waits: &mut Vec<u64>| {
        waits.sort_unstable();
        waits[waits.len() * 99 / 100] / 1000
    };
    let (busy, quiet) = (p99_ms(&mut cores.waits_us[0]), p99_ms(&mut cores.waits_us[3]));
    assert!(busy.abs_diff(quiet) <= 40, "p99 {busy} and {quiet} ms");
    let share = cores.crossings as f64 / cores.admitted as f64;
    assert!(share < 0.3, "{share}");
    // Work is conserved: 20 permits of 50 ms each.
    assert!(cores.admitted as f64 / 120.0 > 390.0, "{}", cores.admitted);
}

#[test]
fn a_shared_count_serves_what_fits_however_the_cores_are_loaded() {
    let mut cores = Cores::new(4, 20, 0, 2);
    cores.load(&[7, 1, 1, 1], 200.0, 60);
    cores.run();
    let refused = cores.refused as f64 / (cores.refused + cores.admitted) as f64;
    // By Erlang's formula 0.2 % of ten erlangs on twenty permits; each core's quarter would refuse a third.
    assert!(refused < 0.01, "{refused}");
}

#[test]
fn a_dry_run_admits_all_and_counts_what_it_would_have_done() {
    let state = Arc::new(LoadState::new(1));
    let mut limit = limit(2, 3, &state);
    limit.settings.dry_run = true;
    (0..7).for_each(|_| assert_eq!(limit.admit(0), Admission::Admitted));
    let gauges = limit.gauges();
    assert_eq!((gauges.in_flight, gauges.queued, gauges.would_queue, gauges.would_refuse), (7, 0, 3, 2));
    (0..7).for_each(|_| assert!(!limit.release()));
    assert_eq!(limit.gauges().in_flight, 0);
}

#[test]
fn a_dry_run_lets_all_waiters_pass() {
    let state = Arc::new(LoadState::new(1));
    let strict = limit(1, 5, &state);
    assert_eq!((strict.admit(0), strict.admit(0)), (Admission::Admitted, Admission::Queued));
    assert!(!strict.set_head(0, Some(0)));
    let mut dry = limit(1, 5, &state);
    dry.settings.dry_run = true;
    assert!(dry.apply_settings());
    assert_eq!(dry.next(0), Next::Own);
}

#[test]
fn a_word_holds_its_largest_counts() {
    let counts = Counts { in_flight: (1 << 24) - 1, waiting: (1 << 20) - 1, granted: (1 << 20) - 2 };
    assert_eq!(Counts::from_word(counts.word()), counts);
    assert_eq!((counts.count(), counts.enqueue(u32::MAX)), (None, None));
    assert_eq!(counts.grant(u32::MAX), counts);
}

/// Phase of a load: seconds, requests per second, mean service time in seconds.
type Phase = (f64, f64, f64);

/// Results of a phase.
#[derive(Debug)]
struct Outcome {
    good_per_second: f64,
    p99: f64,
    limit: u32,
    refused: f64,
}

/// A backend of 20 workers with an unbounded queue of its own, whose clients give up after a second while the
/// work goes on; as in `overload_tests` of the limit's design.
fn backend(settings: LoadSettings, phases: &[Phase], seed: u64) -> Vec<Outcome> {
    const WORKERS: u32 = 20;
    const PATIENCE: f64 = 1.0;
    let limit = LoadLimit::new(settings, Arc::new(LoadState::new(1)));
    let mut rng = Rng(seed);
    let mut events = BinaryHeap::new();
    let (mut sequence, mut begin) = (0u64, 0.0);
    // Times as bits: non-negative numbers have the order of their bits.
    let mut push = |events: &mut BinaryHeap<_>, at: f64, started: Option<f64>| {
        sequence += 1;
        events.push(Reverse((at.to_bits(), sequence, started.map(f64::to_bits))));
    };
    let mut ends = Vec::new();
    for &(seconds, rate, _) in phases {
        let mut at = begin + rng.exponential(1.0 / rate);
        while at < begin + seconds {
            push(&mut events, at, None);
            at += rng.exponential(1.0 / rate);
        }
        begin += seconds;
        ends.push(begin);
    }
    let phase_at = |at: f64| ends.iter().position(|&end| at < end).unwrap_or(ends.len() - 1);
    let mut busy = 0;
    let mut waiting = VecDeque::new();
    let mut latencies = vec![Vec::new(); phases.len()];
    let mut limits = vec![Vec::new(); phases.len()];
    let mut refused = vec![0u32; phases.len()];
    let service = |rng: &mut Rng, now: f64| {
        let mean = phases[phase_at(now)].2;
        (mean.ln() - 0.125 + 0.5 * rng.normal()).exp()
    };
    while let Some(Reverse((at, _, started))) = events.pop() {
        let now = f64::from_bits(at);
        let Some(started) = started else {
            limits[phase_at(now)].push(limit.gauges().limit);
            if limit.admit(0) != Admission::Admitted {
                refused[phase_at(now)] += 1;
            } else if busy < WORKERS {
                busy += 1;
                let done = now + service(&mut rng, now);
                push(&mut events, done, Some(now));
            } else {
                waiting.push_back(now);
            }
            continue;
        };
        let started = f64::from_bits(started);
        latencies[phase_at(started)].push(now - started);
        let latency = Duration::from_secs_f64((now - started).min(PATIENCE));
        assert!(!limit.note_latency(0, latency, (now * 1e6) as u64), "there is no queue");
        assert!(!limit.release());
        busy -= 1;
        if let Some(next) = waiting.pop_front() {
            busy += 1;
            let done = now + service(&mut rng, now);
            push(&mut events, done, Some(next));
        }
    }
    let outcome = |phase: usize| {
        let latencies = &mut latencies[phase];
        latencies.sort_by(f64::total_cmp);
        limits[phase].sort_unstable();
        let good = latencies.iter().filter(|&&latency| latency <= PATIENCE).count();
        Outcome {
            good_per_second: good as f64 / phases[phase].0,
            p99: latencies[latencies.len() * 99 / 100],
            limit: limits[phase][limits[phase].len() / 2],
            refused: f64::from(refused[phase]) / limits[phase].len() as f64,
        }
    };
    (0..phases.len()).map(outcome).collect()
}

/// Capacity 400 per second: calm, overload, calm, four times slower, calm, long slight overload.
const PHASES: [Phase; 6] = [
    (60.0, 200.0, 0.05),
    (60.0, 500.0, 0.05),
    (60.0, 200.0, 0.05),
    (60.0, 200.0, 0.2),
    (60.0, 200.0, 0.05),
    (600.0, 460.0, 0.05),
];

fn adaptive(max_concurrent: u32) -> LoadSettings {
    LoadSettings {
        max_concurrent,
        queue_size: 0,
        queue_timeout: Duration::from_secs(1),
        adaptive: Some(AdaptiveSettings { target: Duration::from_millis(500), min: 4 }),
        dry_run: false,
    }
}

#[test]
fn an_adaptive_limit_keeps_goodput_and_latency_in_every_phase() {
    for seed in [3, 4, 5] {
        let phases = backend(adaptive(1_000), &PHASES, seed);
        let [calm, overload, calm_again, slow, calm_at_last, long] = &phases[..] else { panic!("six") };
        for calm in [calm, calm_again, calm_at_last] {
            assert!(calm.good_per_second > 190.0 && calm.refused < 0.001, "{calm:?}");
        }
        for overload in [overload, long] {
            assert!(overload.good_per_second >= 0.95 * 400.0, "{overload:?}");
            assert!(overload.p99 < 0.5, "{overload:?}");
            assert!(overload.limit < 250, "{overload:?}");
        }
        assert!(slow.good_per_second >= 0.8 * 100.0, "{slow:?}");
    }
}

#[test]
fn a_limit_far_above_the_capacity_protects_nothing() {
    let phases = backend(LoadSettings { adaptive: None, ..adaptive(1_000) }, &PHASES[..2], 3);
    assert!(phases[1].good_per_second < 0.5 * 400.0, "{:?}", phases[1]);
    let phases = backend(LoadSettings { adaptive: None, ..adaptive(40) }, &PHASES[..2], 3);
    assert!(phases[1].good_per_second >= 0.95 * 400.0, "{:?}", phases[1]);
}

#[test]
fn an_adaptive_limit_stays_within_its_bounds() {
    let limit = LoadLimit::new(adaptive(10), Arc::new(LoadState::new(1)));
    (0..10).for_each(|_| assert_eq!(limit.admit(0), Admission::Admitted));
    assert_eq!(limit.admit(0), Admission::Full, "the first limit is below its start");
    for _ in 0..1_000 {
        let _ = limit.note_latency(0, Duration::from_millis(1), 1);
    }
    assert_eq!(limit.gauges().limit, 10);
    let slow = Duration::from_millis(501);
    let _ = limit.note_latency(0, slow, 1_000_000);
    let _ = limit.note_latency(0, slow, 1_499_999);
    assert_eq!(limit.gauges().limit, 8, "once per target");
    for at in 2..50 {
        let _ = limit.note_latency(0, slow, at * 1_000_000);
    }
    assert_eq!(limit.gauges().limit, 4);
}
