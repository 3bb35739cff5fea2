//! Seeded mutations of known inputs: what is left of fuzzing where there is no coverage to guide it.

/// Makes inputs from inputs; the same seed makes the same ones.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// Begins at a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// One of `corpus`, changed in one to four places; sometimes with a part of another one. 4 KiB at most.
    pub fn next(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = match corpus {
            [] => Vec::new(),
            corpus => corpus[self.below(corpus.len())].clone(),
        };
        for _ in 0..=self.below(4) {
            self.change(&mut input, corpus);
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let end = (at + 1 + self.below(8)).min(input.len());
        match self.below(8) {
            0 if at < input.len() => input[at] ^= 1 << self.below(8),
            1 if at < input.len() => input[at] = self.interesting(),
            2 => input.insert(at, self.interesting()),
            3 => _ = input.drain(at..end),
            4 => {
                let part = input[at..end].to_vec();
                let to = self.below(input.len() + 1);
                input.splice(to..to, part);
            }
            5 => input.truncate(at),
            _ if !corpus.is_empty() => {
                let other = &corpus[self.below(corpus.len())];
                let from = self.below(other.len() + 1);
                let part = &other[from..(from + self.below(32)).min(other.len())];
                let over = if self.below(2) == 0 { (at + part.len()).min(input.len()) } else { at };
                input.splice(at..over, part.iter().copied());
            }
            _ => input.push(self.interesting()),
        }
    }

    /// A byte that grammars turn on, or any.
    fn interesting(&mut self) -> u8 {
        const BYTES: &[u8] = b"\r\n\t \0:;,=\"/.*@%[]{}-_09afAF\x7f\x80\xff";
        match self.below(3) {
            0 => self.draw() as u8,
            _ => BYTES[self.below(BYTES.len())],
        }
    }

    /// A number below `count`.
    fn below(&mut self, count: usize) -> usize {
        (self.draw() % count as u64) as usize
    }

    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.state;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }
}

/// 4 KiB: beyond it targets only become slower.
const INPUT_BYTES_MAX: usize = 4096;
