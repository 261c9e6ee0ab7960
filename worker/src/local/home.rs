//! What a pipeline becomes at home: the embedded broker and bucket in place of its own, within the broker's limits. Pure.

use serde_json::json;
use stockpipeline::checked::{KafkaAuth, Order, Pipeline, Source, StartFrom};
use stockpipeline::layout::Epoch;

/// Most records of one rotation. The embedded broker keeps 100,000 records of a partition and the producer is held back by
/// what is durable, so what is buffered must become durable well before that.
const MAX_RECORDS: u64 = 20_000;
/// Most bytes of one rotation, for the same reason: the embedded broker keeps 5 MiB of a partition.
const MAX_BYTES: u64 = 2 << 20;
/// Partitions of a topic whose document names none.
const DEFAULT_PARTITIONS: i32 = 1;

/// Returns the number of Kafka partitions that a local run makes.
pub(super) fn partitions(pipeline: &Pipeline) -> i32 {
    pipeline.kafka.topic.partitions.unwrap_or(DEFAULT_PARTITIONS)
}

/// Returns the pipeline over an embedded broker and an embedded bucket.
///
/// Nothing that decides what a record becomes is changed; rotation is, and the pause above a rate of dead letters: a replay
/// is as fast as it can be, so a rate says nothing, and the summary counts them.
pub(super) fn at_home(mut pipeline: Pipeline, bootstrap_servers: &str, s3_endpoint: &str) -> Pipeline {
    let partitions = partitions(&pipeline);
    let kafka = &mut pipeline.kafka;
    kafka.bootstrap_servers = bootstrap_servers.split(',').map(str::to_owned).collect();
    kafka.auth = KafkaAuth::None;
    kafka.tls = None;
    kafka.topic.managed = true;
    kafka.topic.partitions = Some(partitions);
    kafka.topic.replication_factor = Some(1);
    kafka.topic.config.clear();
    let aws = &mut pipeline.aws;
    aws.s3_endpoint = Some(s3_endpoint.to_owned());
    aws.force_path_style = true;
    aws.credentials_secret = None;
    let sink = &mut pipeline.sink;
    sink.start_from = StartFrom::Earliest;
    sink.kms_key_arn = None;
    sink.halt_above_per_minute = 0;
    sink.rotation.max_records = sink.rotation.max_records.min(MAX_RECORDS);
    sink.rotation.max_bytes = sink.rotation.max_bytes.min(MAX_BYTES);
    pipeline
}

/// Returns the epoch of a local run: the same for whatever gives the same records at the same offsets, and no other.
///
/// Pace and repetition change no record, so they are left out, as is what the sink does with the records.
pub(super) fn epoch(pipeline: &Pipeline, fingerprint: &str) -> Epoch {
    let field = |column: usize| pipeline.schema.columns.get(column).map(|column| column.from.as_str());
    let reading = match &pipeline.source {
        Source::CsvReplay(csv) => {
            // How event times are read decides about the order of rows, and about nothing else that is produced.
            let event_time = match csv.order {
                Order::EventTime => pipeline.schema.columns.get(pipeline.schema.event_time),
                Order::File | Order::Random => None,
            };
            let order = match csv.order {
                Order::File => "file",
                Order::EventTime => "eventTime",
                Order::Random => "random",
            };
            json!(["csv", csv.header, csv.delimiter, csv.null_values, order, csv.seed, event_time])
        }
        // Its fingerprint is that of all its settings.
        Source::Synthetic(_) => json!(["synthetic"]),
        Source::ExternalTopic => json!(["external"]),
    };
    let producer = pipeline.producer.as_ref().map(|producer| (producer.slots, field(producer.key_column)));
    Epoch::of(&json!(["local/1", pipeline.name, partitions(pipeline), producer, fingerprint, reading]).to_string())
}

#[cfg(test)]
mod tests {
    use stockpipeline::check::UnknownFields;
    use stockpipeline::document;

    use super::*;

