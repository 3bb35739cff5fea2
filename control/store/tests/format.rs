//! The file formats: marks and exports.

use proptest::prelude::*;
use ringway_model::{ClientAuth, ClientAuthNeed, FilePath, Kind, Probe};

use super::*;
use crate::mark::{Mark, MarkRead, Totals};
use crate::{ImportError, StoreError, export, import, record};

#[test]
fn a_mark_round_trips_and_any_flip_is_detected() {
    let mark =
        Mark::new(Revision(42), Totals { counts: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], sum: u64::MAX });
    let bytes = mark.encode();
    assert_eq!(Mark::decode(&bytes), MarkRead::Whole(mark));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            // The checksum's hexadecimal digits may change their case.
            let same = flipped.eq_ignore_ascii_case(&bytes) && at < 16;
            assert_eq!(Mark::decode(&flipped) == MarkRead::Damaged, !same, "byte {at} bit {bit}");
        }
        assert_eq!(Mark::decode(&bytes[..at]), MarkRead::Damaged, "cut at {at}");
    }
}

/// The stored form is a contract with later versions.
#[test]
fn the_export_of_a_known_state_does_not_change() {
    let mut store = Memory::new();
    store.commit(&Batch { revision: Revision(1), deltas: &deltas_of(1) }).unwrap();
    let mut text = Vec::new();
    export(&mut store, &mut text).unwrap();
    let expected = r#"{"ringway_export":6,"revision":1,"records":3}
{"kind":"app","seal":"SEAL","record":{"format":4,"owner":"api","id":"app","name":"App","created_at":1,"updated_at":1}}
{"kind":"instance","seal":"SEAL","record":{"format":3,"owner":"api","id":"instance-1","app":"app","target":"http://127.0.0.1:3001","registered_at":1,"generation":1}}
{"kind":"domain","seal":"SEAL","record":{"format":4,"owner":"api","name":"d1.example","app":"app","kind":"subdomain","created_at":1,"updated_at":1}}
"#;
    let text = String::from_utf8(text).unwrap();
    let unsealed: String = text
        .split_inclusive('\n')
        .filter(|line| !line.starts_with(r#"{"end""#))
        .map(|line| match line.split_once(r#""seal":""#) {
            Some((before, after)) => format!("{before}\"seal\":\"SEAL{}", &after[16..]),
            None => line.to_owned(),
        })
        .collect();
    assert_eq!(unsealed, expected);
}

/// Records of earlier versions, byte for byte.
#[test]
fn instances_of_earlier_versions_are_read() {
    let bare = r#"{"id":"i","app":"app","target":"http://127.0.0.1:3001","registered_at":1,"generation":1}"#;
    let checked = r#"{"id":"i","app":"app","target":"http://127.0.0.1:3001","health_path":"/health?a=b","health_interval_ms":5000,"health_timeout_ms":1500,"unhealthy_threshold":2,"healthy_threshold":1,"registered_at":1,"generation":1}"#;
    for body in [bare, checked] {
        let resource = record::decode(Kind::Instance, body.as_bytes()).unwrap();
        let written = record::encode(&resource).1;
        let migrated = body.replacen('{', r#"{"format":3,"owner":"api","#, 1);
        assert_eq!(String::from_utf8_lossy(written.body()), migrated, "nothing but the header is added");
        assert_eq!(record::decode(Kind::Instance, written.body()), Some(resource));
    }
    let resource = record::decode(Kind::Instance, checked.as_bytes()).unwrap();
    let Resource::Instance(instance) = resource else { panic!("an instance") };
    assert_eq!(instance.health_check.probe, Probe::http("/health?a=b").unwrap());
}

/// Stores of versions without drains have no such field.
#[test]
fn a_drain_is_stored_and_its_absence_is_none() {
    let delta = |draining| {
        let old = instance(1, 1);
        Delta::Put(Instance { draining, ..old }.into())
    };
    for draining in [None, Some(Timestamp(1_700_000_000_000))] {
        let (_, sealed) = record::edit(&delta(draining));
        let body = String::from_utf8(sealed.unwrap().body().to_vec()).unwrap();
        assert_eq!(body.contains("draining"), draining.is_some(), "{body}");
        let read = record::decode(Kind::Instance, body.as_bytes());
        match read.unwrap() {
            Resource::Instance(instance) => assert_eq!(instance.draining, draining),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_incomplete_export_is_refused_and_nothing_is_stored() {
    let mut text = Vec::new();
    let mut store = Memory::new();
    commit_all(&mut store, 1..=20);
    export(&mut store, &mut text).unwrap();
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();

    let mut cases: Vec<(Vec<u8>, ImportError)> = vec![
        (Vec::new(), ImportError::Truncated),
        (b"{}\n".to_vec(), ImportError::Header),
        (lines[..lines.len() - 1].concat(), ImportError::Truncated),
        ([&lines[..3], &lines[4..]].concat().concat(), ImportError::Total),
    ];
    let mut flipped = text.clone();
    let at = lines[..5].concat().len() - 4;
    flipped[at] ^= 1;
    cases.push((flipped, ImportError::Damaged));
    cases.push(([lines[0], b"nonsense\n", &lines[1..].concat()].concat(), ImportError::Syntax));

    for (bytes, expected) in cases {
        let mut target = Memory::new();
        let refused = import(&mut bytes.as_slice(), &mut target);
        assert!(
            matches!(refused, Err(StoreError::Import { reason, .. }) if reason == expected),
            "{expected:?}: {refused:?}"
        );
        assert_eq!(target.load().unwrap().revision, Revision(0));
    }
}

#[test]
fn a_newer_export_is_refused_by_its_version() {
    let mut text: &[u8] = b"{\"ringway_export\":7,\"revision\":1,\"records\":0}\n";
    let refused = import(&mut text, &mut Memory::new());
    assert!(matches!(refused, Err(StoreError::NewerSchema { found: 7, known: 6, .. })), "{refused:?}");
}

/// Domains of versions without certificates have no such fields.
#[test]
fn tls_settings_are_stored_and_optional() {
    let path = |text| FilePath::parse(text).unwrap();
    let plain = domain(1, 1);
    let with_tls = Domain {
        certificate: CertificateMode::Provided,
        client_auth: Some(ClientAuth { ca_file: path("/etc/ca.pem"), need: ClientAuthNeed::Optional }),
        ..domain(2, 2)
    };
    let none = Domain { certificate: CertificateMode::None, ..domain(3, 3) };
    let domains = [plain, with_tls, none];
    let mut deltas: Vec<Delta> = domains.iter().map(|domain| Delta::Put(domain.clone().into())).collect();
    deltas.push(Delta::Put(app().into()));
    let mut store = Memory::new();
    store.commit(&Batch { revision: Revision(1), deltas: &deltas }).unwrap();
    let mut text = Vec::new();
    export(&mut store, &mut text).unwrap();
    let lines = String::from_utf8(text.clone()).unwrap();
    let old = lines.lines().find(|line| line.contains("d1.example")).unwrap();
    assert!(!old.contains("certificate") && !old.contains("client_auth"), "{old}");
    let mut target = Memory::new();
    import(&mut text.as_slice(), &mut target).unwrap();
    let domains = domains.map(Resource::from);
    assert_eq!(target.load().unwrap().resources[1..], domains);
}

/// The export of a version without policies of apps, byte for byte.
#[test]
fn an_app_without_policies_has_the_defaults() {
    let text = r#"{"ringway_export":1,"revision":1,"records":3}
{"kind":"app","seal":"ecc44293afb28469","record":{"id":"app","name":"App","created_at":1,"updated_at":1}}
{"kind":"instance","seal":"1a70ff1bca6581fe","record":{"id":"instance-1","app":"app","target":"http://127.0.0.1:3001","registered_at":1,"generation":1}}
{"kind":"domain","seal":"828572cbb23ddca0","record":{"name":"d1.example","app":"app","kind":"subdomain","created_at":1,"updated_at":1}}
{"end":3,"checksum":"c4aa8559ce389337"}
"#;
    let mut store = Memory::new();
    import(&mut text.as_bytes(), &mut store).unwrap();
    let loaded = store.load().unwrap();
    assert_eq!(loaded.resources[0], app().into());
}

/// Values of later versions are not mistaken for known ones.
#[test]
fn an_unknown_policy_makes_the_record_unreadable() {
    let app = |members: &str| {
        let body = format!(r#"{{"id":"a","name":"A",{members}"created_at":1,"updated_at":1}}"#);
        record::decode(Kind::App, body.as_bytes())
    };
    assert!(app("").is_some());
    assert!(app(r#""on_all_unhealthy":"trickle","#).is_some());
    assert!(app(r#""failures":{"statuses":"502-504","timeouts":"always"},"#).is_some());
    assert_eq!(app(r#""on_all_unhealthy":"open","#), None);
    assert_eq!(app(r#""failures":{"statuses":"404","timeouts":"always"},"#), None);
    assert_eq!(app(r#""failures":{"statuses":"","timeouts":"x"},"#), None);
}

proptest! {
    /// Reading never panics on any bytes.
    #[test]
    fn readers_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Mark::decode(&bytes);
        let _ = import(&mut bytes.as_slice(), &mut Memory::new());
        let mut salvage = crate::salvage::Salvage::default();
        salvage.read(&bytes);
        // The beginning of a record and of a mark.
        salvage.read(&[b"12345678{\"id\":\"a\",", bytes.as_slice()].concat());
        salvage.read(&[b"0123456789abcdef {\"schema\":1", bytes.as_slice(), b"\n"].concat());
        prop_assert!(salvage.finish().image.is_empty());
        for kind in Kind::ALL {
            let _ = record::decode(kind, &bytes);
            prop_assert!(record::Sealed::verify(kind, "key", &bytes).is_none());
        }
    }
}
