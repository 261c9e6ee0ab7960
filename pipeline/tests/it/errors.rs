//! What a user reads when a document is wrong: every message of the check, as goldens.

use std::fmt::Write as _;

use serde_json::{Value, json};
use stockpipeline::Pipeline;
use stockpipeline::check::UnknownFields;
use stockpipeline::document::{self, Document};

/// One change of the full example: JSON pointer and new value; null removes.
type Edit = (&'static str, Value);

fn edited(edits: &[Edit]) -> Document {
    let full: Value = serde_yaml::from_str(include_str!("../fixtures/full.yaml")).unwrap();
    let mut full = full;
    for (pointer, value) in edits {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match full.pointer_mut(parent).unwrap_or_else(|| panic!("{parent}")) {
            Value::Object(members) if value.is_null() => drop(members.remove(name)),
            Value::Object(members) => drop(members.insert(name.to_owned(), value.clone())),
            Value::Array(items) if name == "-" => items.push(value.clone()),
            Value::Array(items) => items[name.parse::<usize>().unwrap()] = value.clone(),
            other => panic!("{other}"),
        }
    }
    document::read(&serde_yaml::to_string(&full).unwrap()).unwrap().remove(0)
}

fn messages(edits: &[Edit]) -> Vec<String> {
    match Pipeline::check(&edited(edits), UnknownFields::Error) {
        Ok((_, warnings)) => warnings.iter().map(|warning| format!("warning {warning}")).chain(["checks".to_owned()]).collect(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// Compares the messages of all cases with the golden file of a name.
fn check(golden: &str, cases: &[(&str, Vec<Edit>)]) {
    insta::with_settings!({omit_expression => true}, { insta::assert_snapshot!(golden, report(cases)) });
}

fn report(cases: &[(&str, Vec<Edit>)]) -> String {
    let mut text = String::new();
    for (name, edits) in cases {
        writeln!(text, "{name}").unwrap();
        for message in messages(edits) {
            writeln!(text, "  {message}").unwrap();
        }
    }
    text
}

#[test]
fn shapes_are_explained() {
    check(
        "shapes",
        &[
            ("a mistyped field", vec![("/spec/sink/rotaton", json!({}))]),
            ("a mistyped deep field", vec![("/spec/kafka/topic/replication_factor", json!(3))]),
            ("an unknown field with no likeness", vec![("/spec/source/csvReplay/zzzzzzzz", json!(1))]),
            ("an unknown top-level field", vec![("/specs", json!({}))]),
            ("a required field is missing", vec![("/spec/kafka/topic/name", Value::Null)]),
            ("a required union is missing", vec![("/spec/source/type", Value::Null)]),
            ("two areas are missing", vec![("/spec/source", Value::Null), ("/spec/sink/bucket", Value::Null)]),
            ("no spec", vec![("/spec", Value::Null)]),
            ("a spec that is text", vec![("/spec", json!("later"))]),
            ("a number where text is wanted", vec![("/spec/glue/catalogId", json!(111_122_223_333_u64))]),
            ("a boolean where text is wanted", vec![("/spec/sink/worker/env/0/value", json!(true))]),
            ("a config that is a number", vec![("/spec/kafka/topic/config", json!({"retention.ms": 259_200_000}))]),
            ("text where a number is wanted", vec![("/spec/kafka/topic/partitions", json!("12"))]),
            ("a fraction where a whole number is wanted", vec![("/spec/kafka/topic/partitions", json!(1.5))]),
            ("text where a boolean is wanted", vec![("/spec/source/csvReplay/loop", json!("yes"))]),
            ("a text where a list is wanted", vec![("/spec/kafka/bootstrapServers", json!("kafka:9092"))]),
            ("a list where an object is wanted", vec![("/spec/sink/bucket", json!([]))]),
            ("a word in another case", vec![("/spec/source/csvReplay/order", json!("random"))]),
            ("a word that is unknown", vec![("/spec/source/type", json!("WebSocket"))]),
            ("a bad record policy that does not exist", vec![("/spec/sink/onBadRecord/action", json!("Skip"))]),
            ("too great", vec![("/spec/sink/rotation/maxBytes", json!(2_147_483_648_u64)), ("/spec/producer/slots", json!(1001))]),
            ("too small", vec![("/spec/sink/rotation/maxBytes", json!(1)), ("/spec/sink/ledger/retainPlans", json!(0))]),
            ("beyond 64 bits", vec![("/spec/sink/rotation/maxRecords", json!(u64::MAX))]),
            ("too many entries", vec![("/spec/sink/processed/partitionBy", json!([]))]),
            ("too long", vec![("/spec/schema/columns/0/comment", json!("x".repeat(256)))]),
            ("no SQL identifier", vec![("/spec/glue/tables/processed", json!("us-equities; drop table x"))]),
            ("no duration", vec![("/spec/sink/rotation/maxInterval", json!("1 minute")), ("/spec/lifecycle/drainTimeout", json!(60))]),
            ("prefixes", vec![("/spec/sink/raw/prefix", json!("/raw")), ("/spec/sink/processed/prefix", json!("a//b"))]),
            ("quantities", vec![("/spec/sink/worker/resources/limits", json!({"memory": "1 GB", "cpu": 1.5}))]),
            ("two columns of one name", vec![("/spec/schema/columns/3/name", json!("open"))]),
            ("two equal brokers", vec![("/spec/kafka/bootstrapServers", json!(["a:1", "a:1"]))]),
            ("null is the same as nothing", vec![("/spec/sink/rotation", json!({"maxBytes": Value::Null}))]),
        ],
    );
}

#[test]
fn metadata_is_explained() {
    check(
        "metadata",
        &[
            ("no metadata", vec![("/metadata", Value::Null)]),
            ("no name", vec![("/metadata/name", Value::Null)]),
            ("a long name", vec![("/metadata/name", json!("x".repeat(46)))]),
            ("a name with dots", vec![("/metadata/name", json!("us.equities"))]),
            ("a name that is a number", vec![("/metadata/name", json!(2024))]),
            ("a namespace with a slash", vec![("/metadata/namespace", json!("../b"))]),
            ("a mistyped member", vec![("/metadata/nmae", json!("x"))]),
            ("an annotation that is a boolean", vec![("/metadata/annotations", json!({"stockpipeline.dev/read-only": true}))]),
            ("a mistyped annotation", vec![("/metadata/annotations", json!({"stockpipeline.dev/allow-data-deletions": "true"}))]),
            ("shape and metadata at once", vec![("/metadata/name", json!("X")), ("/spec/sink/rotaton", json!({}))]),
        ],
    );
}

#[test]
fn sources_are_explained() {
    let csv = |name: &'static str, value: Value| vec![(name, value)];
    let uri = "/spec/source/csvReplay/uri";
    check(
        "sources",
        &[
            ("type without its member", csv("/spec/source/csvReplay", Value::Null)),
            ("member of another type", csv("/spec/source/synthetic", json!({}))),
            ("no file", csv(uri, Value::Null)),
            ("two files", csv("/spec/source/csvReplay/configMapRef", json!({"name": "ticks", "key": "ticks.csv"}))),
            (
                "a ConfigMap of another namespace",
                vec![(uri, Value::Null), ("/spec/source/csvReplay/configMapRef", json!({"name": "b/x", "key": "k"}))],
            ),
            ("plain http elsewhere", csv(uri, json!("http://example.com/a.csv"))),
            ("plain http on loopback", csv(uri, json!("http://127.0.0.1:8000/a.csv"))),
            ("a path", csv(uri, json!("data/a.csv"))),
            ("an unknown scheme", csv(uri, json!("ftp://example.com/a.csv"))),
            ("a password", csv(uri, json!("https://user:hunter2@example.com/a.csv"))),
            ("the metadata service", csv(uri, json!("https://169.254.169.254/latest"))),
            ("the metadata service as a number", csv(uri, json!("https://2852039166/latest"))),
            ("the metadata service in hexadecimal", csv(uri, json!("https://0xA9FEA9FE/latest"))),
            ("the metadata service in octal", csv(uri, json!("https://0251.0376.0251.0376/latest"))),
            ("the metadata service mapped", csv(uri, json!("https://[::ffff:169.254.169.254]/"))),
            ("the metadata service over IPv6", csv(uri, json!("https://[fd00:ec2::254]/"))),
            ("the metadata service by name", csv(uri, json!("https://metadata.google.internal./"))),
            ("a link-local address", csv(uri, json!("https://[fe80::1]:443/"))),
            ("a bad port", csv(uri, json!("https://example.com:99999/"))),
            ("no key", csv(uri, json!("s3://my-bucket/"))),
            ("a bucket that is none", csv(uri, json!("s3://My_Bucket/a.csv"))),
            ("a line end", csv(uri, json!("data/a\n.csv"))),
            ("speed and rows per second", csv("/spec/source/csvReplay/speed", json!(60))),
            (
                "speed of a random order",
                vec![("/spec/source/csvReplay/speed", json!(60)), ("/spec/source/csvReplay/rowsPerSecond", Value::Null)],
            ),
            ("a delimiter of two bytes", csv("/spec/source/csvReplay/delimiter", json!("é"))),
            ("a quote as delimiter", csv("/spec/source/csvReplay/delimiter", json!("\""))),
            ("a header with equal names", csv("/spec/source/csvReplay/header", json!(["a", "b", "a"]))),
            (
                "an instant without a zone",
                vec![("/spec/source", json!({"type": "Synthetic", "synthetic": {"start": "2024-01-02 00:00:00"}}))],
            ),
        ],
    );
}

#[test]
fn columns_are_explained() {
    let column = |value: Value| vec![("/spec/schema/columns/-", value)];
    check(
        "columns",
        &[
            ("no such event time", vec![("/spec/schema/eventTimeColumn", json!("time"))]),
            ("an event time that is text", vec![("/spec/schema/eventTimeColumn", json!("symbol"))]),
            ("a reserved name", column(json!({"name": "_kafka_offset", "type": "Bigint"}))),
            ("the raw zone's partition", column(json!({"name": "dt", "type": "Date"}))),
            ("the name of a partition", column(json!({"name": "hour", "type": "Int"}))),
            ("a decimal without digits", column(json!({"name": "x", "type": "Decimal"}))),
            ("more scale than precision", column(json!({"name": "x", "type": "Decimal", "precision": 4, "scale": 5}))),
            ("too much precision", column(json!({"name": "x", "type": "Decimal", "precision": 39, "scale": 2}))),
            (
                "extras of another type",
                column(json!({"name": "x", "type": "Int", "precision": 4, "rounding": "HalfUp", "format": "%Y", "unit": "Seconds"})),
            ),
            ("unit and format", column(json!({"name": "x", "type": "Timestamp", "unit": "Seconds", "format": "%Y-%m-%d"}))),
            ("no such zone", column(json!({"name": "x", "type": "Timestamp", "timeZone": "Mars/Olympus"}))),
            ("a zone of a date", column(json!({"name": "x", "type": "Date", "timeZone": "America/New_York"}))),
            ("an unknown directive", column(json!({"name": "x", "type": "Timestamp", "format": "%Y-%m-%d %!"}))),
            ("a pattern without a day", column(json!({"name": "x", "type": "Date", "format": "%Y-%m"}))),
            ("a pattern without a date", column(json!({"name": "x", "type": "Timestamp", "format": "%H:%M:%S"}))),
            ("an hour without its half of the day", column(json!({"name": "x", "type": "Timestamp", "format": "%Y-%m-%d %I:%M"}))),
            ("usual patterns", {
                let formats = ["%d/%m/%Y", "%m/%d/%y", "%Y%m%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S%.f%z", "%d %b %Y %I:%M %p", "%s"];
                formats
                    .iter()
                    .zip(["a", "b", "c", "d", "e", "f", "g"])
                    .map(|(format, name)| ("/spec/schema/columns/-", json!({"name": name, "type": "Timestamp", "format": format})))
                    .collect()
            }),
            ("a comment of two lines", column(json!({"name": "x", "type": "Int", "comment": "a\nb"}))),
            ("too far a future", vec![("/spec/schema/maxFuture", json!("100000h"))]),
        ],
    );
}

#[test]
fn kafka_and_producer_are_explained() {
    check(
        "kafka",
        &[
            ("a broker without a port", vec![("/spec/kafka/bootstrapServers", json!(["kafka"]))]),
            ("a broker with a bad port", vec![("/spec/kafka/bootstrapServers", json!(["kafka:0"]))]),
            ("a broker at the metadata address", vec![("/spec/kafka/bootstrapServers", json!(["169.254.169.254:80"]))]),
            ("IAM without TLS", vec![("/spec/kafka/tls", Value::Null)]),
            ("SCRAM without its member", vec![("/spec/kafka/auth", json!({"type": "SaslScram"}))]),
            (
                "SCRAM without TLS",
                vec![
                    ("/spec/kafka/tls", Value::Null),
                    (
                        "/spec/kafka/auth",
                        json!({"type": "SaslScram", "saslScram": {"usernameRef": {"name": "a", "key": "b"}, "passwordRef": {"name": "a", "key": "c"}}}),
                    ),
                ],
            ),
            ("a topic of dots", vec![("/spec/kafka/topic/name", json!(".."))]),
            ("a topic with a slash", vec![("/spec/kafka/topic/name", json!("a/b"))]),
            ("a topic too long for its slots", vec![("/spec/kafka/topic/name", json!("t".repeat(246)))]),
            ("a group of dots", vec![("/spec/kafka/consumerGroup", json!(".."))]),
            (
                "configs that run code or read files",
                vec![(
                    "/spec/producer/config",
                    json!({"plugin.library.paths": "/tmp/x.so", "sasl.kerberos.kinit.cmd": "id", "ssl.ca.location": "/etc/passwd", "sasl.oauthbearer.token.endpoint.url": "http://x", "linger": "5"}),
                )],
            ),
            (
                "configs of wrong values",
                vec![("/spec/producer/config", json!({"linger.ms": "soon", "compression.type": "zst", "socket.nagle.disable": "yes"}))],
            ),
            ("an unknown topic config", vec![("/spec/kafka/topic/config", json!({"retention_ms": "1", "confluent.tier.enable": "true"}))]),
            ("more sinks than partitions", vec![("/spec/sink/worker/replicas", json!(13))]),
            (
                "more sinks than partitions, scaled elsewhere",
                vec![("/spec/sink/worker/replicas", json!(13)), ("/spec/sink/worker/scaling/mode", json!("External"))],
            ),
            (
                "more sinks than default partitions",
                vec![("/spec/sink/worker/replicas", json!(7)), ("/spec/kafka/topic/partitions", Value::Null)],
            ),
            (
                "observed partitions are not known",
                vec![
                    ("/spec/sink/worker/replicas", json!(7)),
                    ("/spec/kafka/topic/partitions", Value::Null),
                    ("/spec/kafka/topic/management", json!("Observe")),
                ],
            ),
            ("no producer", vec![("/spec/producer", Value::Null)]),
            ("a producer too many", vec![("/spec/source", json!({"type": "ExternalTopic"}))]),
            ("an external topic", vec![("/spec/source", json!({"type": "ExternalTopic"})), ("/spec/producer", Value::Null)]),
            ("no such key", vec![("/spec/producer/keyColumn", json!("sybmol"))]),
            ("the field of a key", vec![("/spec/producer/keyColumn", json!("Ticker")), ("/spec/schema/columns/0/from", json!("Ticker"))]),
            ("no String for a key", vec![("/spec/producer/keyColumn", Value::Null), ("/spec/schema/columns/0/type", json!("Int"))]),
            ("slots in the topic of the records", vec![("/spec/producer/slotsTopic", json!("ticks.us-equities"))]),
            ("a long transaction", vec![("/spec/producer/transactionInterval", json!("30s"))]),
        ],
    );
}

#[test]
fn sinks_are_explained() {
    let partition = |value: Value| vec![("/spec/sink/processed/partitionBy/-", value)];
    check(
        "sinks",
        &[
            ("one prefix for two zones", vec![("/spec/sink/raw/prefix", json!("processed/us-equities"))]),
            ("a zone within a zone", vec![("/spec/sink/onBadRecord/prefix", json!("processed/us-equities/dlq"))]),
            ("everything within the ledger", vec![("/spec/sink/ledger/prefix", json!("raw"))]),
            ("a prefix that only starts alike", vec![("/spec/sink/raw/prefix", json!("processed/us-equities-raw"))]),
            ("a prefix that climbs", vec![("/spec/sink/raw/prefix", json!("raw/../processed"))]),
            (
                "query results within a zone",
                vec![("/spec/athena/workgroup/outputLocation", json!("s3://my-bucket/raw/us-equities/results/"))],
            ),
            ("a bucket that is an address", vec![("/spec/sink/bucket/name", json!("10.0.0.1"))]),
            ("no such column", partition(json!({"name": "p", "transform": "identity", "column": "sybol"}))),
            ("hour of a date", vec![("/spec/schema/columns/1/type", json!("Date"))]),
            ("day of text", partition(json!({"name": "p", "transform": "day", "column": "symbol"}))),
            ("a folder a price", partition(json!({"name": "p", "transform": "truncate(4)", "column": "open"}))),
            ("a folder an instant", partition(json!({"name": "p", "transform": "identity", "column": "ts"}))),
            ("no buckets", partition(json!({"name": "p", "transform": "bucket(0)", "column": "symbol"}))),
            ("an unknown transform", partition(json!({"name": "p", "transform": "week", "column": "ts"}))),
            ("a zone of no time", partition(json!({"name": "p", "transform": "identity", "column": "symbol", "timeZone": "Asia/Tokyo"}))),
            (
                "transforms that fit",
                vec![
                    ("/spec/sink/processed/partitionBy/-", json!({"name": "a", "transform": "bucket(16)", "column": "symbol"})),
                    ("/spec/sink/processed/partitionBy/-", json!({"name": "b", "transform": "truncate(4)", "column": "symbol"})),
                    ("/spec/sink/processed/partitionBy/-", json!({"name": "c", "transform": "truncate(1000)", "column": "volume"})),
                    (
                        "/spec/sink/processed/partitionBy/-",
                        json!({"name": "d", "transform": "month", "column": "ts", "timeZone": "America/New_York"}),
                    ),
                ],
            ),
            ("a partition of a column's name", partition(json!({"name": "symbol", "transform": "identity", "column": "symbol"}))),
            ("sorted by nothing known", vec![("/spec/sink/processed/sortBy", json!(["symbol", "time"]))]),
            (
                "Snappy lines",
                vec![
                    ("/spec/sink/raw/compression", json!("Snappy")),
                    ("/spec/sink/processed/format", json!("JsonLines")),
                    ("/spec/sink/processed/compression", json!("Snappy")),
                ],
            ),
            ("a start without its time", vec![("/spec/sink/startFrom", json!({"type": "Timestamp"}))]),
            ("a time without its start", vec![("/spec/sink/startFrom", json!({"timestamp": "2024-01-02T00:00:00Z"}))]),
            ("a ledger that forgets", vec![("/spec/sink/ledger/retain", json!("59m"))]),
            ("a wrong epoch", vec![("/spec/sink/ledger/accept", json!("yes"))]),
        ],
    );
}

#[test]
fn operations_are_explained() {
    let worker = |name: &'static str, value: Value| vec![(name, value)];
    let scaling = "/spec/sink/worker/scaling";
    check(
        "operations",
        &[
            ("fewest above most", worker("/spec/sink/worker/scaling/minReplicas", json!(20))),
            (
                "a window above most",
                worker(
                    scaling,
                    json!({"mode": "Lag", "windows": [{"name": "open", "start": "25 9 * * 1-5", "end": "5 16 * * 1-5", "minReplicas": 7}]}),
                ),
            ),
            (
                "schedules",
                worker(
                    scaling,
                    json!({"windows": [{"name": "open", "timezone": "New York", "start": "60 9 * * 1-5", "end": "@daily at nine", "minReplicas": 1}]}),
                ),
            ),
            (
                "a patch of the image",
                worker(
                    "/spec/sink/worker/podTemplatePatch",
                    json!({"spec": {"containers": [{"name": "sink", "image": "evil"}], "hostNetwork": true}, "kind": "Pod"}),
                ),
            ),
            (
                "a patch of labels",
                worker(
                    "/spec/sink/worker/podTemplatePatch",
                    json!({"metadata": {"labels": {"app.kubernetes.io/name": "x", "team": "markets"}}, "spec": {"schedulerName": "volcano"}}),
                ),
            ),
            (
                "a patch of annotations that grant something",
                worker(
                    "/spec/sink/worker/podTemplatePatch",
                    json!({"metadata": {"annotations": {
                        "container.apparmor.security.beta.kubernetes.io/sink": "unconfined", "iam.amazonaws.com/role": "admin",
                        "k8s.v1.cni.cncf.io/networks": "storage", "sidecar.istio.io/userVolumeMount": "[]",
                        "sidecar.istio.io/inject": "false", "example.com/team": "markets",
                    }}}),
                ),
            ),
            (
                "variables that lead elsewhere",
                worker(
                    "/spec/sink/worker/env",
                    json!([
                        {"name": "LD_PRELOAD", "value": "/x.so"}, {"name": "AWS_ENDPOINT_URL_S3", "value": "https://evil.example"},
                        {"name": "https_proxy", "value": "http://evil.example"}, {"name": "RUST_LOG", "value": "info"},
                        {"name": "PROXY_NOTE", "value": ""},
                    ]),
                ),
            ),
            ("a huge affinity", worker("/spec/sink/worker/placement/affinity", json!({"nodeAffinity": "x".repeat(20_000)}))),
            ("an unknown resource", worker("/spec/sink/worker/resources/limits", json!({"memroy": "1Gi"}))),
            (
                "tolerations",
                worker("/spec/sink/worker/placement/tolerations", json!([{"operator": "Exists", "value": "x"}, {"effect": "NoSchedule"}])),
            ),
            ("an unknown annotation of time", worker("/spec/reconcile/driftInterval", json!("1s"))),
            ("a Secret without its name", worker("/spec/aws/credentials", json!({"type": "Secret"}))),
            ("a Secret that is not used", worker("/spec/aws/credentials", json!({"secretRef": {"name": "keys"}}))),
            (
                "endpoints",
                worker(
                    "/spec/aws/endpoints",
                    json!({"s3": "http://minio:9000/bucket", "glue": "http://169.254.169.254", "sts": "https://a:b@c", "athena": "http://moto:5555/"}),
                ),
            ),
            ("tags", worker("/spec/aws/tags", json!({"aws:owner": "x"}))),
            ("queries without a database", worker("/spec/glue", Value::Null)),
            ("one name for two tables", worker("/spec/glue/tables/raw", json!("us_equities"))),
            ("a view of a table's name", worker("/spec/athena/views/0/name", json!("us_equities"))),
            ("a table of no zone", worker("/spec/sink/raw", Value::Null)),
            ("an index of no partition", worker("/spec/glue/partitions/indexes", json!([["dt", "symbol"], ["dt", "dt"]]))),
            ("a projection without a start", worker("/spec/glue/partitions/mode", json!("Projection"))),
            ("a projection from no day", worker("/spec/glue/partitions", json!({"mode": "Projection", "projectionStart": "2024-13-01"}))),
            ("a crawler without a role", worker("/spec/glue/crawler", json!({"enabled": true}))),
            ("an empty view", worker("/spec/athena/views/0/sql", json!("  "))),
        ],
    );
}

#[test]
fn unknown_fields_are_warnings_for_an_older_worker() {
    let document = edited(&[("/spec/sink/newThing", json!({"x": 1})), ("/spec/sink/rotation/maxByte", json!(1))]);
    let (_, warnings) = Pipeline::check(&document, UnknownFields::Warn).unwrap();
    insta::assert_snapshot!("older_worker", warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}
