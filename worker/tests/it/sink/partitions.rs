//! Hive partitions in Glue, registered by real sinks over an endpoint in this process.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stockpipeline::Pipeline;
use stockpipeline::table::Table;
use stockpipeline_worker::metrics::{PartitionMetrics, Registry};
use stockpipeline_worker::partitions::{LONGEST_WAIT, Partitions, Settings, Timing};
use stockpipeline_worker::store::Credentials;
use tokio_util::sync::CancellationToken;

use super::stage::{RunningSink, Stage, until};
use super::stored::files;
use crate::aws_endpoint::{AwsEndpoint, FaultKind};

pub(super) const DATABASE: &str = "market_data";
const ROWS: i64 = 30;
pub(super) const FOREVER: u64 = 1_000_000;

/// A stage with a catalogue.
pub(super) struct Catalogue {
    pub(super) stage: Stage,
    pub(super) aws: AwsEndpoint,
    registry: Mutex<Option<Registry>>,
}

impl Catalogue {
    pub(super) fn new(partitions: i32) -> Self {
        let stage = Stage::new(partitions);
        let aws = stage.runtime.block_on(AwsEndpoint::start());
        Self { stage, aws, registry: Mutex::new(None) }
    }

    pub(super) fn pipeline(&self) -> Pipeline {
        self.pipeline_with(|_| {})
    }

    pub(super) fn pipeline_with(&self, edit: impl FnOnce(&mut Value)) -> Pipeline {
        self.stage.pipeline(|spec| {
            spec["aws"]["endpoints"]["glue"] = json!(self.aws.url);
            spec["glue"] = json!({"database": {"name": DATABASE}});
            edit(spec);
        })
    }

    /// Makes the tables as the operator does.
    pub(super) fn make_tables(&self, pipeline: &Pipeline) {
        let rules = pipeline.sink.rules(&pipeline.kafka.topic.name, &pipeline.schema);
        let bucket = &pipeline.sink.bucket;
        let names = pipeline.glue.as_ref().unwrap();
        let mut world = self.aws.world();
        let database = world.glue.databases.entry(DATABASE.to_owned()).or_default();
        let tables = [
            (Some(&names.processed_table), rules.processed_table(bucket)),
            (names.raw_table.as_ref(), rules.raw_table(bucket)),
            (names.dead_letters_table.as_ref(), Some(rules.dead_letters_table(bucket))),
        ];
        for (name, table) in tables {
            let name = name.unwrap();
            database.tables.entry(name.clone()).or_default().input = input(name, &table.unwrap());
        }
    }

    pub(super) fn settings(pipeline: &Pipeline) -> Settings {
        let credentials =
            Credentials::Static { access_key_id: "AKIATEST".to_owned(), secret_access_key: "secret".to_owned(), session_token: None };
        let timing =
            Timing { audit_newest: Duration::from_millis(300), audit_all: Duration::from_hours(1), first_retry: Duration::from_millis(50) };
        Settings { timing, ..Settings::of(pipeline, credentials).unwrap() }
    }

    pub(super) fn partitions(&self, pipeline: &Pipeline, shutdown: CancellationToken) -> Partitions {
        self.partitions_with(Self::settings(pipeline), shutdown)
    }

    pub(super) fn partitions_with(&self, settings: Settings, shutdown: CancellationToken) -> Partitions {
        let mut registry = Registry::new("sink");
        let metrics = PartitionMetrics::register(&mut registry);
        *self.registry.lock().unwrap() = Some(registry);
        self.stage.runtime.block_on(Partitions::start(settings, self.stage.store(), metrics, shutdown))
    }

    fn sink(&self, pipeline: Pipeline) -> RunningSink {
        let partitions = self.partitions(&pipeline, CancellationToken::new());
        self.stage.sink_with("only", pipeline, |context| context.partitions = Some(partitions))
    }

    /// Returns the registered partitions of a table, by their values.
    pub(super) fn registered(&self, table: &str) -> Vec<Vec<String>> {
        self.aws.world().glue.table(DATABASE, table).partitions.keys().cloned().collect()
    }

