//! A WebSocket client's view of RFC 6455, written for this suite alone so that the gateway's codec is never only tested
//! against itself: builds (also wrong) client frames and reads server frames, refusing what a server must not send.

/// Every client frame is masked with this key, so that vectors are the same bytes each time.
pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What a server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// A close frame: code and reason.
    Close(Option<u16>, String),
}

impl std::fmt::Display for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "text {text}"),
            Self::Binary(bytes) => write!(f, "binary message of {} bytes", bytes.len()),
            Self::Ping(bytes) => write!(f, "ping {:?}", String::from_utf8_lossy(bytes)),
            Self::Pong(bytes) => write!(f, "pong {:?}", String::from_utf8_lossy(bytes)),
            Self::Close(Some(code), reason) => write!(f, "close frame {code} {reason:?}"),
            Self::Close(None, _) => write!(f, "close frame without a code"),
        }
    }
}

/// A frame's first bytes and payload, masked unless told otherwise.
#[must_use]
pub fn encode(first: u8, payload: &[u8], masked: bool, length: Option<u64>, length_bits: Option<u8>) -> Vec<u8> {
    let announced = length.unwrap_or(payload.len() as u64);
    let mask_bit = if masked { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match (length_bits, announced) {
        (Some(64), _) | (None, 0x1_0000..) => {
            bytes.push(mask_bit | 127);
            bytes.extend(announced.to_be_bytes());
        }
        (Some(16), _) | (None, 126..) => {
            bytes.push(mask_bit | 126);
            bytes.extend((announced as u16).to_be_bytes());
        }
        _ => bytes.push(mask_bit | announced as u8),
    }
    if masked {
        bytes.extend(MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        bytes.extend(payload);
    }
    bytes
}

/// A whole, proper client frame.
#[must_use]
pub fn client_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    encode(0x80 | opcode, payload, true, None, None)
}

/// Reads server frames and puts fragments together.
#[derive(Debug, Default)]
pub struct Frames {
    fragments: Option<(u8, Vec<u8>)>,
}

impl Frames {
    /// Takes the next complete arrival off the front of `buffer`, if it is all there.
    ///
    /// # Errors
    /// Says which rule of RFC 6455 the server broke.
    pub fn next(&mut self, buffer: &mut Vec<u8>) -> Result<Option<Arrival>, String> {
        loop {
            let Some((first, header, length)) = header(buffer)? else {
                return Ok(None);
            };
            if buffer.len() < header + length {
                return Ok(None);
            }
            let payload: Vec<u8> = buffer.drain(..header + length).skip(header).collect();
            if let Some(arrival) = self.frame(first, payload)? {
                return Ok(Some(arrival));
            }
        }
    }

    fn frame(&mut self, first: u8, payload: Vec<u8>) -> Result<Option<Arrival>, String> {
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        if opcode >= 8 && (!fin || payload.len() > 125) {
            return Err(format!(
                "the server sent a control frame that is fragmented or too long (first byte {first:#04x})"
            ));
        }
        let (opcode, whole) = match (opcode, self.fragments.take()) {
            (8.., fragments) => {
                self.fragments = fragments;
                (opcode, payload)
            }
            (0, Some((opcode, mut whole))) => {
                whole.extend(payload);
                (opcode, whole)
            }
            (1 | 2, None) => (opcode, payload),
            (opcode, fragments) => {
                let state = if fragments.is_some() { "inside" } else { "outside" };
                return Err(format!(
                    "the server sent a frame with opcode {opcode} {state} a fragmented message"
                ));
            }
        };
        if opcode < 8 && !fin {
            self.fragments = Some((opcode, whole));
            return Ok(None);
        }
        match opcode {
            1 => String::from_utf8(whole)
                .map(Arrival::Text)
                .map_err(|why| format!("the server's text is not UTF-8: {why}")),
            2 => Ok(Arrival::Binary(whole)),
            8 => close(&whole),
            9 => Ok(Arrival::Ping(whole)),
            10 => Ok(Arrival::Pong(whole)),
            other => Err(format!("the server sent a frame with the reserved opcode {other}")),
        }
        .map(Some)
    }
}

fn header(buffer: &[u8]) -> Result<Option<(u8, usize, usize)>, String> {
    let &[first, second, ref rest @ ..] = buffer else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err(format!(
            "the server set reserved bits without an extension (first byte {first:#04x})"
        ));
    }
    if second & 0x80 != 0 {
        return Err("the server masked a frame".into());
    }
    let (size, least) = match second {
        126 => (2, 126),
        127 => (8, 0x1_0000),
        short => return Ok(Some((first, 2, usize::from(short)))),
    };
    let Some(digits) = rest.get(..size) else {
        return Ok(None);
    };
    let length = digits.iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
    if length < least {
        return Err(format!("the server wrote the length {length} in {size} bytes"));
    }
    let length = usize::try_from(length).ok().filter(|length| *length < 1 << 31);
    length.map_or_else(
        || Err("the server announced more than 2 GiB".into()),
        |length| Ok(Some((first, 2 + size, length))),
    )
}

fn close(payload: &[u8]) -> Result<Arrival, String> {
    match payload {
        [] => Ok(Arrival::Close(None, String::new())),
        [_] => Err("the server sent a close frame with half a code".into()),
        [high, low, reason @ ..] => {
            let reason = str::from_utf8(reason).map_err(|_| "the server's close reason is not UTF-8")?;
            Ok(Arrival::Close(
                Some(u16::from_be_bytes([*high, *low])),
                reason.to_owned(),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_as_the_rfc_shows() {
        // RFC 6455 section 5.7: a single-frame masked text message with "Hello".
        assert_eq!(
            client_frame(1, b"Hello"),
            [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]
        );
    }

    #[test]
    fn puts_fragments_together_around_a_ping() {
        let mut buffer = vec![
            0x01, 3, b'H', b'e', b'l', 0x89, 0, 0x80, 2, b'l', b'o', 0x88, 2, 0x03, 0xe8,
        ];
        let mut frames = Frames::default();
        assert_eq!(frames.next(&mut buffer).unwrap(), Some(Arrival::Ping(vec![])));
        assert_eq!(frames.next(&mut buffer).unwrap(), Some(Arrival::Text("Hello".into())));
        assert_eq!(
            frames.next(&mut buffer).unwrap(),
            Some(Arrival::Close(Some(1000), String::new()))
        );
        assert_eq!(frames.next(&mut buffer).unwrap(), None);
    }

    #[test]
    fn refuses_what_a_server_must_not_send() {
        for wrong in [
            &[0x81, 0x80, 0, 0, 0, 0][..],
            &[0xc1, 0],
            &[0x80, 0],
            &[0x83, 0],
            &[0x89, 126, 0, 126],
            &[0x81, 126, 0, 5],
        ] {
            let mut bytes = wrong.to_vec();
            bytes.resize(200, 0);
            assert!(Frames::default().next(&mut bytes).is_err(), "{wrong:?}");
        }
    }
}
