//! The form of the relay's records on disk: one byte that names the version, then JSON. It knows no record.

use bytes::{BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version that is written.
pub const VERSION: u8 = 1;

/// The bytes of a record.
#[must_use]
pub fn write<T: Serialize>(record: &T) -> Bytes {
    let mut bytes = BytesMut::with_capacity(256);
    bytes.put_u8(VERSION);
    crate::json::write_value(&mut bytes, record);
    bytes.freeze()
}

/// The record of these bytes; `None` for another version, or for what is none.
#[must_use]
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    match bytes {
        [VERSION, json @ ..] => serde_json::from_slice(json).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back_and_others_do_not() {
        assert_eq!(write(&7_u8), Bytes::from_static(b"\x017"));
        assert_eq!(read::<u8>(b"\x017"), Some(7));
        for other in [&b""[..], b"\x01", b"\x027", b"\x01x"] {
            assert_eq!(read::<u8>(other), None);
        }
    }
}
