//! What a local run says at its end: counts, files, tables, and a next command to try. Pure.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use stockpipeline::checked::Pipeline;
use stockpipeline::rules::ProcessedFormat;

use super::bar::per_second;
use crate::audit::{Report, thousands};

/// What a local run has done, and what is there.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Name of the pipeline.
    pub name: String,
    /// Whether the source was read to its end.
    pub finished: bool,
    /// Rows read from the source by this run.
    pub rows_read: u64,
    /// Records made durable by this run; fewer than `rows_read` when an earlier one had stored some.
    pub rows_stored: u64,
    /// Time from the opened source to the last stored row.
    pub elapsed: Duration,
    /// What the audit found.
    pub report: Report,
    /// Where the files are.
    pub places: Places,
    /// The Athena tables as SQL.
    pub tables: String,
}

/// Where the files of a local run are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Folder of the bucket.
    pub bucket: PathBuf,
    /// Folder of the raw zone, where it is on.
    pub raw: Option<PathBuf>,
    /// Folder of the processed zone.
    pub processed: PathBuf,
    /// Folder of the dead letters.
    pub dead_letters: PathBuf,
    /// Folder of the ledger.
    pub ledger: PathBuf,
    /// Whether the processed zone is Parquet.
    pub is_parquet: bool,
    /// Name of the key column, for the query.
    pub key_column: Option<String>,
}

impl Places {
    /// Returns where a pipeline's files are under an output folder.
    #[must_use]
    pub fn of(pipeline: &Pipeline, output: &Path) -> Self {
        let sink = &pipeline.sink;
        let bucket = output.join(&sink.bucket);
        Self {
            raw: sink.raw.as_ref().map(|(prefix, _)| bucket.join(prefix)),
            processed: bucket.join(&sink.processed_prefix),
            dead_letters: bucket.join(&sink.dead_letters.0),
            ledger: bucket.join(&sink.ledger.prefix),
            is_parquet: matches!(sink.processed_format, ProcessedFormat::Parquet { .. }),
            key_column: pipeline.producer.as_ref().map(|producer| pipeline.schema.columns[producer.key_column].name.clone()),
            bucket,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.tables.is_empty() {
            write!(formatter, "Athena tables, as they would be registered\n\n{}\n\n", self.tables.trim_end())?;
        }
        self.counts(formatter)?;
        self.files(formatter)?;
        if self.report.zones.processed.rows > 0 {
            write!(formatter, "\nnext\n  {}\n", self.next_command())?;
        }
        Ok(())
    }
}

impl Summary {
    fn counts(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.finished { "all stored" } else { "stopped before the source's end" };
        writeln!(formatter, "{}: {state}\n", self.name)?;
        let zones = &self.report.zones;
        let objects = zones.raw.objects + zones.processed.objects + zones.dead_letters.objects;
        let bytes = zones.raw.bytes + zones.processed.bytes + zones.dead_letters.bytes;
        let rows = [
            ("rows read", self.rows_read),
            ("rows raw", zones.raw.rows),
            ("rows processed", zones.processed.rows),
            ("dead letters", zones.dead_letters.rows),
        ];
        for (name, count) in rows {
            writeln!(formatter, "  {name:<18}{:>15}", thousands(count))?;
        }
        for (class, count) in &self.report.dead_letter_classes {
            writeln!(formatter, "    {class:<16}{:>15}", thousands(*count))?;
        }
        for (name, count) in [("objects", objects), ("bytes", bytes), ("Hive partitions", self.report.hive_partitions)] {
            writeln!(formatter, "  {name:<18}{:>15}", thousands(count))?;
        }
        writeln!(formatter, "  {:<18}{:>15.1}", "seconds", self.elapsed.as_secs_f64())?;
        writeln!(formatter, "  {:<18}{:>15}", "rows/s", thousands(per_second(self.rows_read, self.elapsed)))?;
        if self.rows_stored < self.rows_read {
            let earlier = thousands(self.rows_read - self.rows_stored);
            writeln!(formatter, "\n{earlier} of the rows were stored by an earlier run; this one added {}.", thousands(self.rows_stored))?;
        }
        let plans: u64 = self.report.chains.iter().map(|chain| chain.plans).sum();
        let (chains, epochs) = (self.report.chains.len(), epochs(&self.report));
        match self.report.difference_count {
            0 => write!(formatter, "\naudit: clean, {} plans over {chains} partitions prove each offset once", thousands(plans))?,
            count => write!(formatter, "\naudit: {} differences", thousands(count))?,
        }
        if epochs > 1 {
            write!(formatter, " ({epochs} epochs: other sources or options have been written here before)")?;
        }
        formatter.write_char('\n')?;
        for difference in &self.report.differences {
            writeln!(formatter, "  {difference}")?;
        }
        Ok(())
    }

    fn files(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Places { raw, processed, dead_letters, ledger, .. } = &self.places;
        writeln!(formatter, "\nfiles")?;
        let zones = &self.report.zones;
        let folders = [
            ("raw", raw.as_deref(), zones.raw.objects),
            ("processed", Some(processed.as_path()), zones.processed.objects),
            ("dead letters", Some(dead_letters.as_path()), zones.dead_letters.objects),
        ];
        for (name, folder, objects) in folders {
            if let (Some(folder), true) = (folder, objects > 0) {
                writeln!(formatter, "  {name:<14}{} ({} files)", folder.display(), thousands(objects))?;
            }
        }
        writeln!(formatter, "  {:<14}{}", "ledger", ledger.display())?;
        Ok(())
    }

    /// Returns a query that works on the files as they are.
    fn next_command(&self) -> String {
        let Places { processed, key_column, is_parquet, .. } = &self.places;
        let (function, options, pattern) =
            if *is_parquet { ("read_parquet", ", hive_partitioning = true", "**/*.parquet") } else { ("read_json", "", "**/*.jsonl*") };
        let folder = processed.display().to_string().replace('\'', "''");
        let from = format!("{function}('{folder}/{pattern}'{options})");
        let query = match key_column {
            Some(column) => format!("select {column}, count(*) as n from {from} group by 1 order by 2 desc"),
            None => format!("select count(*) as n from {from}"),
        };
        format!("duckdb -c {}", quoted(&query))
    }
}

fn epochs(report: &Report) -> usize {
    report.chains.iter().map(|chain| chain.epoch.as_str()).collect::<std::collections::BTreeSet<_>>().len()
}

/// Returns a text as one word of a shell.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\$").replace('`', "\\`"))
}
