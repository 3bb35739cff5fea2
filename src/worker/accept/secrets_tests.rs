#![allow(clippy::unwrap_used)]

use super::*;
use std::time::Duration;

use ringway_bridge::{MailboxReceiver, blocking_mailbox};
use ringway_model::FilePath;
use ringway_net::{RuntimeOptions, clock, join, spawn, yield_now};
use ringway_tls::ClientVerifier;

/// A core's secrets, with the loader's side of the mailboxes.
struct Bench {
    secrets: Rc<Secrets>,
    wanted: MailboxReceiver<Wanted>,
    loaded: MailboxSender<Loaded>,
}

impl Bench {
    fn new() -> Self {
        let (wanted, questions) = blocking_mailbox(16);
        let (answers, loaded) = blocking_mailbox(16);
        let secrets = Rc::new(Secrets::new(CoreId(0), Some(Lookup { wanted, loaded })));
        Self { secrets, wanted: questions, loaded: answers }
    }

    fn questions(&self) -> Vec<u64> {
        self.wanted.drain(100).map(|wanted| wanted.version).collect()
    }

    fn answer(&self, version: u64, result: Result<Material, Unloadable>, now: Tick) {
        self.loaded.send(Loaded { want: want(), version, result }).unwrap();
        self.secrets.take_loaded(now, |_| {});
    }

    fn look(&self, version: u64, now: Tick) -> Poll<Result<u64, Missing>> {
        self.secrets.look(&want(), version, now, None).map_ok(|held| held.load)
    }
}

fn want() -> Want {
    Want::ClientCa(FilePath::parse("/etc/ca.pem").unwrap())
}

fn material() -> Material {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = parameters.self_signed(&key).unwrap();
    Material::ClientCa(ClientVerifier::from_pem(ca.pem().as_bytes()).unwrap())
}

fn later(by: Duration) -> Tick {
    Tick(1000).after(by)
}

const NOW: Tick = Tick(1000);

#[test]
fn one_question_for_all_who_want_the_same() {
    let bench = Bench::new();
    assert_eq!(bench.look(1, NOW), Poll::Pending);
    assert_eq!(bench.look(1, NOW), Poll::Pending);
    assert_eq!(bench.questions(), [1]);
    bench.answer(1, Ok(material()), NOW);
    assert_eq!(bench.look(1, NOW), Poll::Ready(Ok(1)));
    assert_eq!(bench.questions(), [] as [u64; 0]);
}

#[test]
fn a_newer_version_is_asked_for_and_takes_over() {
    let bench = Bench::new();
    let _ = bench.look(1, NOW);
    bench.answer(1, Ok(material()), NOW);
    assert_eq!(bench.look(2, NOW), Poll::Pending);
    bench.answer(2, Ok(material()), NOW);
    assert_eq!(bench.look(2, NOW), Poll::Ready(Ok(2)));
    assert_eq!(bench.questions(), [1, 2]);
}

#[test]
fn what_comes_unasked_is_served_at_once_and_by_snapshots_that_are_behind() {
    let bench = Bench::new();
    bench.answer(2, Ok(material()), NOW);
    assert_eq!(
        bench.look(2, NOW),
        Poll::Pending,
        "nobody has ever wanted it here: it is asked for when somebody does"
    );
    bench.answer(2, Ok(material()), NOW);
    bench.answer(3, Ok(material()), NOW);
    for version in [2, 3] {
        assert_eq!(bench.look(version, NOW), Poll::Ready(Ok(2)));
    }
    // The answer to a question of before comes late, and takes nothing away.
    bench.answer(2, Ok(material()), NOW);
    assert_eq!(bench.look(3, NOW), Poll::Ready(Ok(2)));
    assert_eq!(bench.questions(), [2]);
}

