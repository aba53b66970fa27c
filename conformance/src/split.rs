//! Splitting: the same bytes handed over in other pieces must give the same result, byte for byte.

/// How the bytes that a client sends are cut into reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split {
    /// Each sending step is one read.
    AsSent,
    /// All that is sent between two expectations is one read.
    Joined,
    /// Every byte is a read of its own.
    Bytes,
    /// Cuts at places that this seed determines.
    Random(u64),
}

impl Split {
    /// The other ways in which every vector is played and compared with [`Split::AsSent`].
    pub const OTHERS: [Self; 5] = [
        Self::Joined,
        Self::Bytes,
        Self::Random(1),
        Self::Random(2),
        Self::Random(3),
    ];
}

/// Cuts bytes.
#[derive(Clone, Debug)]
pub struct Cutter {
    split: Split,
    state: u64,
}

impl Cutter {
    /// A cutter that cuts as `split` says.
    #[must_use]
    pub fn new(split: Split) -> Self {
        let state = if let Split::Random(seed) = split {
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1
        } else {
            1
        };
        Self { split, state }
    }

    /// Whether what is sent in several steps may be one read.
    #[must_use]
    pub fn joins(&self) -> bool {
        self.split != Split::AsSent
    }

    /// How many of `available` bytes (at least one) the next read takes.
    pub fn cut(&mut self, available: usize) -> usize {
        match self.split {
            Split::AsSent | Split::Joined => available,
            Split::Bytes => available.min(1),
            Split::Random(_) => {
                // xorshift64: cuts need variety, not secrecy. Short pieces are the interesting ones.
                self.state ^= self.state << 13;
                self.state ^= self.state >> 7;
                self.state ^= self.state << 17;
                let longest = if self.state & 0x300 == 0 {
                    available
                } else {
                    available.min(24)
                };
                1 + usize::try_from(self.state >> 32).unwrap_or(0) % longest.max(1)
            }
        }
        .min(available)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_make_the_whole() {
        for split in Split::OTHERS.into_iter().chain([Split::AsSent]) {
            let mut cutter = Cutter::new(split);
            let mut left = 1_000;
            while left > 0 {
                let piece = cutter.cut(left);
                assert!((1..=left).contains(&piece), "{split:?}");
                left -= piece;
            }
        }
    }
}
