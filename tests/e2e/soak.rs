//! A long run of everything at once: memory stays flat, no descriptor stays behind, nothing fails that was
//! not made to.
//!
//! `tests/soak` runs the long one and writes its report; the short one is part of every run.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::kit::load::{self, Known, Load};
use crate::kit::*;

/// Resources of the process at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    second: u64,
    /// Memory, pages that others share counted in part.
    pss_kb: u64,
    descriptors: usize,
    threads: usize,
    /// Polls that the kernel has armed in all rings, and completions that found no room in one.
    polls: usize,
    overflows: usize,
}

/// Allowed growth of memory from the middle of the first half to that of the second: initial growth of
/// caches, pools and the store's buffers is no leak, and the allocator returns memory with a delay.
const GROWTH_MAX: f64 = 0.10;
const GROWTH_SLACK_KB: u64 = 4 * 1024;

impl Sample {
    fn of(proxy: &Proxy, begun: Instant) -> Self {
        let folder = format!("/proc/{}", proxy.pid());
        let folder = Path::new(&folder);
        let rollup = std::fs::read_to_string(folder.join("smaps_rollup")).unwrap();
        let pss = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        let (mut polls, mut overflows) = (0, 0);
        for ring in rings(folder) {
            // A ring may be busy for a moment: then its list is not shown.
            let info = std::fs::read_to_string(folder.join("fdinfo").join(ring)).unwrap_or_default();
            let section = |name: &str| {
                let lines = info.lines().skip_while(|line| !line.starts_with(name)).skip(1);
                lines.take_while(|line| line.starts_with(' ')).count()
            };
            polls += section("PollList:");
            overflows += section("CqOverflowList:");
        }
        Self {
            second: begun.elapsed().as_secs(),
            pss_kb: pss.split_whitespace().next().unwrap().parse().unwrap(),
            descriptors: std::fs::read_dir(folder.join("fd")).unwrap().count(),
            threads: std::fs::read_dir(folder.join("task")).unwrap().count(),
            polls,
            overflows,
        }
    }
}

