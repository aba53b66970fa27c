//! From bytes to messages. A whole message in one read is unmasked where it lies and lent to the caller; only what is cut
//! by reads or fragments is copied, into memory that grows with the bytes that arrived and is given back afterwards.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::frame::{Header, MAX_HEADER};
use super::mask::unmask;
use super::utf8::Utf8Check;
use super::{Opcode, PeerFault};

/// A whole message or control frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Frame<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
    /// A control frame: [`Opcode::Close`], [`Opcode::Ping`] or [`Opcode::Pong`].
    Control(Opcode, &'a [u8]),
}

/// Reads the frames of one client.
#[derive(Debug)]
pub struct Receiver {
    max_message: usize,
    /// What has arrived of an unfinished frame or message; nothing while there is none.
    partial: Option<Box<Partial>>,
}

#[derive(Default, Debug)]
struct Partial {
    header: [u8; MAX_HEADER],
    header_length: usize,
    frame: Option<OpenFrame>,
    message: Option<Message>,
    control: Vec<u8>,
    /// The last call lent this out; the next one forgets it.
    lent: Option<Lent>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lent {
    Message,
    Control,
}

#[derive(Clone, Copy, Debug)]
struct OpenFrame {
    header: Header,
    arrived: u64,
}

#[derive(Debug)]
struct Message {
    text: bool,
    bytes: Vec<u8>,
    utf8: Utf8Check,
}

impl Receiver {
    /// A receiver that refuses messages of more than `max_message` bytes.
    #[must_use]
    pub const fn new(max_message: usize) -> Self {
        Self {
            max_message,
            partial: None,
        }
    }

    /// Takes another limit, for the messages that begin from now on.
    pub const fn set_max_message(&mut self, max_message: usize) {
        self.max_message = max_message;
    }

    /// The next whole message or control frame in `input`, which is left at what follows it. `None`: all of `input` is
    /// consumed. After an error nothing further may be asked.
    ///
    /// # Errors
    /// The rule that the peer broke.
    pub fn next<'s, 'i: 's>(&'s mut self, input: &mut &'i mut [u8]) -> Result<Option<Frame<'s>>, PeerFault> {
        if self.partial.is_none()
            && let Some(frame) = self.lend_whole(input)?
        {
            return Ok(Some(frame));
        }
        self.assemble(input)
    }

    /// The fast path: an unfragmented frame that lies in `input` from its first byte to its last.
    fn lend_whole<'i>(&self, input: &mut &'i mut [u8]) -> Result<Option<Frame<'i>>, PeerFault> {
        let Some((header, start)) = Header::parse(input)? else {
            return Ok(None);
        };
        // Fragments are judged in one place, so that the same rule decides however they are cut.
        let whole = header.fin && header.opcode != Opcode::Continuation;
        if whole && !header.opcode.is_control() {
            self.check_size(0, header.payload)?;
        }
        let length = usize::try_from(header.payload).unwrap_or(usize::MAX);
        if !whole || input.len() - start < length {
            return Ok(None);
        }
        let (frame, rest) = core::mem::take(input).split_at_mut(start + length);
        *input = rest;
        let payload = frame.get_mut(start..).unwrap_or_default();
        unmask(payload, header.mask, 0);
        Ok(Some(match header.opcode {
            Opcode::Text => Frame::Text(core::str::from_utf8(payload).map_err(|_| PeerFault::InvalidUtf8)?),
            Opcode::Binary | Opcode::Continuation => Frame::Binary(payload),
            control => Frame::Control(control, payload),
        }))
    }

    fn check_size(&self, so_far: usize, more: u64) -> Result<(), PeerFault> {
        let room = self.max_message.saturating_sub(so_far);
        if more > room as u64 {
            Err(PeerFault::MessageTooBig)
        } else {
            Ok(())
        }
    }

    fn assemble<'s>(&'s mut self, input: &mut &mut [u8]) -> Result<Option<Frame<'s>>, PeerFault> {
        let max_message = self.max_message;
        let mut partial = self.partial.take().unwrap_or_default();
        partial.forget_lent();
        let finished = loop {
            if partial.frame.is_none() && !partial.open_frame(input, max_message)? {
                break None;
            }
            if let Some(finished) = partial.take_payload(input)? {
                break Some(finished);
            }
            if input.is_empty() {
                break None;
            }
        };
        if finished.is_none() && partial.is_idle() {
            return Ok(None);
        }
        partial.lent = finished;
        let partial = self.partial.insert(partial);
        Ok(match finished {
            None => None,
            Some(Lent::Control) => {
                let opcode = partial.frame.map_or(Opcode::Ping, |frame| frame.header.opcode);
                Some(Frame::Control(opcode, &partial.control))
            }
            Some(Lent::Message) => match &partial.message {
                Some(Message { text: true, bytes, .. }) => Some(Frame::Text(
                    core::str::from_utf8(bytes).map_err(|_| PeerFault::InvalidUtf8)?,
                )),
                Some(Message { bytes, .. }) => Some(Frame::Binary(bytes)),
                None => None,
            },
        })
    }
}

