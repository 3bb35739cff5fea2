//! Buckets: the place of a client between stable and canary, which does not change with the weight.
//!
//! A client is in one of 10,000 buckets, and in the canary while its bucket is below the weight. Raising the
//! weight moves clients to the canary only, and lowering it moves back those that came last.

use std::fmt;

use aws_lc_rs::hmac;

/// Bucket of a client, 0 to 9,999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u16);

impl Bucket {
    /// Number of buckets: a weight of a hundredth of a percent is one of them.
    pub const COUNT: u16 = 10_000;

    /// Takes a bucket from evenly distributed bits.
    pub fn draw(bits: u64) -> Self {
        Self(((u128::from(bits) * u128::from(Self::COUNT)) >> 64) as u16)
    }

    /// Its number.
    pub fn number(self) -> u16 {
        self.0
    }
}

/// Key of the buckets of one plan: hashes the keys of clients to buckets, and signs buckets in cookies. The
/// same secret and plan give the same key in every process.
#[derive(Clone)]
pub struct BucketKey {
    hashing: hmac::Key,
    signing: hmac::Key,
}

impl BucketKey {
    /// Derives the key of a plan.
    pub fn new(secret: &[u8], plan: &str) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derive = |purpose: &[u8]| {
            let mut context = hmac::Context::with_key(&root);
            context.update(purpose);
            context.update(plan.as_bytes());
            hmac::Key::new(hmac::HMAC_SHA256, context.sign().as_ref())
        };
        Self { hashing: derive(b"ringway bucket of a key\0"), signing: derive(b"ringway bucket cookie\0") }
    }

    /// The bucket of a client's key. Without the secret, no key for a given bucket can be found. About 0.5
    /// µs.
    pub fn bucket_of(&self, key: &[u8]) -> Bucket {
        let tag = hmac::sign(&self.hashing, key);
        let bits = tag.as_ref().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Bucket::draw(bits)
    }

    /// The value of a cookie that keeps a bucket.
    pub fn seal(&self, bucket: Bucket) -> SealedBucket {
        let number = bucket.0.to_be_bytes();
        let tag = hmac::sign(&self.signing, &number);
        SealedBucket { bucket, tag: tag.as_ref().first_chunk().copied().unwrap_or_default() }
    }

    /// The bucket that such a value keeps; `None` when it was not made by this key. About 0.5 µs, in a time
    /// that does not depend on the signature.
    pub fn open(&self, value: &[u8]) -> Option<Bucket> {
        let (number, signature) = value.split_at_checked(SIGNATURE_AT)?;
        let number = number.strip_suffix(b".")?;
        if !number.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let number = number.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        let bucket = Bucket(number);
        let expected = self.seal(bucket).tag;
        let signature: &[u8; 2 * TAG_BYTES] = signature.try_into().ok()?;
        let mut difference = 0;
        for (digits, byte) in signature.chunks_exact(2).zip(expected) {
            difference |= (hex_digit(digits[0])? << 4 | hex_digit(digits[1])?) ^ byte;
        }
        (difference == 0).then_some(bucket)
    }
}

impl fmt::Debug for BucketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BucketKey").finish_non_exhaustive()
    }
}

/// Bucket with its signature, as a cookie's value: `0042.` and 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedBucket {
    bucket: Bucket,
    tag: [u8; TAG_BYTES],
}

impl fmt::Display for SealedBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}.", self.bucket.0)?;
        self.tag.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Value of a lower-case hexadecimal digit; the value has one spelling.
fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Bytes of a signature: half of HMAC-SHA256, as RFC 2104 §5 allows.
const TAG_BYTES: usize = 16;
/// Position of the signature: after four digits and a dot.
const SIGNATURE_AT: usize = 5;

#[cfg(test)]
#[path = "bucket_tests.rs"]
mod tests;