/// The descriptors that are rings.
fn rings(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder.join("fd")).unwrap().flatten();
    let is_ring =
        |path: &Path| std::fs::read_link(path).is_ok_and(|link| link.to_string_lossy().contains("io_uring"));
    entries
        .filter(|entry| is_ring(&entry.path()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Number of descriptors of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    sockets: usize,
    pipes: usize,
    /// The store's files, rings, events.
    others: usize,
}

impl Held {
    fn of(proxy: &Proxy) -> Self {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap().flatten();
        let mut held = Self::default();
        for link in entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()) {
            match link.to_string_lossy() {
                link if link.starts_with("socket:") => held.sockets += 1,
                link if link.starts_with("pipe:") => held.pipes += 1,
                _ => held.others += 1,
            }
        }
        held
    }

    /// Nothing of clients and apps is left. A core keeps empty pipes for splicing, the store a file for each
    /// of its tables.
    fn leaves_nothing(&self, before: Self) -> bool {
        const PIPES_KEPT: usize = 2 * 2 * 32;
        const TABLES_MAX: usize = 16;
        self.sockets <= before.sockets
            && self.pipes <= before.pipes + PIPES_KEPT
            && self.others <= before.others + TABLES_MAX
    }
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// Results of a run.
struct Soaked {
    samples: Vec<Sample>,
    before: Held,
    after: Held,
    done: Vec<(&'static str, u64)>,
    failed: Vec<(&'static str, u64)>,
    domains: usize,
}

fn soak(driver: Driver, length: Duration, seed: u64) -> Soaked {
    let authority = Authority::new("soak");
    // One client makes all handshakes here; and what an idle pooled connection holds shall be gone before the
    // end is looked at.
    let proxy = Proxy::on(driver)
        .env("PROXY_HTTPS_PORT", "0")
        .env("PROXY_HANDSHAKE_RATE", "0")
        .env("PROXY_IDLE_TIMEOUT", "5s")
        .env("LOG_LEVEL", "error")
        .start();
    let origins = [load::origin(), load::origin()];
    Load::prepare(&proxy, &[&origins[0], &origins[1]], &authority);
    // The API's own connections are gone when the number of descriptors stands still.
    let before = settled(&proxy);
    let mut load = Load::start(&proxy, authority, seed);
    let begun = Instant::now();
    let mut samples = Vec::new();
    let interval = (length / 60).max(Duration::from_millis(500));
    while begun.elapsed() < length {
        pace(interval);
        samples.push(Sample::of(&proxy, begun));
        assert!(load.wrong().is_empty(), "wrong answers: {:?}", load.wrong());
    }
    load.stop();
    let (done, failed, known) = (load.done(), load.failed(), load.domains());
    assert!(load.wrong().is_empty(), "wrong answers: {:?}", load.wrong());
    assert!(failed.iter().all(|(_, count)| *count == 0), "failed: {failed:?}: {:?}", load.examples());
    assert!(done.iter().all(|(_, count)| *count > 0), "a kind of traffic did not come through: {done:?}");

    // Nothing of the clients is left, nor, once the apps have gone, of the connections to them.
    let api = proxy.api();
    for instance in ["app-0", "app-1", "bad-0"] {
        api.remove(instance);
    }
    let mut after = settled(&proxy);
    let end = Instant::now() + 3 * SOON;
    while !after.leaves_nothing(before) && Instant::now() < end {
        after = settled(&proxy);
    }
    assert!(after.leaves_nothing(before), "{after:?} where there were {before:?}");

    // Acknowledged changes are stored, now and after a restart.
    let present: BTreeSet<String> =
        known.iter().filter(|(_, known)| **known == Known::Present).map(|(name, _)| name.clone()).collect();
    assert!(known.values().all(|known| *known != Known::Unknown), "every change was acknowledged");
    assert_eq!(dynamic_domains(&proxy), present);
    let proxy = proxy.stop().start();
    assert_eq!(dynamic_domains(&proxy), present);
    assert_eq!(proxy.api().get("/api/status").is(200).json["status"], "ready");
    Soaked { samples, before, after, done, failed, domains: present.len() }
}

/// The domains that came and went.
pub(super) fn dynamic_domains(proxy: &Proxy) -> BTreeSet<String> {
    let list = proxy.api().get("/api/tenants/domains").is(200).json;
    let names = list["domains"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["domain"].as_str().unwrap().to_owned());
    names.filter(|name| name.starts_with('d')).collect()
}

/// The descriptors, once their numbers have stood still for a second.
fn settled(proxy: &Proxy) -> Held {
    let (mut last, mut same) = (Held::default(), 0);
    eventually_within(3 * SOON, "descriptors stand still", || {
        pace(Duration::from_millis(100));
        let now = Held::of(proxy);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (same >= 10).then_some(now)
    })
}

on_both_drivers! {
    fn a_short_soak_fails_nothing_and_leaves_nothing_behind(driver) {
        soak(driver, Duration::from_secs(6), 7);
    }
}

#[test]
#[ignore = "minutes to hours: tests/soak runs it"]
fn a_long_soak_is_flat() {
    let minutes: f64 =
        std::env::var("SOAK_MINUTES").map_or(2.0, |text| text.parse().expect("SOAK_MINUTES: a number"));
    let seed: u64 = std::env::var("SOAK_SEED").map_or(1, |text| text.parse().expect("SOAK_SEED: a number"));
    let soaked = soak(Driver::IoUring, Duration::from_secs_f64(60.0 * minutes), seed);
    // The first tenth is the warming up.
    let warm = &soaked.samples[soaked.samples.len() / 10..];
    let (first, second) = warm.split_at(warm.len() / 2);
    let pss = |samples: &[Sample]| median(samples.iter().map(|sample| sample.pss_kb).collect());
    let bound = (pss(first) as f64 * (1.0 + GROWTH_MAX)) as u64 + GROWTH_SLACK_KB;
    let report = report(&soaked, minutes, seed, [pss(first), pss(second), bound]);
    if let Ok(path) = std::env::var("SOAK_REPORT") {
        std::fs::write(path, &report).unwrap();
    }
    println!("{report}");
    assert!(
        pss(second) <= bound,
        "memory grows: {} kB, then {} kB, where {bound} kB are allowed",
        pss(first),
        pss(second)
    );
    let threads: BTreeSet<usize> = warm.iter().map(|sample| sample.threads).collect();
    assert!(threads.last() <= threads.first().map(|least| least + 8).as_ref(), "threads: {threads:?}");
}

fn report(soaked: &Soaked, minutes: f64, seed: u64, [first, second, bound]: [u64; 3]) -> String {
    let mut text = String::new();
    let mut line = |what: std::fmt::Arguments<'_>| writeln!(text, "{what}").unwrap();
    line(format_args!("| what | found |\n|---|---|"));
    line(format_args!("| length, seed | {minutes} minutes, {seed} |"));
    line(format_args!(
        "| memory (PSS), median of the first and the second half, allowed | {:.1} MB, {:.1} MB, {:.1} MB |",
        first as f64 / 1024.0,
        second as f64 / 1024.0,
        bound as f64 / 1024.0
    ));
    for (kind, before, after) in [
        ("sockets", soaked.before.sockets, soaked.after.sockets),
        ("ends of pipes (cores keep empty ones)", soaked.before.pipes, soaked.after.pipes),
        ("other descriptors (the store's tables)", soaked.before.others, soaked.after.others),
    ] {
        line(format_args!(
            "| {kind}: before the clients came, after they and the apps were gone | {before}, {after} |"
        ));
    }
    line(format_args!(
        "| domains acknowledged, found, found after a restart | {0}, {0}, {0} |",
        soaked.domains
    ));
    line(format_args!("| answers that were not their client's | 0 |"));
    line(format_args!("\n| traffic | steps that came through | failed |\n|---|--:|--:|"));
    for ((name, done), (_, failed)) in soaked.done.iter().zip(&soaked.failed) {
        line(format_args!("| {name} | {done} | {failed} |"));
    }
    line(format_args!(
        "\n| second | PSS, MB | descriptors | threads | polls armed in rings | completions without room |\n|--:|--:|--:|--:|--:|--:|"
    ));
    let step = (soaked.samples.len() / 15).max(1);
    for sample in soaked.samples.iter().step_by(step) {
        line(format_args!(
            "| {} | {:.1} | {} | {} | {} | {} |",
            sample.second,
            sample.pss_kb as f64 / 1024.0,
            sample.descriptors,
            sample.threads,
            sample.polls,
            sample.overflows
        ));
    }
    text
}