impl Partial {
    fn is_idle(&self) -> bool {
        self.header_length == 0 && self.frame.is_none() && self.message.is_none()
    }

    fn forget_lent(&mut self) {
        match self.lent.take() {
            Some(Lent::Message) => self.message = None,
            Some(Lent::Control) => self.control = Vec::new(),
            None => return,
        }
        self.frame = None;
    }

    /// Reads header bytes until a frame is open; `false` when the input ended before that.
    fn open_frame(&mut self, input: &mut &mut [u8], max_message: usize) -> Result<bool, PeerFault> {
        loop {
            let header = self.header.get(..self.header_length).unwrap_or_default();
            if let Some((header, _)) = Header::parse(header)? {
                self.header_length = 0;
                self.admit(&header, max_message)?;
                self.frame = Some(OpenFrame { header, arrived: 0 });
                return Ok(true);
            }
            let Some((byte, rest)) = core::mem::take(input).split_first_mut() else {
                return Ok(false);
            };
            // A header is complete at MAX_HEADER bytes at the latest, so there is room for this one.
            if let Some(slot) = self.header.get_mut(self.header_length) {
                *slot = *byte;
            }
            self.header_length += 1;
            *input = rest;
        }
    }

    /// The rules of section 5.4, and the size limit before a byte of the payload is kept.
    fn admit(&mut self, header: &Header, max_message: usize) -> Result<(), PeerFault> {
        let so_far = match (header.opcode, &self.message) {
            (opcode, _) if opcode.is_control() => return Ok(()),
            (Opcode::Continuation, None) => return Err(PeerFault::NothingToContinue),
            (Opcode::Continuation, Some(message)) => message.bytes.len(),
            (_, Some(_)) => return Err(PeerFault::MessageInsideMessage),
            (opcode, None) => {
                let text = opcode == Opcode::Text;
                self.message = Some(Message {
                    text,
                    bytes: Vec::new(),
                    utf8: Utf8Check::default(),
                });
                0
            }
        };
        if header.payload > max_message.saturating_sub(so_far) as u64 {
            return Err(PeerFault::MessageTooBig);
        }
        Ok(())
    }

