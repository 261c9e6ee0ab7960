//! A seeded random walk of prices, computed from the row number alone.

use stockpipeline::checked::Synthetic;
use stockpipeline::schema::Schema;

use super::{Counts, RowHead};

/// Rows of a synthetic source.
pub(super) struct Ticks {
    fingerprint: String,
}

impl Ticks {
    pub(super) fn new(_settings: &Synthetic, _schema: &Schema, _key_column: usize) -> Self {
        todo!("next commit")
    }
    pub(super) fn advance(&mut self) -> Option<RowHead<'_>> {
        todo!("next commit")
    }
    pub(super) fn encode(&self, _value: &mut Vec<u8>) {
        todo!("next commit")
    }
    pub(super) fn seek(&mut self, _number: u64) -> bool {
        todo!("next commit")
    }
    pub(super) fn rows_total(&self) -> Option<u64> {
        todo!("next commit")
    }
    pub(super) fn counts(&self) -> Counts {
        todo!("next commit")
    }
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}
