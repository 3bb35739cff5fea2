use proptest::prelude::*;

use super::{Bucket, BucketKey};

fn key(secret: &[u8], plan: &str) -> BucketKey {
    BucketKey::new(secret, plan)
}

proptest! {
    #[test]
    fn a_sealed_bucket_opens_by_its_own_key_only(bits: u64, secret: [u8; 16], other: [u8; 16]) {
        prop_assume!(secret != other);
        let (own, bucket) = (key(&secret, "shop"), Bucket::draw(bits));
        let value = own.seal(bucket).to_string();
        prop_assert_eq!(own.open(value.as_bytes()), Some(bucket));
        prop_assert_eq!(key(&secret, "blog").open(value.as_bytes()), None, "another plan");
        prop_assert_eq!(key(&other, "shop").open(value.as_bytes()), None, "another secret");
    }

    #[test]
    fn a_changed_byte_opens_nothing(bits: u64, at in 0_usize..37, byte: u8) {
        let own = key(b"secret", "shop");
        let mut value = own.seal(Bucket::draw(bits)).to_string().into_bytes();
        prop_assume!(value[at] != byte);
        value[at] = byte;
        prop_assert_eq!(own.open(&value), None);
    }

    #[test]
    fn nothing_else_opens_or_panics(value in proptest::collection::vec(any::<u8>(), 0..80)) {
        prop_assert_eq!(key(b"secret", "shop").open(&value), None);
    }
}

#[test]
fn keys_spread_evenly_and_alike_in_every_process() {
    let own = key(b"secret", "shop");
    let below = (0..20_000).filter(|user| own.bucket_of(format!("user-{user}").as_bytes()).number() < 1_000);
    let share = below.count() as f64 / 20_000.0;
    assert!((0.09..0.11).contains(&share), "{share}");
    assert_eq!(own.bucket_of(b"user-1"), key(b"secret", "shop").bucket_of(b"user-1"));
    assert_eq!(own.bucket_of(b"user-1").number(), 3_812);
}

#[test]
fn all_bits_are_the_last_bucket() {
    assert_eq!(Bucket::draw(u64::MAX).number(), Bucket::COUNT - 1);
    assert_eq!(Bucket::draw(0).number(), 0);
}
