//! Which ticks a system has stored, and how often: read from its objects, whatever their format.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, ensure};
use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use memchr::memmem::Finder;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::bucket::Bucket;
use crate::load::{MOST_MESSAGES, VOLUME, place, volume};

/// What is under a prefix.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Stored {
    /// Objects with ticks.
    pub(crate) objects: u64,
    /// Ticks that are there once more than they should be.
    pub(crate) duplicates: u64,
    /// Ticks that are not there.
    pub(crate) missing: u64,
}

/// Counts the first `messages` ticks under a prefix.
pub(crate) fn count(bucket: &Bucket, prefix: &str, messages: u64) -> anyhow::Result<Stored> {
    let mut times = vec![0_u16; usize::try_from(MOST_MESSAGES)?];
    let keys = bucket.keys(prefix)?;
    for key in &keys {
        read(key, bucket.read(key)?, &mut times).with_context(|| format!("failed to count the ticks of {key}"))?;
    }
    let mut stored = Stored { objects: keys.len() as u64, ..Stored::default() };
    for number in 0..messages {
        let place = place(volume(number)).context("a volume has its place")?;
        stored.missing += u64::from(times[place] == 0);
        stored.duplicates += u64::from(times[place].saturating_sub(1));
        times[place] = 0;
    }
    ensure!(times.iter().all(|times| *times == 0), "{prefix} has ticks that were never sent");
    Ok(stored)
}

fn read(key: &str, body: Bytes, times: &mut [u16]) -> anyhow::Result<()> {
    if Path::new(key).extension().is_some_and(|extension| extension == "parquet") {
        return read_rows(body, times);
    }
    let mut text = Vec::new();
    match body.get(..4) {
        Some([0x28, 0xB5, 0x2F, 0xFD]) => _ = zstd::Decoder::new(&body[..])?.read_to_end(&mut text)?,
        Some([0x1F, 0x8B, ..]) => _ = flate2::read::MultiGzDecoder::new(&body[..]).read_to_end(&mut text)?,
        _ => text.extend_from_slice(&body),
    }
    read_lines(&text, times)
}

fn read_lines(text: &[u8], times: &mut [u16]) -> anyhow::Result<()> {
    for start in Finder::new(VOLUME).find_iter(text) {
        let digits = text[start + VOLUME.len()..].iter().skip_while(|byte| **byte == b' ').take_while(|byte| byte.is_ascii_digit());
        see(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')), times)?;
    }
    Ok(())
}

fn read_rows(body: Bytes, times: &mut [u16]) -> anyhow::Result<()> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(body)?;
    let volume = ProjectionMask::columns(builder.parquet_schema(), ["volume"]);
    for batch in builder.with_projection(volume).build()? {
        let batch = batch?;
        let volumes = batch.column(0).as_primitive::<Int64Type>();
        ensure!(volumes.null_count() == 0, "a row has no volume");
        for volume in volumes.values() {
            see(volume.unsigned_abs(), times)?;
        }
    }
    Ok(())
}

fn see(volume: u64, times: &mut [u16]) -> anyhow::Result<()> {
    let place = place(volume).with_context(|| format!("no tick has the volume {volume}"))?;
    times[place] = times[place].saturating_add(1);
    Ok(())
}