    const DOCUMENT: &str = "
apiVersion: stockpipeline.dev/v1alpha1
kind: StockPipeline
metadata: { name: demo }
spec:
  source: { type: CsvReplay, csvReplay: { uri: ticks.csv } }
  schema:
    eventTimeColumn: ts
    columns:
      - { name: symbol, type: String, from: Index }
      - { name: ts, type: Timestamp, from: Date }
  kafka: { bootstrapServers: [\"kafka:9092\"], topic: { name: ticks, partitions: 3 } }
  producer: { slots: 4 }
  sink:
    bucket: { name: demo }
    processed: { prefix: processed, partitionBy: [{ name: dt, transform: day, column: ts }] }
";

    fn pipeline(change: (&str, &str)) -> Pipeline {
        assert!(change.0.is_empty() || DOCUMENT.contains(change.0), "{change:?} changes nothing");
        let text = if change.0.is_empty() { DOCUMENT.to_owned() } else { DOCUMENT.replace(change.0, change.1) };
        let documents = document::read(&text).unwrap();
        Pipeline::check(&documents[0], UnknownFields::Error).unwrap().0
    }

    #[test]
    fn whatever_changes_a_record_or_its_offset_changes_the_epoch() {
        let same = epoch(&pipeline(("", "")), "f");
        assert_eq!(epoch(&pipeline(("", "")), "f"), same);
        assert_ne!(epoch(&pipeline(("", "")), "g"), same);
        let changes = [
            ("name: demo }\nspec", "name: other }\nspec"),
            ("partitions: 3", "partitions: 4"),
            ("slots: 4", "slots: 5"),
            ("slots: 4", "slots: 4, keyColumn: ts"),
            ("uri: ticks.csv", "uri: ticks.csv, delimiter: ';'"),
            ("uri: ticks.csv", "uri: ticks.csv, order: Random"),
            ("uri: ticks.csv", "uri: ticks.csv, order: EventTime"),
            ("uri: ticks.csv", "uri: ticks.csv, nullValues: ['', 'x']"),
            ("uri: ticks.csv", "uri: ticks.csv, header: [Index, Date]"),
        ];
        for change in changes {
            assert_ne!(epoch(&pipeline(change), "f"), same, "{change:?}");
        }
    }

    #[test]
    fn what_changes_no_record_keeps_the_epoch() {
        let same = epoch(&pipeline(("", "")), "f");
        let changes = [
            ("uri: ticks.csv", "uri: elsewhere/ticks.csv"),
            ("uri: ticks.csv", "uri: ticks.csv, rowsPerSecond: 7"),
            ("bucket: { name: demo }", "bucket: { name: demo }\n    rotation: { maxInterval: 5s }"),
            ("type: String, from: Index", "type: String, from: Index, comment: ticker"),
        ];
        for change in changes {
            assert_eq!(epoch(&pipeline(change), "f"), same, "{change:?}");
        }
    }

    #[test]
    fn rotation_stays_within_what_the_embedded_broker_keeps() {
        let home = at_home(pipeline(("", "")), "127.0.0.1:1", "http://127.0.0.1:2");
        assert_eq!((home.sink.rotation.max_records, home.sink.rotation.max_bytes), (20_000, 2 << 20));
        let small = pipeline(("bucket: { name: demo }", "bucket: { name: demo }\n    rotation: { maxRecords: 100, maxInterval: 5s }"));
        let small = at_home(small, "127.0.0.1:1", "http://127.0.0.1:2");
        assert_eq!(small.sink.rotation.max_records, 100);
        assert_eq!(small.sink.rotation.max_interval.as_secs(), 5);
    }

    #[test]
    fn nothing_outside_of_the_process_is_left_in_the_pipeline() {
        let home = at_home(pipeline(("", "")), "127.0.0.1:1", "http://127.0.0.1:2");
        assert_eq!(home.kafka.bootstrap_servers, ["127.0.0.1:1"]);
        assert_eq!(home.aws.s3_endpoint.as_deref(), Some("http://127.0.0.1:2"));
        assert_eq!((home.kafka.auth, home.kafka.tls, home.sink.kms_key_arn), (KafkaAuth::None, None, None));
    }
}
