//! The sink: zones, their prefixes, rotation, ledger.

use super::findings::Findings;
use super::{address, partition, producer, schema, time, unsigned};
use crate::checked::{Ledger, Rotation, Sink, StartFrom};
use crate::rules::{LineCompression, PageCompression, ProcessedFormat};
use crate::schema::Schema;
use crate::spec::PipelineSpec;
use crate::spec::bounds::{LEDGER_RETAIN, ROTATION_INTERVAL};
use crate::spec::sink::{self as spec, BadRecordAction, Compression, RawFormat, StartType};

/// Checks everything under `sink` but its pods.
pub(crate) fn check(spec: &PipelineSpec, name: &str, checked: &Schema, findings: &mut Findings) -> Sink {
    let sink = &spec.sink;
    let prefixes = Prefixes::of(sink, name);
    prefixes.check(spec, findings);
    address::bucket(findings, "spec.sink.bucket.name", &sink.bucket.name);
    let raw = sink.raw.as_ref().map(|zone| match zone.format {
        RawFormat::JsonLines => lines("spec.sink.raw.compression", zone.compression, findings),
    });
    let BadRecordAction::DeadLetter = sink.on_bad_record.action;
    let dead_letters = lines("spec.sink.onBadRecord.compression", sink.on_bad_record.compression, findings);
    let rotation = &sink.rotation;
    Sink {
        start_from: start_from(&sink.start_from, findings),
        bucket: sink.bucket.name.clone(),
        kms_key_arn: sink.bucket.kms_key_arn.clone(),
        raw: prefixes.raw.zip(raw),
        processed_prefix: prefixes.processed,
        processed_format: processed_format(&sink.processed, findings),
        partition_by: partition::check(&sink.processed.partition_by, checked, findings),
        sort_by: sort_by(spec, checked, findings),
        dead_letters: (prefixes.dead_letters, dead_letters),
        halt_above_per_minute: unsigned(sink.on_bad_record.halt_above_per_minute),
        rotation: Rotation {
            max_bytes: unsigned(rotation.max_bytes),
            max_records: unsigned(rotation.max_records),
            max_interval: time::span(findings, "spec.sink.rotation.maxInterval", &rotation.max_interval, ROTATION_INTERVAL),
        },
        ledger: Ledger {
            prefix: sink.ledger.prefix.clone(),
            retain: time::span(findings, "spec.sink.ledger.retain", &sink.ledger.retain, LEDGER_RETAIN),
            retain_plans: unsigned(sink.ledger.retain_plans),
            accept: sink.ledger.accept.clone(),
        },
    }
}

/// Key prefixes of the zones and the ledger, defaults filled in.
struct Prefixes {
    raw: Option<String>,
    processed: String,
    dead_letters: String,
    ledger: String,
}

impl Prefixes {
    fn of(sink: &spec::Sink, name: &str) -> Self {
        let or = |prefix: &Option<String>, folder: &str| prefix.clone().unwrap_or_else(|| format!("{folder}/{name}"));
        Self {
            raw: sink.raw.as_ref().map(|zone| or(&zone.prefix, "raw")),
            processed: or(&sink.processed.prefix, "processed"),
            dead_letters: or(&sink.on_bad_record.prefix, "dlq"),
            ledger: sink.ledger.prefix.clone(),
        }
    }

    /// Checks that no prefix lies within another: a table would read the other zone's objects, or a clean-up remove them.
    fn check(&self, spec: &PipelineSpec, findings: &mut Findings) {
        let mut zones: Vec<(&str, String)> = vec![
            ("spec.sink.processed.prefix", self.processed.clone()),
            ("spec.sink.onBadRecord.prefix", self.dead_letters.clone()),
            ("spec.sink.ledger.prefix", self.ledger.clone()),
        ];
        zones.extend(self.raw.clone().map(|prefix| ("spec.sink.raw.prefix", prefix)));
        for (path, prefix) in &zones {
            if prefix.split('/').any(|segment| matches!(segment, "." | "..")) {
                findings.wrong(path, prefix.as_str(), "has . or .. as a segment", "write the path out");
            }
        }
        for (index, (path, prefix)) in zones.iter().enumerate() {
            for (other_path, other) in zones.iter().take(index) {
                if overlap(prefix, other) {
                    let remedy = "use prefixes of which none lies within another";
                    findings.wrong(path, prefix.as_str(), &format!("overlaps with {other:?} of {other_path}"), remedy);
                }
            }
        }
        check_query_results(spec, &zones, findings);
    }
}

