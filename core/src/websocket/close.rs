//! Close codes and the body of a close frame (RFC 6455 sections 5.5.1 and 7.4).

use super::PeerFault;

/// A close code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CloseCode(pub u16);

impl CloseCode {
    /// The purpose is fulfilled.
    pub const NORMAL: Self = Self(1000);
    /// The server is going away.
    pub const GOING_AWAY: Self = Self(1001);
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: Self = Self(1002);
    /// A message's content does not fit its type.
    pub const INVALID_PAYLOAD: Self = Self(1007);
    /// A message breaks the receiver's policy.
    pub const POLICY: Self = Self(1008);
    /// A message is too big.
    pub const TOO_BIG: Self = Self(1009);
    /// The service restarts: come back.
    pub const SERVICE_RESTART: Self = Self(1012);
    /// Not now: come back later.
    pub const TRY_AGAIN_LATER: Self = Self(1013);

    /// Whether the code may stand in a close frame: defined by the RFC or its registry, or in the ranges for libraries
    /// and applications (3000 to 4999).
    #[must_use]
    pub const fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// Reads the body of a close frame; `None` when it is empty.
pub(super) fn parse(body: &[u8]) -> Result<Option<CloseCode>, PeerFault> {
    let Some((code, reason)) = body.split_first_chunk::<2>() else {
        return if body.is_empty() {
            Ok(None)
        } else {
            Err(PeerFault::BadClose)
        };
    };
    let code = CloseCode(u16::from_be_bytes(*code));
    if !code.may_be_sent() {
        return Err(PeerFault::BadClose);
    }
    if core::str::from_utf8(reason).is_err() {
        return Err(PeerFault::InvalidUtf8);
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_close_frames() {
        assert_eq!(parse(b""), Ok(None));
        assert_eq!(parse(b"\x03\xe8bye"), Ok(Some(CloseCode::NORMAL)));
        assert_eq!(parse(b"\x03"), Err(PeerFault::BadClose));
        assert_eq!(parse(b"\x03\xe8\xff"), Err(PeerFault::InvalidUtf8));
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535_u16] {
            assert_eq!(parse(&code.to_be_bytes()), Err(PeerFault::BadClose), "{code}");
        }
        for code in [1000, 1003, 1007, 1011, 1014, 3000, 4999_u16] {
            assert_eq!(parse(&code.to_be_bytes()), Ok(Some(CloseCode(code))), "{code}");
        }
    }
}
