//! A client's view of a stream of server-sent events, written for this suite alone: takes chunks (RFC 9112) off a buffer and
//! reads comments and events (HTML, section 9.2) from them.

use std::collections::VecDeque;

/// Something that has come on the stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// A comment, without its colon.
    Comment(String),
    /// An event.
    Event {
        /// Its id, if it has one.
        id: Option<String>,
        /// Its name.
        name: String,
        /// Its data, the lines joined.
        data: String,
    },
}

impl std::fmt::Display for Arrival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Comment(text) => write!(f, "the comment {text:?}"),
            Self::Event { id, name, data } => write!(f, "the event {name:?} (id {id:?}) {data}"),
        }
    }
}

/// The stream.
#[derive(Debug, Default)]
pub struct Events {
    text: Vec<u8>,
    /// What has come and nobody has looked at.
    pub arrivals: VecDeque<Arrival>,
    /// Whether it ended in order: what follows in the buffer is HTTP again.
    pub ended: bool,
}

impl Events {
    /// Takes what is complete off the front of `buffer`.
    ///
    /// # Errors
    /// Says what is wrong with the framing, or with an event.
    pub fn take(&mut self, buffer: &mut Vec<u8>) -> Result<(), String> {
        while !self.ended && self.chunk(buffer)? {}
        while let Some(end) = self.text.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.text.drain(..end + 2).collect();
            let block = String::from_utf8(block).map_err(|_| "an event is not UTF-8")?;
            self.block(block.trim_end_matches('\n'))?;
        }
        if self.ended && !self.text.is_empty() {
            return Err(format!(
                "the stream ended inside {:?}",
                String::from_utf8_lossy(&self.text)
            ));
        }
        Ok(())
    }

    /// Takes one chunk; whether there was a whole one.
    fn chunk(&mut self, buffer: &mut Vec<u8>) -> Result<bool, String> {
        let Some(line) = buffer.windows(2).position(|pair| pair == b"\r\n") else {
            return Ok(false);
        };
        let digits = str::from_utf8(buffer.get(..line).unwrap_or_default()).unwrap_or("?");
        let size = usize::from_str_radix(digits, 16).map_err(|_| format!("this is no chunk size: {digits:?}"))?;
        let (from, to) = (line + 2, line + 2 + size);
        let Some(end) = buffer.get(to..to + 2) else {
            return Ok(false);
        };
        if end != b"\r\n" {
            return Err("a chunk does not end where its size says".into());
        }
        self.text.extend_from_slice(buffer.get(from..to).unwrap_or_default());
        buffer.drain(..to + 2);
        self.ended = size == 0;
        Ok(true)
    }

    fn block(&mut self, block: &str) -> Result<(), String> {
        let (mut id, mut name, mut data) = (None, None, Vec::new());
        for line in block.split('\n') {
            match line.split_once(':') {
                Some(("", comment)) => self.arrivals.push_back(Arrival::Comment(comment.trim().to_owned())),
                Some(("id", value)) => id = Some(value.trim_start().to_owned()),
                Some(("event", value)) => name = Some(value.trim_start().to_owned()),
                Some(("data", value)) => data.push(value.strip_prefix(' ').unwrap_or(value).to_owned()),
                _ => return Err(format!("this is no line of an event: {line:?}")),
            }
        }
        if id.is_some() || name.is_some() || !data.is_empty() {
            self.arrivals.push_back(Arrival::Event {
                id,
                name: name.unwrap_or_else(|| "message".into()),
                data: data.join("\n"),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let whole = b"c\r\n:connected\n\n\r\n5\r\nid: 7\r\n1a\r\n\nevent: x\ndata: 1\n\n:beat\n\n\r\n0\r\n\r\nHTTP";
        for cut in 0..whole.len() {
            let (mut events, mut buffer) = (Events::default(), whole[..cut].to_vec());
            events.take(&mut buffer).unwrap();
            buffer.extend(&whole[cut..]);
            events.take(&mut buffer).unwrap();
            let event = Arrival::Event {
                id: Some("7".into()),
                name: "x".into(),
                data: "1".into(),
            };
            let comment = |text: &str| Arrival::Comment(text.into());
            assert_eq!(events.arrivals, [comment("connected"), event, comment("beat")]);
            assert!(events.ended && buffer == b"HTTP");
        }
    }
}