/// Checks that Athena's results land in no zone.
fn check_query_results(spec: &PipelineSpec, zones: &[(&str, String)], findings: &mut Findings) {
    let location = spec.athena.as_ref().and_then(|athena| athena.workgroup.output_location.as_deref());
    let Some(location) = location else { return };
    let Some((bucket, key)) = location.strip_prefix("s3://").map(|rest| rest.split_once('/').unwrap_or((rest, ""))) else { return };
    if bucket != spec.sink.bucket.name {
        return;
    }
    // Results are written below the location, so only a location inside a zone puts them there.
    let key = key.trim_end_matches('/');
    for (zone_path, prefix) in zones.iter().filter(|(_, prefix)| key == prefix || key.starts_with(&format!("{prefix}/"))) {
        let reason = format!("lies within {prefix:?} of {zone_path}");
        findings.wrong("spec.athena.workgroup.outputLocation", location, &reason, "use a prefix outside every zone");
    }
}

fn overlap(one: &str, other: &str) -> bool {
    one == other || one.starts_with(&format!("{other}/")) || other.starts_with(&format!("{one}/"))
}

fn lines(path: &str, compression: Compression, findings: &mut Findings) -> LineCompression {
    match compression {
        Compression::Zstd => LineCompression::Zstd,
        Compression::Gzip => LineCompression::Gzip,
        Compression::None => LineCompression::None,
        Compression::Snappy => {
            findings.wrong(path, "Snappy", "is for Parquet only", "use Zstd, Gzip or None");
            LineCompression::None
        }
    }
}

fn processed_format(zone: &spec::ProcessedZone, findings: &mut Findings) -> ProcessedFormat {
    match zone.format {
        spec::ProcessedFormat::JsonLines => {
            ProcessedFormat::JsonLines { compression: lines("spec.sink.processed.compression", zone.compression, findings) }
        }
        spec::ProcessedFormat::Parquet => ProcessedFormat::Parquet {
            compression: match zone.compression {
                Compression::Zstd => PageCompression::Zstd,
                Compression::Snappy => PageCompression::Snappy,
                Compression::Gzip => PageCompression::Gzip,
                Compression::None => PageCompression::None,
            },
        },
    }
}

fn sort_by(spec: &PipelineSpec, checked: &Schema, findings: &mut Findings) -> Vec<usize> {
    if let Some(names) = &spec.sink.processed.sort_by {
        let path = |index: usize| format!("spec.sink.processed.sortBy[{index}]");
        return names.iter().enumerate().filter_map(|(index, name)| schema::position(checked, &path(index), name, findings)).collect();
    }
    let named = spec.producer.as_ref().and_then(|producer| producer.key_column.as_deref());
    let key = named.map_or_else(|| producer::default_key(checked), |name| checked.position(name));
    let mut columns: Vec<usize> = key.into_iter().collect();
    if !columns.contains(&checked.event_time) {
        columns.push(checked.event_time);
    }
    columns
}

fn start_from(start: &spec::StartFrom, findings: &mut Findings) -> StartFrom {
    let path = "spec.sink.startFrom.timestamp";
    match (start.start_type, &start.timestamp) {
        (StartType::Timestamp, Some(text)) => StartFrom::Timestamp(time::instant(findings, path, text).as_millisecond()),
        (StartType::Timestamp, None) => {
            findings.broken(path, "is required when type is Timestamp", "add it, such as 2024-01-02T00:00:00Z");
            StartFrom::Earliest
        }
        (kind @ (StartType::Earliest | StartType::Latest), timestamp) => {
            if timestamp.is_some() {
                findings.broken(path, &format!("is set although type is {kind:?}"), "remove it, or set type: Timestamp");
            }
            if kind == StartType::Latest { StartFrom::Latest } else { StartFrom::Earliest }
        }
    }
}
