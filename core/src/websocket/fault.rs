//! The ways in which a peer can break RFC 6455: one variant for each rule, mapped to a close code here and nowhere else.

use super::CloseCode;

/// A rule that the peer broke. The connection is failed with [`Self::close_code`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PeerFault {
    /// A client's frame was not masked (section 5.1).
    Unmasked,
    /// A reserved bit is set although no extension was negotiated (section 5.2).
    ReservedBits,
    /// An opcode that is not defined (section 5.2).
    ReservedOpcode,
    /// A length was not written in its shortest form, or has its highest bit set (section 5.2).
    BadLength,
    /// A control frame came in fragments (section 5.4).
    FragmentedControl,
    /// A control frame carries more than 125 bytes (section 5.5).
    LongControl,
    /// A continuation without a message to continue (section 5.4).
    NothingToContinue,
    /// A new message inside an unfinished one (section 5.4).
    MessageInsideMessage,
    /// A text message or a close reason is not UTF-8 (section 8.1).
    InvalidUtf8,
    /// A close frame's body is one byte, or its code must not be sent (section 7.4).
    BadClose,
    /// A message is larger than the limit.
    MessageTooBig,
}

impl PeerFault {
    /// The code with which the connection is failed (section 7.4.1).
    #[must_use]
    pub const fn close_code(self) -> CloseCode {
        match self {
            Self::InvalidUtf8 => CloseCode::INVALID_PAYLOAD,
            Self::MessageTooBig => CloseCode::TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }

    /// The close reason.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unmasked => "frame is not masked",
            Self::ReservedBits => "reserved bits are set",
            Self::ReservedOpcode => "reserved opcode",
            Self::BadLength => "bad frame length",
            Self::FragmentedControl => "fragmented control frame",
            Self::LongControl => "control frame too long",
            Self::NothingToContinue => "nothing to continue",
            Self::MessageInsideMessage => "message inside a message",
            Self::InvalidUtf8 => "invalid UTF-8",
            Self::BadClose => "bad close frame",
            Self::MessageTooBig => "message too big",
        }
    }
}
