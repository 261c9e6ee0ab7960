//! Where the records come from.

use super::findings::Findings;
use super::{address, time, unsigned};
use crate::checked::{self, Location, Order, Pace, Source};
use crate::spec::source::{self as spec, CsvReplay, RowOrder, SourceType, Synthetic};

const CSV: &str = "spec.source.csvReplay";

/// Checks the union and its member.
pub(crate) fn check(source: &spec::Source, findings: &mut Findings) -> Source {
    let members = [
        ("csvReplay", SourceType::CsvReplay, source.csv_replay.is_some()),
        ("synthetic", SourceType::Synthetic, source.synthetic.is_some()),
        ("externalTopic", SourceType::ExternalTopic, source.external_topic.is_some()),
    ];
    for (name, kind, is_set) in members {
        let wanted = source.source_type == kind;
        if is_set && !wanted {
            let reason = format!("is set although type is {:?}", source.source_type);
            findings.broken(&format!("spec.source.{name}"), &reason, &format!("remove it, or set type: {kind:?}"));
        } else if wanted && !is_set && kind != SourceType::ExternalTopic {
            findings.broken(&format!("spec.source.{name}"), &format!("is required when type is {kind:?}"), "add it");
        }
    }
    match (source.source_type, &source.csv_replay, &source.synthetic) {
        (SourceType::CsvReplay, Some(csv), _) => Source::CsvReplay(csv_replay(csv, findings)),
        (SourceType::Synthetic, _, Some(synthetic)) => Source::Synthetic(walk(synthetic, findings)),
        (SourceType::ExternalTopic | SourceType::CsvReplay | SourceType::Synthetic, _, _) => Source::ExternalTopic,
    }
}

fn csv_replay(csv: &CsvReplay, findings: &mut Findings) -> checked::CsvReplay {
    let location = match (&csv.uri, &csv.config_map_ref) {
        (Some(uri), None) => address::location(findings, &format!("{CSV}.uri"), uri),
        (None, Some(reference)) => Location::ConfigMap { name: reference.name.clone(), key: reference.key.clone() },
        (None, None) => {
            findings.broken(CSV, "names no file", "set uri or configMapRef");
            Location::Path(String::new())
        }
        (Some(_), Some(_)) => {
            findings.broken(CSV, "names two files", "set only one of uri and configMapRef");
            Location::Path(String::new())
        }
    };
    checked::CsvReplay {
        location,
        header: csv.header.clone().inspect(|header| check_header(header, findings)),
        delimiter: delimiter(&csv.delimiter, findings),
        null_values: csv.null_values.clone(),
        order: match csv.order {
            RowOrder::File => Order::File,
            RowOrder::EventTime => Order::EventTime,
            RowOrder::Random => Order::Random,
        },
        pace: pace(csv, findings),
        repeat: csv.repeat,
        seed: unsigned(csv.seed),
    }
}

fn check_header(header: &[String], findings: &mut Findings) {
    for (index, name) in header.iter().enumerate() {
        if header.iter().take(index).any(|earlier| earlier == name) {
            findings.wrong(&format!("{CSV}.header[{index}]"), name.as_str(), "stands there already", "give every field its own name");
        }
    }
}

fn delimiter(text: &str, findings: &mut Findings) -> u8 {
    let byte = text.bytes().next().unwrap_or(b',');
    if text.len() != 1 || matches!(byte, b'"' | b'\r' | b'\n' | 0) {
        let remedy = "use one ASCII character other than a quote or a line end, such as \",\", \";\" or \"\\t\"";
        findings.wrong(&format!("{CSV}.delimiter"), text, "is no delimiter", remedy);
    }
    byte
}

fn pace(csv: &CsvReplay, findings: &mut Findings) -> Pace {
    if csv.speed.is_some() && csv.order == RowOrder::Random {
        findings.broken(
            &format!("{CSV}.speed"),
            "follows event times, which a Random order does not keep",
            "use order: EventTime, or rowsPerSecond",
        );
    }
    match (csv.rows_per_second, csv.speed) {
        (None, None) => Pace::Unlimited,
        (Some(rows), None) => Pace::RowsPerSecond(unsigned(rows)),
        // The schema keeps it from 0.001 to 1,000,000, so the product is a whole number from 1 to 10^9.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded by the schema")]
        (None, Some(speed)) => Pace::SpeedMillis((speed * 1000.0).round() as u64),
        (Some(_), Some(_)) => {
            findings.broken(&format!("{CSV}.speed"), "is set beside rowsPerSecond", "keep one of them");
            Pace::Unlimited
        }
    }
}

fn walk(synthetic: &Synthetic, findings: &mut Findings) -> checked::Synthetic {
    checked::Synthetic {
        symbols: synthetic.symbols.clone(),
        rows_per_second: synthetic.rows_per_second.map(unsigned),
        seed: unsigned(synthetic.seed),
        rows: synthetic.rows.map(unsigned),
        start_micros: time::instant(findings, "spec.source.synthetic.start", &synthetic.start).as_microsecond(),
    }
}
