//! Examples of RFC 7541, and further cases.

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// RFC 7541, Appendices C.5 and C.6: three responses, without and with Huffman codes.
const RESPONSES: [[&str; 3]; 2] = [
    [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d
         546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f
         6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b
         2076 6572 7369 6f6e 3d31",
    ],
    [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7
         8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335
         dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ],
];

/// Reads blocks, each cut into parts of `part` bytes.
fn read(blocks: &[Vec<u8>], part: usize) -> (Fields, Vec<Block>) {
    let mut fields = Fields::default();
    let read = blocks.iter().map(|block| {
        block.chunks(part).for_each(|bytes| fields.feed(bytes));
        fields.end()
    });
    let read = read.collect();
    (fields, read)
}

#[test]
fn the_table_has_the_sizes_of_the_rfc_however_blocks_are_cut() {
    for responses in RESPONSES {
        for part in [1, 2, 7, 1000] {
            let mut blocks = responses.map(bytes).to_vec();
            // A table of 256 bytes, as the examples have it.
            blocks[0].splice(0..0, [0x3f, 0xe1, 0x01]);
            for (count, size) in [(1, 222), (2, 222), (3, 215)] {
                let (fields, read) = read(&blocks[..count], part);
                assert_eq!((fields.table.bytes, matches!(fields.state, State::Start)), (size, true));
                assert_eq!(read.last(), Some(&Block { has_pseudo: true, is_interim: false }));
            }
        }
    }
}

fn blocks(hex: &[&str]) -> Vec<Block> {
    read(&hex.iter().map(|hex| bytes(hex)).collect::<Vec<_>>(), 3).1
}

const PSEUDO: Block = Block { has_pseudo: true, is_interim: false };
const INTERIM: Block = Block { has_pseudo: true, is_interim: true };
const OTHER: Block = Block { has_pseudo: false, is_interim: false };

#[test]
fn recognises_pseudo_fields_in_every_form() {
    // `:path: /x` added and referred to; `x-a: b` added and referred to.
    assert_eq!(blocks(&["4402 2f78", "be"]), [PSEUDO, PSEUDO]);
    assert_eq!(blocks(&["4003 782d 6101 62", "be"]), [OTHER, OTHER]);
    // A name of its own, in plain text and in Huffman codes (`:x`), and another (`x:`).
    assert_eq!(blocks(&["0002 3a78 0161", "0082 b9e7 0161", "0002 783a 0161"]), [PSEUDO, PSEUDO, OTHER]);
    // Never to be indexed; by the name of an entry of the table.
    assert_eq!(blocks(&["1402 2f78", "4402 2f78", "7e01 61", "0f2f 0161"]), [PSEUDO; 4]);
    // Statuses: 200, 103 in plain text, 103 in Huffman codes, the one in the table, one that another field's
    // value looks like.
    assert_eq!(
        blocks(&["88", "4803 3130 33", "0882 0805", "be", "0f0d 0131"]),
        [PSEUDO, INTERIM, INTERIM, INTERIM, OTHER]
    );
}

#[test]
fn evicted_entries_are_gone() {
    // `:path` is added, then the table is emptied and gets another first entry.
    assert_eq!(blocks(&["4402 2f78", "20 3fe1 1f 4003 782d 6101 62", "be"]), [PSEUDO, OTHER, OTHER]);
    // An entry that is larger than the table empties it.
    let large = format!("3f21 4003 782d 617f 01{}", "62".repeat(128));
    let (fields, _) = read(&[bytes("3f21 4402 2f78"), bytes(&large)], 50);
    assert_eq!((fields.table.bytes, fields.table.entries.len()), (0, 0));
}

#[test]
fn malformed_hpack_ends_the_tracking() {
    for broken in ["ff ffff ffff ffff", "c0", "80", "3fe2 1f", "44"] {
        let (mut fields, _) = read(&[bytes(broken)], 100);
        fields.feed(&bytes("4402 2f78"));
        assert_eq!(fields.end(), OTHER, "{broken}");
    }
}

#[test]
fn a_malformed_stream_is_taken_once() {
    let malformed = Malformed::default();
    malformed.put(3);
    assert!(!malformed.take(1) && malformed.take(3) && !malformed.take(3));
    (0..1000).for_each(|stream| malformed.put(stream));
    assert_eq!(malformed.0.borrow().len(), MALFORMED_MAX);
}
