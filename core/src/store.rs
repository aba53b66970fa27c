//! Records that outlive a connection: read and written in batches, with compare-and-set on a version, a time to live and
//! a durability class. This module is the language of the store; it stores nothing itself. Spec: `spec/contract.md`.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::time::UnixMillis;

/// Operations that happen all together or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// In this order.
    pub ops: Vec<Op>,
    /// When the answer may be given.
    pub durability: Durability,
}

/// What a crash may take.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Durability {
    /// Kept in memory only.
    Volatile,
    /// Answered at once, on disk within a second.
    Lazy,
    /// Answered once it is on disk.
    Durable,
}

/// A record's name: a table and a key inside it, at most 1 024 bytes together.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    /// The kind of record, a constant of the code.
    pub table: &'static str,
    /// Which one; any text without NUL.
    pub id: String,
}

/// One operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Read one record. Answer: [`Reply::Record`].
    Get {
        /// Which.
        key: Key,
    },
    /// Read the records of a table whose ids start with `prefix`, in the order of their ids. Answer: [`Reply::Records`].
    Scan {
        /// The table.
        table: &'static str,
        /// The start of the ids; empty for all.
        prefix: String,
        /// The most records to return.
        limit: u32,
    },
    /// Write a record if it is as expected. Answer: [`Reply::Written`].
    Put {
        /// Which.
        key: Key,
        /// The state in which it must be.
        expect: Expect,
        /// The content. Its first version byte is the business of whoever owns the table.
        value: Bytes,
        /// Gone from then on.
        expires_at: Option<UnixMillis>,
    },
    /// Remove a record if it is as expected; one that is not there is removed already. Answer: [`Reply::Removed`].
    Delete {
        /// Which.
        key: Key,
        /// The state in which it must be.
        expect: Expect,
    },
}

/// The state in which a record must be for a write to happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expect {
    /// Any.
    Anything,
    /// Not there (an expired one is not there).
    Absent,
    /// There, with this version.
    Version(Version),
}

/// Grows with every write of a record; never used twice in one store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version(pub u64);

/// A record as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The id inside its table.
    pub id: String,
    /// For a later compare-and-set.
    pub version: Version,
    /// The content.
    pub value: Bytes,
}

/// The answer to a batch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreReply {
    /// Everything happened: one reply for each operation, in order.
    Applied(Vec<Reply>),
    /// Nothing happened: the record of the operation at this index is not as expected.
    Conflict {
        /// The index into [`Batch::ops`].
        index: usize,
    },
}

/// The answer to one operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Of [`Op::Get`].
    Record(Option<Record>),
    /// Of [`Op::Scan`].
    Records(Vec<Record>),
    /// Of [`Op::Put`].
    Written(Version),
    /// Of [`Op::Delete`].
    Removed,
}
