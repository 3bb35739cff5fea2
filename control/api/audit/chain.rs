//! Chain of lines: each has a sequence number, the hash of the line before, and its own.
//!
//! ```text
//! {"seq":7,"prev":"<hash of line 6>", … ,"hash":"<SHA-256 of all bytes before `,"hash":`>"}
//! ```
//! Because a line's hash covers `prev`, a change, a removal or an insertion breaks the chain at its place. A
//! user who can write the file can make a new chain: compare the last hash with one that was kept elsewhere.

use aws_lc_rs::digest::{SHA256, digest};
use serde::Deserialize;

/// End of a chain, to which lines are added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// Number of the last line; 0 without one.
    pub(super) sequence: u64,
    /// Its hash, in hexadecimal digits; zeros without one.
    pub(super) hash: String,
}

impl Default for Chain {
    fn default() -> Self {
        Self { sequence: 0, hash: ZEROS.to_owned() }
    }
}

/// `prev` of the first line.
const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const HASH_KEY: &str = r#","hash":""#;
const END: &str = r#""}"#;

/// Links of a line.
#[derive(Deserialize)]
struct Links {
    seq: u64,
    prev: String,
}

/// Reason why a line does not continue a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// Not a line of an audit log.
    Malformed,
    /// Its hash is not that of its content.
    Content,
    /// It continues another line: lines were removed, inserted or reordered.
    Link,
}

impl Chain {
    /// Adds a line. `members` are those of a JSON object, without braces, and not empty. Returns the line
    /// without its end.
    pub(super) fn seal(&mut self, members: &str) -> String {
        self.sequence += 1;
        let mut line = format!(r#"{{"seq":{},"prev":"{}",{members}"#, self.sequence, self.hash);
        self.hash = hash_of(line.as_bytes());
        line.extend([HASH_KEY, &self.hash, END]);
        line
    }

    /// Returns the chain that ends with a line, whatever came before.
    pub(super) fn ending_with(line: &[u8]) -> Result<Self, Break> {
        let (chain, _) = parse(line)?;
        Ok(chain)
    }

    /// Checks that a line continues this chain, and returns the longer one.
    pub(super) fn follow(&self, line: &[u8]) -> Result<Self, Break> {
        let (chain, prev) = parse(line)?;
        match chain.sequence == self.sequence + 1 && prev == self.hash {
            true => Ok(chain),
            false => Err(Break::Link),
        }
    }

    /// Whether a line is the first of a chain, with nothing before it.
    pub(super) fn is_first(line: &[u8]) -> bool {
        Self::default().follow(line).is_ok()
    }
}

/// Parses a line: the chain that ends with it, and the hash that it continues.
fn parse(line: &[u8]) -> Result<(Chain, String), Break> {
    let links: Links = serde_json::from_slice(line).map_err(|_| Break::Malformed)?;
    let content = line.strip_suffix(END.as_bytes()).ok_or(Break::Malformed)?;
    let (content, hash) =
        content.split_at_checked(content.len().wrapping_sub(ZEROS.len())).ok_or(Break::Malformed)?;
    let content = content.strip_suffix(HASH_KEY.as_bytes()).ok_or(Break::Malformed)?;
    let actual = hash_of(content);
    if actual.as_bytes() != hash {
        return Err(Break::Content);
    }
    Ok((Chain { sequence: links.seq, hash: actual }, links.prev))
}

fn hash_of(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn lines() -> Vec<String> {
        let mut chain = Chain::default();
        (0..4).map(|n| chain.seal(&format!(r#""n":{n}"#))).collect()
    }

    #[test]
    fn a_sealed_line_continues_its_chain() {
        let lines = lines();
        assert!(
            lines[0].starts_with(&format!(r#"{{"seq":1,"prev":"{ZEROS}","n":0,"hash":""#)),
            "{}",
            lines[0]
        );
        assert!(Chain::is_first(lines[0].as_bytes()) && !Chain::is_first(lines[1].as_bytes()));
        let mut chain = Chain::default();
        for line in &lines {
            chain = chain.follow(line.as_bytes()).unwrap();
        }
        assert_eq!(chain.sequence, 4);
        assert_eq!(Chain::ending_with(lines[3].as_bytes()).unwrap(), chain);
    }

    #[test]
    fn removed_doubled_and_reordered_lines_break_it() {
        let lines = lines();
        let first = Chain::default().follow(lines[0].as_bytes()).unwrap();
        for wrong in [0, 2, 3] {
            assert_eq!(first.follow(lines[wrong].as_bytes()), Err(Break::Link), "{wrong}");
        }
        // A line whose content and hash were replaced together breaks the next one.
        let mut forger = first.clone();
        let forged = forger.seal(r#""n":9"#);
        let forged = first.follow(forged.as_bytes()).unwrap();
        assert_eq!(forged.follow(lines[2].as_bytes()), Err(Break::Link));
    }

    proptest! {
        #[test]
        fn every_changed_byte_breaks_the_line(at in 0_usize..200, byte in any::<u8>()) {
            let mut chain = Chain::default();
            let mut line = chain.seal(r#""who":"token:ci","action":"registerApp""#).into_bytes();
            let at = at % line.len();
            prop_assume!(line[at] != byte);
            line[at] = byte;
            prop_assert!(Chain::default().follow(&line).is_err());
        }

        #[test]
        fn parsing_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Chain::ending_with(&bytes).is_err());
        }
    }
}
