//! Entropy from the operating system, for the core's one generator. There is no fallback: without entropy nothing starts.

use std::io;

use portcullis_core::random::Seed;
use rustix::rand::{GetRandomFlags, getrandom};

/// 32 bytes that nobody can guess.
///
/// # Errors
/// What the system call said; a host without entropy cannot run a gateway.
pub fn seed() -> io::Result<Seed> {
    let mut bytes = [0_u8; 32];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match getrandom(rest, GetRandomFlags::empty()) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(Seed(bytes))
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_seeds_differ_and_none_is_left_blank() {
        let (one, other) = (super::seed().unwrap().0, super::seed().unwrap().0);
        assert_ne!(one, other);
        assert_ne!(one, [0; 32]);
    }
}
