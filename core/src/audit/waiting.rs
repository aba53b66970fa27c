//! Records that wait to be written, as the text of their members: what a record holds is small from the moment it comes,
//! however long what it was made of is. They are chained when they are written, since only then is known what they follow.

use alloc::vec::Vec;

use bytes::BytesMut;

use super::chain::Chain;
use super::record::AuditRecord;
use crate::time::UnixMillis;

/// Records in their order.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    text: BytesMut,
    /// When each came, and where its members end in the text.
    records: Vec<(UnixMillis, usize)>,
}

impl Waiting {
    /// Takes one in.
    pub(super) fn push(&mut self, at: UnixMillis, record: &AuditRecord) {
        record.write(&mut self.text);
        self.records.push((at, self.text.len()));
    }

    /// Puts others after these.
    pub(super) fn append(&mut self, others: &Self) {
        let before = self.text.len();
        self.text.extend_from_slice(&others.text);
        self.records
            .extend(others.records.iter().map(|(at, end)| (*at, before + end)));
    }

    /// Takes the oldest out, so many that their members have about `most` bytes, one at least.
    pub(super) fn take(&mut self, most: usize) -> Self {
        let count = self.records.partition_point(|(_, end)| *end <= most).max(1);
        let later = self.records.split_off(count.min(self.records.len()));
        let records = core::mem::replace(&mut self.records, later);
        let taken = records.last().map_or(0, |(_, end)| *end);
        self.records.iter_mut().for_each(|(_, end)| *end -= taken);
        // A buffer that nothing waits in any more goes with them.
        let later = if self.records.is_empty() {
            BytesMut::new()
        } else {
            self.text.split_off(taken)
        };
        let text = core::mem::replace(&mut self.text, later);
        Self { text, records }
    }

    /// Bytes that they hold.
    pub(super) fn size(&self) -> usize {
        self.text.len() + self.records.len() * size_of::<(UnixMillis, usize)>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Writes a line for each, which continue the chain.
    pub(super) fn chain(&self, chain: &mut Chain, out: &mut BytesMut) {
        out.reserve(self.text.len() + self.records.len() * Chain::LINE_BYTES);
        let mut begin = 0;
        for (at, end) in &self.records {
            chain.write(out, *at, self.text.get(begin..*end).unwrap_or_default());
            begin = *end;
        }
    }
}
