#![allow(clippy::unwrap_used)]

use super::*;

fn number(value: f64) -> SharedValue {
    SharedValue::Number(value)
}

#[test]
fn values_expire() {
    let dictionary = Dictionary::default();
    dictionary.set(b"k", number(1.0), Some(100), 1_000).unwrap();
    assert_eq!(dictionary.get(b"k", 1_099), Some(number(1.0)));
    assert_eq!(dictionary.get(b"k", 1_100), None);
    assert_eq!(dictionary.add(b"k", number(2.0), None, 1_100), Ok(true));
    assert_eq!(dictionary.add(b"k", number(3.0), None, u64::MAX), Ok(false));
    assert_eq!(dictionary.get(b"k", u64::MAX), Some(number(2.0)));
}

#[test]
fn a_sum_keeps_its_expiry() {
    let dictionary = Dictionary::default();
    assert_eq!(dictionary.incr(b"k", 1.0, Some(100), 0), Ok(1.0));
    assert_eq!(dictionary.incr(b"k", 2.0, Some(100), 99), Ok(3.0));
    assert_eq!(dictionary.incr(b"k", 1.0, Some(100), 100), Ok(1.0), "a new window");
    dictionary.set(b"s", SharedValue::Bytes((*b"x").into()), None, 0).unwrap();
    assert_eq!(dictionary.incr(b"s", 1.0, None, 0), Err(DictionaryError::NotANumber));
}

#[test]
fn keys_and_values_are_bounded() {
    let dictionary = Dictionary::default();
    let value = |bytes: usize| SharedValue::Bytes(vec![0; bytes].into());
    assert_eq!(dictionary.set(&[0; 1_025], number(1.0), None, 0), Err(DictionaryError::Key));
    assert_eq!(dictionary.incr(&[0; 1_025], 1.0, None, 0), Err(DictionaryError::Key));
    assert_eq!(dictionary.set(b"k", value(64 * 1_024 + 1), None, 0), Err(DictionaryError::Value));
    assert_eq!(dictionary.set(&[0; 1_024], value(64 * 1_024), None, 0), Ok(()));
    assert_eq!(dictionary.bytes(), 1_024 + 64 * 1_024 + ENTRY_OVERHEAD_BYTES);
    dictionary.delete(&[0; 1_024]);
    assert_eq!(dictionary.bytes(), 0);
}

/// A full dictionary evicts what was not used for longest, and never what was written last.
#[test]
fn a_full_dictionary_evicts() {
    let dictionary = Dictionary::with_bytes(SHARDS * 20_000);
    dictionary.set(b"used", number(1.0), None, 0).unwrap();
    for index in 0..20_000_u32 {
        let key = index.to_be_bytes();
        dictionary.set(&key, SharedValue::Bytes(vec![0; 500].into()), None, 0).unwrap();
        assert!(dictionary.get(&key, 0).is_some());
        assert!(dictionary.get(b"used", 0).is_some(), "{index}");
        assert!(dictionary.bytes() <= SHARDS * 20_000);
    }
}

#[test]
fn threads_lose_no_increment() {
    let dictionary = Dictionary::default();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..1_000).for_each(|_| assert!(dictionary.incr(b"k", 1.0, None, 0).is_ok())));
        }
    });
    assert_eq!(dictionary.get(b"k", 0), Some(number(4_000.0)));
}

#[test]
fn namespaces_have_their_own_dictionaries() {
    let dictionaries = Dictionaries::default();
    let open = |namespace: &str, name: &str| dictionaries.get(namespace, name);
    open("a", "d").unwrap().set(b"k", number(1.0), None, 0).unwrap();
    assert!(open("b", "d").unwrap().get(b"k", 0).is_none());
    assert!(open("a", "d").unwrap().get(b"k", 0).is_some());
    for index in 1..16 {
        assert!(open("a", &format!("d{index}")).is_some());
    }
    assert!(open("a", "one-too-many").is_none());
    dictionaries.retain(|namespace, name| namespace == "b" || name == "d");
    assert!(open("a", "now-there-is-room").is_some());
    assert!(open("a", "d").unwrap().get(b"k", 0).is_some());
}
