//! UTF-8 that arrives in pieces cut anywhere. Refuses at the first byte that cannot belong to any valid text.

/// How far a text has been checked: the at most three bytes of a character whose end has not arrived.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Utf8Check {
    tail: [u8; 4],
    length: u8,
}

/// The bytes are not UTF-8, whatever follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NotUtf8;

impl Utf8Check {
    /// Checks the next piece.
    pub(super) fn push(&mut self, mut piece: &[u8]) -> Result<(), NotUtf8> {
        while self.length > 0 {
            let Some((&byte, rest)) = piece.split_first() else {
                return Ok(());
            };
            let at = usize::from(self.length);
            *self.tail.get_mut(at).ok_or(NotUtf8)? = byte;
            piece = rest;
            match core::str::from_utf8(self.tail.get(..=at).ok_or(NotUtf8)?) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() => self.length += 1,
                Err(_) => return Err(NotUtf8),
            }
        }
        let Err(error) = core::str::from_utf8(piece) else {
            return Ok(());
        };
        if error.error_len().is_some() {
            return Err(NotUtf8);
        }
        let open = piece.get(error.valid_up_to()..).unwrap_or_default();
        self.tail.iter_mut().zip(open).for_each(|(to, from)| *to = *from);
        self.length = open.len() as u8;
        Ok(())
    }

    /// Whether the text may end here.
    #[must_use]
    pub(super) const fn is_complete(&self) -> bool {
        self.length == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_at_the_first_impossible_byte() {
        for bad in [
            &b"\xc0"[..],
            b"\xe0\x80",
            b"\xed\xa0",
            b"\xf4\x90",
            b"\xf5",
            b"\x80",
            b"a\xff",
        ] {
            let mut check = Utf8Check::default();
            let (last, first) = bad.split_last().unwrap();
            assert_eq!(check.push(first), Ok(()), "{bad:?}");
            assert_eq!(check.push(&[*last]), Err(NotUtf8), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_whole_however_it_is_cut(bytes in proptest::collection::vec(any::<u8>(), 0..24), text in "\\PC{0,12}", cut in 0_usize..40) {
            for sample in [&bytes[..], text.as_bytes()] {
                let cut = cut.min(sample.len());
                let mut check = Utf8Check::default();
                let split = check.push(&sample[..cut]).and_then(|()| check.push(&sample[cut..]));
                prop_assert_eq!(split.is_ok() && check.is_complete(), core::str::from_utf8(sample).is_ok());
            }
        }
    }
}
