//! An input of the corpus → damaged ones, the same on every run: what a replay has in place of a fuzzer.

/// Numbers that parsers stumble over.
const EDGES: [u64; 8] = [0, 1, 0x7f, 0x80, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// Marsaglia's xorshift: 64 bits of state, no need for more.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Every seed gives another sequence; 0, which would stay 0, is taken for 1.
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX);
        usize::try_from(self.number().checked_rem(bound).unwrap_or(0)).unwrap_or(0)
    }
}

/// One to four damages.
pub fn damaged(input: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        damage(&mut bytes, random);
    }
    bytes
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    let rest = bytes.len() - at;
    match random.below(6) {
        0 => bytes.truncate(at),
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            let edge = EDGES.get(random.below(EDGES.len())).copied().unwrap_or(0).to_le_bytes();
            let width = [1, 2, 4, 8].get(random.below(4)).copied().unwrap_or(1);
            let wide = edge.iter().take(width);
            bytes.iter_mut().skip(at).zip(wide).for_each(|(to, from)| *to = *from);
        }
        3 => {
            let count = random.below(rest.min(32) + 1);
            bytes.drain(at..at + count);
        }
        4 => {
            // Said twice.
            let count = random.below(rest.min(64) + 1);
            let part = bytes.get(at..at + count).unwrap_or_default().to_vec();
            bytes.splice(at..at, part);
        }
        _ => {
            let count = random.below(9);
            let noise: Vec<u8> = (0..count).map(|_| random.number().to_le_bytes()[0]).collect();
            bytes.splice(at..at, noise);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_damages_and_another_gives_others() {
        let input: Vec<u8> = (0..100).collect();
        let all = |seed| {
            let mut random = Random::new(seed);
            (0..50).map(|_| damaged(&input, &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(all(7), all(7));
        assert_ne!(all(7), all(8));
        assert!(all(7).iter().filter(|bytes| **bytes != input).count() > 40);
        assert!(damaged(&[], &mut Random::new(3)).len() < 64);
    }
}