#[test]
fn a_newer_version_that_is_broken_leaves_the_older_one_in_force() {
    let bench = Bench::new();
    let _ = bench.look(1, NOW);
    bench.answer(1, Ok(material()), NOW);
    let _ = bench.look(2, NOW);
    bench.answer(2, Err(Unloadable::new("the file is cut")), NOW);
    assert_eq!(bench.look(2, NOW), Poll::Ready(Ok(1)));
    assert_eq!(bench.questions(), [1, 2]);
    // After a while it is tried again.
    assert_eq!(bench.look(2, later(crate::limits::MATERIAL_RETRY)), Poll::Pending);
    assert_eq!(bench.questions(), [2]);
}

#[test]
fn what_cannot_be_loaded_is_missing_and_is_not_asked_for_at_every_turn() {
    let bench = Bench::new();
    let why = Unloadable::new("there is no such file");
    let _ = bench.look(1, NOW);
    bench.answer(1, Err(why.clone()), NOW);
    for _ in 0..10 {
        assert_eq!(bench.look(1, NOW), Poll::Ready(Err(Missing::Unloadable(why.clone()))));
    }
    assert_eq!(bench.questions(), [1]);
}

#[test]
fn what_has_no_version_is_asked_for_again_when_it_is_old() {
    let bench = Bench::new();
    let _ = bench.look(0, NOW);
    bench.answer(0, Ok(material()), NOW);
    let almost = later(ringway_model::limits::MATERIAL_AGE_MAX - Duration::from_millis(1));
    assert_eq!(bench.look(0, almost), Poll::Ready(Ok(1)));
    assert_eq!(bench.questions(), [0]);
    let old = later(ringway_model::limits::MATERIAL_AGE_MAX);
    assert_eq!(bench.look(0, old), Poll::Pending, "it may have been taken away");
    assert_eq!(bench.look(0, old), Poll::Pending);
    assert_eq!(bench.questions(), [0], "asked once");
    bench.answer(0, Err(Unloadable::new("half written")), old);
    assert_eq!(bench.look(0, old), Poll::Ready(Ok(1)), "a broken one changes nothing");
    bench.answer(0, Ok(material()), old);
    assert_eq!(bench.look(0, old), Poll::Ready(Ok(2)));
}

#[test]
fn without_a_loader_everything_is_missing() {
    let secrets = Secrets::new(CoreId(0), None);
    let look = secrets.look(&want(), 1, NOW, None).map_ok(|held| held.load);
    assert_eq!(look, Poll::Ready(Err(Missing::NoAnswer)));
    let bench = Bench::new();
    drop(bench.wanted);
    let look = bench.secrets.look(&want(), 1, NOW, None).map_ok(|held| held.load);
    assert_eq!(look, Poll::Ready(Err(Missing::NoAnswer)));
}

#[test]
fn all_who_wait_are_answered_at_once() {
    let bench = Bench::new();
    let main = async {
        let answered = Rc::new(Cell::new(0));
        for _ in 0..3 {
            let (secrets, answered) = (bench.secrets.clone(), answered.clone());
            let task = async move {
                secrets.get(&want(), 1, clock::now(), Tick::NEVER).await.unwrap();
                answered.update(|count| count + 1);
            };
            spawn(task, |panic| panic!("{panic:?}"));
        }
        yield_now().await;
        assert_eq!((bench.questions(), answered.get()), (vec![1], 0));
        bench.answer(1, Ok(material()), clock::now());
        while answered.get() < 3 {
            yield_now().await;
        }
    };
    ringway_net::run(RuntimeOptions::default(), |_| main).unwrap();
}

#[test]
fn a_loader_that_says_nothing_is_waited_for_until_the_deadline() {
    let bench = Bench::new();
    let main = async {
        let now = clock::now();
        let soon = now.after(Duration::from_millis(50));
        let none = bench.secrets.get(&want(), 1, now, soon).await;
        assert_eq!(none.map(|held| held.load), Err(Missing::NoAnswer));
        bench.answer(1, Ok(material()), now);
        // With an older one at hand, the newer one is not waited for at length.
        let (held, ()) = join(bench.secrets.get(&want(), 2, now, Tick::NEVER), async {}).await;
        assert_eq!(held.map(|held| held.load), Ok(1));
    };
    ringway_net::run(RuntimeOptions::default(), |_| main).unwrap();
}
