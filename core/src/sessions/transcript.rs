//! Transcripts: JSON lines, one for each message or compaction, appended two at a time (a turn) so that turns of
//! concurrent runs never interleave. Spec: `spec/operator.md` section 6.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

use crate::json::write_value;
use crate::time::UnixMillis;

/// One line.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Line<'a> {
    r#type: Kind,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    role: Option<Role>,
    #[serde(borrow)]
    content: Cow<'a, str>,
    timestamp: UnixMillis,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Message,
    Compaction,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    User,
    Assistant,
    System,
}

/// The lines of one turn.
pub(crate) fn turn(message: &str, asked_at: UnixMillis, answer: &str, answered_at: UnixMillis) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + answer.len() + 160);
    for (role, content, timestamp) in [(Role::User, message, asked_at), (Role::Assistant, answer, answered_at)] {
        let line = Line {
            r#type: Kind::Message,
            role: Some(role),
            content: Cow::Borrowed(content),
            timestamp,
        };
        write_value(&mut out, &line);
        out.put_u8(b'\n');
    }
    out.freeze()
}

/// The last `limit` lines of a file (or of its end), oldest first, as texts of JSON objects. What is no line of ours (a torn
/// one at either end) is passed over.
pub(crate) fn read(file: &[u8], limit: usize, with_compactions: bool) -> Vec<String> {
    let mut lines: Vec<String> = file
        .rsplit(|byte| *byte == b'\n')
        .filter_map(|text| serde_json::from_slice::<Line<'_>>(text).ok())
        .filter(|line| with_compactions || line.r#type == Kind::Message)
        .take(limit)
        .filter_map(|line| serde_json::to_string(&line).ok())
        .collect();
    lines.reverse();
    lines
}

/// Whose words a line holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speaker {
    User,
    Assistant,
    /// Instructions, or what stands for everything before it.
    Summary,
}

/// What was said, oldest first. `is_cut`: the text does not begin at the file's start, so that its first line may be torn.
pub(crate) fn spoken(file: &[u8], is_cut: bool) -> impl Iterator<Item = (Speaker, String)> {
    let lines = file.split(|byte| *byte == b'\n').skip(usize::from(is_cut));
    lines
        .filter_map(|text| serde_json::from_slice::<Line<'_>>(text).ok())
        .map(|line| {
            let speaker = match (line.r#type, line.role) {
                (Kind::Message, Some(Role::User)) => Speaker::User,
                (Kind::Message, Some(Role::Assistant)) => Speaker::Assistant,
                (Kind::Message, Some(Role::System) | None) | (Kind::Compaction, _) => Speaker::Summary,
            };
            (speaker, line.content.into_owned())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_read_back_and_the_limit_keeps_the_last() {
        let mut file = turn("hi\n", UnixMillis(1), "hello", UnixMillis(2)).to_vec();
        file.extend_from_slice(b"{\"type\":\"compaction\",\"content\":\"short\",\"timestamp\":3}\ntorn{\n");
        let user = r#"{"type":"message","role":"user","content":"hi\n","timestamp":1}"#;
        let assistant = r#"{"type":"message","role":"assistant","content":"hello","timestamp":2}"#;
        let compaction = r#"{"type":"compaction","content":"short","timestamp":3}"#;
        assert_eq!(read(&file, 9, false), [user, assistant]);
        assert_eq!(read(&file, 1, false), [assistant]);
        assert_eq!(read(&file, 2, true), [assistant, compaction]);
        assert_eq!(
            read(&file[10..], 9, true),
            [assistant, compaction],
            "a line without its start is passed over"
        );
    }
}
