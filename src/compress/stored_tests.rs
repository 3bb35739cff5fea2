#![allow(clippy::unwrap_used)]

use ringway_model::Coding;

use super::{Progress, StoredBody};
use crate::encoder::tests::decode;
use crate::limits::STEP_BYTES;
use crate::pool::EncoderPool;

#[test]
fn a_stored_body_is_compressed_in_bounded_steps() {
    let pool = EncoderPool::default();
    for chunks in [vec![], vec![vec![]], vec![vec![b'a'; 65_536], b"bc".to_vec(), vec![], vec![b'd'; 20_000]]]
    {
        for coding in Coding::ALL {
            let (mut body, mut out) = (StoredBody::new(pool.take(coding, 5).unwrap(), &chunks), Vec::new());
            let mut steps = 0;
            while body.step(&mut out).unwrap() == Progress::Inner {
                steps += 1;
            }
            assert_eq!(decode(coding, &out), chunks.concat(), "{coding:?}");
            let least: usize = chunks.iter().map(|chunk| chunk.len().div_ceil(STEP_BYTES)).sum();
            assert!(steps >= least);
            drop(body);
            assert_eq!(pool.states(), pool.idle(), "the state is back");
        }
    }
}