    pub(super) fn metric(&self, name: &str) -> f64 {
        let text = self.registry.lock().unwrap().as_ref().unwrap().render();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

fn input(name: &str, table: &Table) -> Value {
    let columns: Vec<Value> = table.columns.iter().map(|column| json!({"Name": column.name, "Type": column.glue_type})).collect();
    let keys: Vec<Value> = table.partition_keys.iter().map(|key| json!({"Name": key, "Type": "string"})).collect();
    let serde = json!({"SerializationLibrary": table.format.serde(), "Parameters": table.serde_properties});
    let descriptor = json!({
        "Columns": columns, "Location": table.location, "InputFormat": table.format.input_format(),
        "OutputFormat": table.format.output_format(), "SerdeInfo": serde,
    });
    json!({"Name": name, "TableType": "EXTERNAL_TABLE", "PartitionKeys": keys, "StorageDescriptor": descriptor})
}

fn missing(sink: &RunningSink) -> Vec<String> {
    sink.status.read().sink.as_ref().map(|sink| sink.catalog_missing.clone()).unwrap_or_default()
}

fn zone_is_empty(bucket: &Path, zone: &str) -> bool {
    files(bucket).iter().all(|path| !path.strip_prefix(bucket).unwrap().starts_with(zone))
}

#[test]
fn a_partition_is_registered_before_its_first_object_lands() {
    let catalogue = Catalogue::new(1);
    let pipeline = catalogue.pipeline();
    catalogue.make_tables(&pipeline);
    let (early, bucket) = (Arc::new(AtomicUsize::new(0)), catalogue.stage.bucket());
    let counted = Arc::clone(&early);
    let look = FaultKind::Before(Box::new(move |_| {
        if zone_is_empty(&bucket, "processed") && zone_is_empty(&bucket, "raw") {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    }));
    catalogue.aws.fault("BatchCreatePartition", FOREVER, look);
    catalogue.stage.produce(0, 0, ROWS);
    let sink = catalogue.sink(pipeline);
    catalogue.stage.wait_for_rows(usize::try_from(ROWS).unwrap());
    assert_eq!(early.load(Ordering::SeqCst), 2, "one call for each of the two tables, both before any object");
    assert_eq!(catalogue.registered("it"), [["2026-01-01"], ["2026-01-02"], ["2026-01-03"]]);
    assert_eq!(catalogue.registered("it_raw").len(), 1);
    {
        let world = catalogue.aws.world();
        let table = world.glue.table(DATABASE, "it");
        let mut expected = table.input["StorageDescriptor"].clone();
        for (values, partition) in &table.partitions {
            expected["Location"] = json!(format!("s3://lake/processed/dt={}/", values[0]));
            for member in ["Columns", "Location", "InputFormat", "OutputFormat", "SerdeInfo"] {
                assert_eq!(partition["StorageDescriptor"][member], expected[member], "{member} of {values:?}");
            }
        }
    }
    until("the status knows the newest", || {
        let status = sink.status.read();
        status.sink.as_ref().unwrap().tables.iter().any(|table| table.newest.as_deref() == Some("dt=2026-01-03"))
    });
    // Whoever knows a partition does not ask again.
    catalogue.aws.heal();
    catalogue.aws.forget_calls();
    catalogue.stage.produce(0, ROWS, ROWS);
    catalogue.stage.wait_for_rows(2 * usize::try_from(ROWS).unwrap());
    assert_eq!(catalogue.aws.calls("BatchCreatePartition"), 0);
    assert!(sink.stop().unwrap().drained);
}

#[test]
fn data_does_not_wait_for_a_catalogue_that_fails_and_what_is_missing_shows_until_it_is_made() {
    let catalogue = Catalogue::new(1);
    let pipeline = catalogue.pipeline();
    catalogue.make_tables(&pipeline);
    catalogue.aws.fault("BatchCreatePartition", FOREVER, FaultKind::Refuse(400, "AccessDeniedException"));
    catalogue.stage.produce(0, 0, ROWS);
    let sink = catalogue.sink(pipeline);
    catalogue.stage.wait_for_rows(usize::try_from(ROWS).unwrap());
    until("the status says what is missing", || {
        missing(&sink).iter().any(|line| line.contains("table market_data.it: 3 partitions") && line.contains("AccessDeniedException"))
    });
    assert!(missing(&sink)[0].contains("allow glue:BatchCreatePartition"), "{:?}", missing(&sink));
    assert!(catalogue.metric("stockpipeline_catalog_partitions_missing") > 0.0);
    catalogue.aws.heal();
    until("the retry has registered them", || missing(&sink).is_empty() && catalogue.registered("it").len() == 3);
    assert!(sink.stop().unwrap().drained);
    catalogue.stage.assert_exactly_once(&[(0, ROWS)]);
}

#[test]
fn a_catalogue_that_never_answers_delays_data_by_no_more_than_its_bound() {
    let catalogue = Catalogue::new(1);
    let pipeline = catalogue.pipeline();
    catalogue.make_tables(&pipeline);
    catalogue.aws.fault("BatchCreatePartition", FOREVER, FaultKind::Hang);
    catalogue.aws.fault("GetTable", FOREVER, FaultKind::Hang);
    catalogue.stage.produce(0, 0, ROWS);
    let sink = catalogue.sink(pipeline);
    until("the call hangs", || catalogue.aws.calls("GetTable") + catalogue.aws.calls("BatchCreatePartition") > 0);
    let begun = Instant::now();
    catalogue.stage.wait_for_rows(usize::try_from(ROWS).unwrap());
    assert!(begun.elapsed() < LONGEST_WAIT * 3, "{:?}", begun.elapsed());
    assert!(sink.stop().unwrap().drained);
}

#[test]
fn partitions_go_a_hundred_at_a_time_and_those_that_exist_are_fine() {
    let catalogue = Catalogue::new(1);
    let pipeline = catalogue.pipeline_with(|spec| {
        spec["sink"]["processed"]["partitionBy"] = json!([{"name": "ticker", "transform": "identity", "column": "symbol"}]);
    });
    catalogue.make_tables(&pipeline);
    {
        let mut world = catalogue.aws.world();
        let table = world.glue.table_mut(DATABASE, "it");
        table.partitions.insert(vec!["S7/=%".to_owned()], json!({"Values": ["S7/=%"], "StorageDescriptor": {}}));
    }
    for number in 0..250 {
        let tick = json!({"symbol": format!("S{number}/=%"), "ts": "2026-01-01T00:00:00Z", "price": "1.0", "size": 1});
        catalogue.stage.send(0, tick.to_string().as_bytes());
    }
    catalogue.stage.flush();
    let sink = catalogue.sink(pipeline);
    catalogue.stage.wait_for_rows(250);
    until("all are registered", || catalogue.registered("it").len() == 250);
    assert_eq!(missing(&sink), [""; 0]);
    let world = catalogue.aws.world();
    let partition = &world.glue.table(DATABASE, "it").partitions[&vec!["S8/=%".to_owned()]];
    assert_eq!(partition["StorageDescriptor"]["Location"], "s3://lake/processed/ticker=S8%2F%3D%25/", "values are plain, places escaped");
    drop(world);
    assert!(sink.stop().unwrap().drained);
}

#[test]
fn a_table_that_is_missing_or_not_ours_is_told_and_gets_nothing() {
    let catalogue = Catalogue::new(1);
    let pipeline = catalogue.pipeline();
    catalogue.make_tables(&pipeline);
    {
        let mut world = catalogue.aws.world();
        world.glue.databases.get_mut(DATABASE).unwrap().tables.remove("it_raw");
        world.glue.edit(DATABASE, "it", |table| table["StorageDescriptor"]["Location"] = json!("s3://other/processed/"));
    }
    catalogue.stage.produce(0, 0, ROWS);
    let sink = catalogue.sink(pipeline.clone());
    catalogue.stage.wait_for_rows(usize::try_from(ROWS).unwrap());
    until("the status says so", || {
        let lines = missing(&sink);
        let has = |part: &str| lines.iter().any(|line| line.contains(part));
        has("table market_data.it lies at s3://other/processed/") && has("table market_data.it_raw does not exist")
    });
    assert_eq!(catalogue.registered("it"), Vec::<Vec<String>>::new());
    catalogue.make_tables(&pipeline);
    until("they are made, and registered in", || missing(&sink).is_empty() && catalogue.registered("it_raw").len() == 1);
    assert!(sink.stop().unwrap().drained);
}

#[test]
fn the_owner_of_partition_0_finds_and_repairs_what_the_catalogue_lacks() {
    let catalogue = Catalogue::new(1);
    let pipeline = catalogue.pipeline();
    catalogue.stage.produce(0, 0, ROWS);
    // A sink without a catalogue, or one that died before it had registered anything.
    let sink = catalogue.stage.sink("first", pipeline.clone());
    catalogue.stage.wait_for_rows(usize::try_from(ROWS).unwrap());
    assert!(sink.stop().unwrap().drained);
    catalogue.make_tables(&pipeline);
    {
        let mut world = catalogue.aws.world();
        let table = world.glue.table_mut(DATABASE, "it");
        let mut stale = table.input["StorageDescriptor"].clone();
        stale["Columns"].as_array_mut().unwrap().pop();
        stale["Location"] = json!("s3://lake/processed/dt=2026-01-02/");
        let partition = json!({"Values": ["2026-01-02"], "StorageDescriptor": stale, "Parameters": {"foreign": "kept"}});
        table.partitions.insert(vec!["2026-01-02".to_owned()], partition);
    }
    let shutdown = CancellationToken::new();
    let partitions = catalogue.partitions(&pipeline, shutdown.clone());
    partitions.audits(false);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(catalogue.aws.calls("BatchGetPartition"), 0, "only one sink audits");
    partitions.audits(true);
    until("the audit has repaired", || catalogue.registered("it").len() == 3 && catalogue.registered("it_raw").len() == 1);
    until("the count is known", || {
        let (missing, tables) = partitions.report();
        missing.is_empty() && tables[0].partitions == Some(3) && tables[0].newest.as_deref() == Some("dt=2026-01-03")
    });
    {
        let world = catalogue.aws.world();
        let table = world.glue.table(DATABASE, "it");
        let repaired = &table.partitions[&vec!["2026-01-02".to_owned()]];
        assert_eq!(repaired["StorageDescriptor"]["Columns"], table.input["StorageDescriptor"]["Columns"]);
        assert_eq!(repaired["Parameters"]["foreign"], "kept");
    }
    // From then on the newest are looked at, and one that somebody takes away comes back.
    catalogue.aws.forget_calls();
    catalogue.aws.world().glue.table_mut(DATABASE, "it").partitions.remove(&vec!["2026-01-03".to_owned()]);
    until("the newest is back", || catalogue.registered("it").len() == 3);
    until("all are counted", || catalogue.metric("stockpipeline_catalog_partitions_registered_total") >= 4.0);
    shutdown.cancel();
}

#[test]
fn computed_partitions_and_a_pipeline_without_a_catalogue_register_nothing() {
    let catalogue = Catalogue::new(1);
    let projected = catalogue.pipeline_with(|spec| {
        spec["glue"]["partitions"] = json!({"mode": "Projection", "projectionStart": "2026-01-01"});
    });
    assert!(Settings::of(&projected, Credentials::Chain).is_none());
    assert!(Settings::of(&catalogue.stage.pipeline(|_| {}), Credentials::Chain).is_none());
    let zones: Vec<String> =
        Settings::of(&catalogue.pipeline(), Credentials::Chain).unwrap().tables.into_iter().map(|table| table.table).collect();
    assert_eq!(zones, ["it", "it_raw", "it_dlq"]);
}

/// Asks moto, which checks no signature.
fn ask(stage: &Stage, endpoint: &str, operation: &str, body: &Value) -> Value {
    let request = reqwest::Client::new()
        .post(endpoint)
        .header("X-Amz-Target", format!("AWSGlue.{operation}"))
        .header("Content-Type", "application/x-amz-json-1.1")
        .header(
            "Authorization",
            "AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/us-east-1/glue/aws4_request, SignedHeaders=host, Signature=0",
        )
        .body(body.to_string());
    let text = stage.runtime.block_on(async { request.send().await.unwrap().text().await.unwrap() });
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{operation}: {text}"))
}

#[test]
#[ignore = "needs moto: AWS_ENDPOINT_URL"]
fn partitions_are_registered_and_audited_over_moto() {
    let mut catalogue = Catalogue::new(1);
    let endpoint = std::env::var("AWS_ENDPOINT_URL").unwrap();
    catalogue.aws.url.clone_from(&endpoint);
    let pipeline = catalogue.pipeline();
    catalogue.make_tables(&pipeline);
    ask(&catalogue.stage, &endpoint, "CreateDatabase", &json!({"DatabaseInput": {"Name": DATABASE}}));
    let tables: Vec<Value> = catalogue.aws.world().glue.databases[DATABASE].tables.values().map(|table| table.input.clone()).collect();
    for table in tables {
        ask(&catalogue.stage, &endpoint, "CreateTable", &json!({"DatabaseName": DATABASE, "TableInput": table}));
    }
    let registered = || {
        let answer = ask(&catalogue.stage, &endpoint, "GetPartitions", &json!({"DatabaseName": DATABASE, "TableName": "it"}));
        answer["Partitions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|partition| partition["Values"][0].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    catalogue.stage.produce(0, 0, ROWS);
    let sink = catalogue.sink(pipeline);
    catalogue.stage.wait_for_rows(usize::try_from(ROWS).unwrap());
    until("all are registered", || registered().len() == 3);
    let gone = json!({"DatabaseName": DATABASE, "TableName": "it", "PartitionValues": ["2026-01-03"]});
    ask(&catalogue.stage, &endpoint, "DeletePartition", &gone);
    until("the audit brings back what is gone", || registered().len() == 3);
    assert_eq!(missing(&sink), [""; 0]);
    assert!(sink.stop().unwrap().drained);
}
