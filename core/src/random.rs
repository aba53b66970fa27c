//! All of the core's randomness: one ChaCha generator, seeded by the adapter. The same seed gives the same bytes.

use alloc::string::String;
use core::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Entropy from the adapter: 32 bytes that nobody can guess. Tests write their own.
pub struct Seed(pub [u8; 32]);

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(redacted)")
    }
}

/// The generator of one machine.
pub struct Random(ChaCha12Rng);

impl Random {
    /// A generator that yields what `seed` determines.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self(ChaCha12Rng::from_seed(seed.0))
    }

    /// `N` unguessable bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A random (version 4) UUID in its usual form, for example `0b5a8a3c-6f0e-4c5f-9a57-0f5e0f3f9d41`.
    pub fn uuid(&mut self) -> String {
        let mut number = u128::from_be_bytes(self.bytes());
        number = number & !(0xf << 76) | 0x4 << 76;
        number = number & !(0x3 << 62) | 0x2 << 62;
        let mut text = String::with_capacity(36);
        for (index, byte) in number.to_be_bytes().into_iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.extend(char::from_digit(u32::from(byte >> 4), 16));
            text.extend(char::from_digit(u32::from(byte & 15), 16));
        }
        text
    }

    /// A token of 32 random bytes: 43 characters of base64url without padding.
    pub fn token(&mut self) -> String {
        URL_SAFE_NO_PAD.encode(self.bytes::<32>())
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn the_seed_determines_everything() {
        let (mut one, mut other) = (Random::new(Seed([3; 32])), Random::new(Seed([3; 32])));
        assert_eq!(one.bytes::<16>(), other.bytes::<16>());
        assert_eq!(one.uuid(), other.uuid());
        assert_ne!(one.uuid(), other.token());
    }

    #[test]
    fn uuids_are_version_4() {
        let mut random = Random::new(Seed([9; 32]));
        for _ in 0..64 {
            let uuid = random.uuid();
            assert_eq!(uuid.len(), 36);
            assert_eq!(uuid.as_bytes()[14], b'4');
            assert!(b"89ab".contains(&uuid.as_bytes()[19]));
            let groups: Vec<usize> = uuid.split('-').map(str::len).collect();
            assert_eq!(groups, [8, 4, 4, 4, 12]);
            assert!(uuid.bytes().all(|byte| b"-0123456789abcdef".contains(&byte)));
        }
        assert_eq!(random.token().len(), 43);
    }
}
