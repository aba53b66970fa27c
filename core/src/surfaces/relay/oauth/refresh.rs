//! Refresh tokens: the login's id, a number that grows with every use, and a code over both that only this server can
//! make. So a token that was used already is told from one that never was, for as long as the login lives, and nothing
//! that could be stolen has to be stored. Whether a login still stands is not known here.

use alloc::string::String;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::ConstantTimeEq;

use crate::surfaces::relay::keys::Keys;

/// A login's id: 12 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct LoginId(pub(super) [u8; 12]);

impl LoginId {
    /// As it is written in access tokens and as a record's id: 16 characters.
    #[must_use]
    pub(super) fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    /// Reads it back.
    #[must_use]
    pub(super) fn parse(text: &str) -> Option<Self> {
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

/// The token of this use of a login: 54 characters.
pub(super) fn write(keys: &Keys, login: LoginId, generation: u32) -> String {
    let mut bytes = [0; 40];
    let (named, code) = bytes.split_at_mut(16);
    named.copy_from_slice(&named_bytes(login, generation));
    let right = keys.refresh_code(named);
    code.copy_from_slice(right.get(..24).unwrap_or(&[0; 24]));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The login and use of a token; `None` when it is none of ours.
pub(super) fn read(keys: &Keys, token: &str) -> Option<(LoginId, u32)> {
    let bytes: [u8; 40] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
    let (named, code) = bytes.split_at_checked(16)?;
    let right = keys.refresh_code(named);
    if !bool::from(right.get(..24)?.ct_eq(code)) {
        return None;
    }
    let (login, generation) = named.split_at_checked(12)?;
    Some((
        LoginId(login.try_into().ok()?),
        u32::from_be_bytes(generation.try_into().ok()?),
    ))
}

fn named_bytes(LoginId(login): LoginId, generation: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    let (first, last) = bytes.split_at_mut(12);
    first.copy_from_slice(&login);
    last.copy_from_slice(&generation.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use proptest::prelude::*;

    fn keys(text: &str) -> Keys {
        Keys::derive(&Secret::new(text.into()))
    }

    #[test]
    fn tokens_read_back_and_no_other_text_does() {
        let keys_of_ours = keys("reference-signing-key-0123456789abcdef");
        let login = LoginId([7; 12]);
        let token = write(&keys_of_ours, login, 3);
        assert_eq!(token.len(), 54);
        assert_eq!(read(&keys_of_ours, &token), Some((login, 3)));
        assert_eq!(read(&keys("another-signing-key-of-32-bytes-or-more"), &token), None);
        for at in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(read(&keys_of_ours, &String::from_utf8(other).unwrap()), None, "{at}");
        }
        assert_eq!(LoginId::parse(&login.text()), Some(login));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            prop_assert_eq!(read(&keys("reference-signing-key-0123456789abcdef"), &text), None);
        }
    }
}
