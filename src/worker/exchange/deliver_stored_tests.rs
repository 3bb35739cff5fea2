use super::*;

#[test]
fn a_range_is_taken_chunk_by_chunk() {
    let chunks: Vec<Bytes> = ["abc", "", "defg", "h"].iter().map(|chunk| Bytes::from(*chunk)).collect();
    let all = b"abcdefgh";
    for start in 0..=all.len() {
        for end in start..=all.len() {
            let mut source = WholeSource::new(&chunks, start..end);
            let (mut taken, mut parts) = (Vec::new(), 0);
            loop {
                let part = source.take().unwrap();
                taken.extend_from_slice(source.data);
                parts += 1;
                if part == BodyPart::Last {
                    break;
                }
                assert!(parts < 8, "no end");
            }
            assert_eq!(taken, all[start..end], "{start}..{end}");
        }
    }
}