    /// Takes what has arrived of the open frame's payload; tells what it finished.
    fn take_payload(&mut self, input: &mut &mut [u8]) -> Result<Option<Lent>, PeerFault> {
        let Some(open) = &mut self.frame else { return Ok(None) };
        let missing = open.header.payload - open.arrived;
        let take = usize::try_from(missing).unwrap_or(usize::MAX).min(input.len());
        let (piece, rest) = core::mem::take(input).split_at_mut(take);
        *input = rest;
        unmask(piece, open.header.mask, (open.arrived % 4) as usize);
        open.arrived += take as u64;
        let frame_ended = open.arrived == open.header.payload;
        if open.header.opcode.is_control() {
            self.control.extend_from_slice(piece);
            return Ok(frame_ended.then_some(Lent::Control));
        }
        let fin = open.header.fin;
        let Some(message) = &mut self.message else {
            return Ok(None);
        };
        if message.text {
            message.utf8.push(piece).map_err(|_| PeerFault::InvalidUtf8)?;
        }
        message.bytes.extend_from_slice(piece);
        if !frame_ended {
            return Ok(None);
        }
        if !fin {
            self.frame = None;
            return Ok(None);
        }
        if message.text && !message.utf8.is_complete() {
            return Err(PeerFault::InvalidUtf8);
        }
        Ok(Some(Lent::Message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;
    use proptest::prelude::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0xa1, 0x5e, 0x00, 0xff];
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..=125 => bytes.push(0x80 | short as u8),
            medium @ 126..=0xffff => {
                bytes.push(0xfe);
                bytes.extend_from_slice(&(medium as u16).to_be_bytes());
            }
            long => {
                bytes.push(0xff);
                bytes.extend_from_slice(&(long as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().enumerate().map(|(i, b)| b ^ mask[i % 4]));
        bytes
    }

    /// What came out, in a form that outlives the loan.
    fn read(receiver: &mut Receiver, pieces: &[&[u8]]) -> (Vec<String>, Option<PeerFault>) {
        let mut seen = Vec::new();
        for piece in pieces {
            let mut bytes = piece.to_vec();
            let mut rest = &mut bytes[..];
            loop {
                match receiver.next(&mut rest) {
                    Ok(Some(frame)) => seen.push(alloc::format!("{frame:?}")),
                    Ok(None) => break,
                    Err(fault) => return (seen, Some(fault)),
                }
            }
            assert!(rest.is_empty());
        }
        (seen, None)
    }

    #[test]
    fn fragments_with_a_ping_between_them() {
        let mut bytes = masked(0x01, b"Hel");
        bytes.extend(masked(0x89, b"?"));
        bytes.extend(masked(0x80, b"lo"));
        bytes.extend(masked(0x82, &[1, 2]));
        let mut receiver = Receiver::new(1024);
        let (seen, fault) = read(&mut receiver, &[&bytes]);
        assert_eq!(seen, ["Control(Ping, [63])", "Text(\"Hello\")", "Binary([1, 2])"]);
        assert_eq!(fault, None);
        assert!(receiver.partial.is_none(), "an idle receiver holds nothing");
    }

    #[test]
    fn the_size_limit_counts_all_fragments_and_needs_only_the_header() {
        for (payload, fits) in [(63, true), (64, true), (65, false)] {
            let (seen, fault) = read(&mut Receiver::new(64), &[&masked(0x82, &vec![0; payload])]);
            assert_eq!((seen.len() == 1, fault.is_none()), (fits, fits));
        }
        let mut bytes = masked(0x02, &[0; 40]);
        bytes.extend(&masked(0x80, &[0; 25])[..6]);
        assert_eq!(
            read(&mut Receiver::new(64), &[&bytes]).1,
            Some(PeerFault::MessageTooBig)
        );
        let header = &masked(0x82, &vec![0; 70_000])[..14];
        assert_eq!(
            read(&mut Receiver::new(64), &[header]).1,
            Some(PeerFault::MessageTooBig)
        );
    }

    #[test]
    fn fragment_rules() {
        assert_eq!(
            read(&mut Receiver::new(64), &[&masked(0x80, b"x")]).1,
            Some(PeerFault::NothingToContinue)
        );
        let header = &masked(0x00, &[0; 100])[..6];
        for pieces in [&[header][..], &[&header[..1], &header[1..]]] {
            let fault = read(&mut Receiver::new(64), pieces).1;
            assert_eq!(
                fault,
                Some(PeerFault::NothingToContinue),
                "the first rule decides at every cut"
            );
        }
        let mut nested = masked(0x01, b"a");
        nested.extend(masked(0x81, b"b"));
        assert_eq!(
            read(&mut Receiver::new(64), &[&nested]).1,
            Some(PeerFault::MessageInsideMessage)
        );
    }

    #[test]
    fn bad_text_is_refused_before_its_end() {
        let bytes = masked(0x01, b"\xf4\x90");
        assert_eq!(read(&mut Receiver::new(64), &[&bytes]).1, Some(PeerFault::InvalidUtf8));
        let mut cut = masked(
            0x81,
            b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80 and much more",
        );
        cut.truncate(6 + 13);
        assert_eq!(read(&mut Receiver::new(64), &[&cut]).1, Some(PeerFault::InvalidUtf8));
        assert_eq!(
            read(&mut Receiver::new(64), &[&masked(0x81, b"\xce")]).1,
            Some(PeerFault::InvalidUtf8)
        );
    }

    proptest! {
        #[test]
        fn the_cuts_between_reads_do_not_show(
            frames in proptest::collection::vec((prop_oneof![Just(0x01_u8), Just(0x81), Just(0x82), Just(0x80), Just(0x89), Just(0x8a), Just(0x00)], "\\PC{0,50}"), 1..8),
            cuts in proptest::collection::vec(0_usize..300, 0..6),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(first, text)| masked(*first, text.as_bytes())).collect();
            let whole = read(&mut Receiver::new(120), &[&bytes]);
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(&read(&mut Receiver::new(120), &single), &whole);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(&read(&mut Receiver::new(120), &pieces), &whole);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&mut Receiver::new(100), &[&bytes]);
        }
    }
}
