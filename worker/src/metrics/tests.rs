use std::collections::{BTreeMap, BTreeSet};

use stockpipeline::plan::{SealReason, ZoneName};

use super::*;

fn names(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split(' ').next()).collect()
}

#[test]
fn registries_hold_exactly_the_documented_metrics() {
    let mut registry = Registry::new("sink");
    let sink = SinkMetrics::register(&mut registry);
    let store = StoreMetrics::register(&mut registry);
    // Families whose labels are known only later are not rendered while they are empty.
    sink.set_lag_records(0, 0);
    sink.dead_letters(&BTreeMap::from([("invalid_json", 0)]));
    store.observe("GetObject", "200", 0.001);
    PartitionMetrics::register(&mut registry).request("GetTable", "200");
    let sink = registry.render();
    let expected = BTreeSet::from([
        "stockpipeline_build",
        "stockpipeline_bytes",
        "stockpipeline_catalog_partitions_dropped",
        "stockpipeline_catalog_partitions_missing",
        "stockpipeline_catalog_partitions_registered",
        "stockpipeline_dead_letters",
        "stockpipeline_fetch_queue_messages",
        "stockpipeline_glue_requests",
        "stockpipeline_hive_partitions_per_plan",
        "stockpipeline_lag_records",
        "stockpipeline_lag_seconds",
        "stockpipeline_late_records",
        "stockpipeline_memory_bytes",
        "stockpipeline_object_bytes",
        "stockpipeline_paused_partitions",
        "stockpipeline_plan_replays",
        "stockpipeline_plans_adopted",
        "stockpipeline_rebalances",
        "stockpipeline_records",
        "stockpipeline_s3_request_seconds",
        "stockpipeline_s3_requests",
        "stockpipeline_seals",
        "stockpipeline_seconds_since_last_commit",
        "stockpipeline_throttle_seconds",
        "stockpipeline_unknown_fields",
    ]);
    assert_eq!(names(&sink), expected);

    let mut registry = Registry::new("producer");
    let _producer = ProducerMetrics::register(&mut registry);
    let producer = registry.render();
    let expected = BTreeSet::from([
        "stockpipeline_build",
        "stockpipeline_delivery_seconds",
        "stockpipeline_queue_messages",
        "stockpipeline_records",
        "stockpipeline_source_position",
        "stockpipeline_throttle_seconds",
        "stockpipeline_transactions",
    ]);
    assert_eq!(names(&producer), expected);
}

#[test]
fn what_a_sink_does_shows_in_its_text() {
    let mut registry = Registry::new("sink");
    let sink = SinkMetrics::register(&mut registry);
    let store = StoreMetrics::register(&mut registry);
    sink.set_lag_records(7, 12);
    sink.set_lag_records(8, 1);
    sink.forget_partition(8);
    sink.set_lag_seconds(1.5);
    sink.object_stored(ZoneName::Processed, 1_000, 65_536);
    sink.sealed(SealReason::Interval, 3);
    sink.set_memory_bytes(MemoryClass::Buffered, 4_096);
    sink.dead_letters(&BTreeMap::from([("invalid_json", 2)]));
    sink.rebalanced(Rebalance::Revoked);
    sink.clone().plan_adopted();
    store.observe("PutObject", "412", 0.02);
    let text = registry.render();
    for line in [
        r#"stockpipeline_lag_records{partition="7"} 12"#,
        "stockpipeline_lag_seconds 1.5",
        r#"stockpipeline_records_total{zone="processed"} 1000"#,
        r#"stockpipeline_records_total{zone="raw"} 0"#,
        r#"stockpipeline_bytes_total{zone="processed"} 65536"#,
        r#"stockpipeline_object_bytes_bucket{le="65536.0"} 1"#,
        r#"stockpipeline_seals_total{reason="interval"} 1"#,
        r#"stockpipeline_hive_partitions_per_plan_bucket{le="4.0"} 1"#,
        r#"stockpipeline_memory_bytes{class="buffered"} 4096"#,
        r#"stockpipeline_dead_letters_total{class="invalid_json"} 2"#,
        r#"stockpipeline_rebalances_total{kind="revoked"} 1"#,
        r#"stockpipeline_rebalances_total{kind="lost"} 0"#,
        "stockpipeline_plans_adopted_total 1",
        r#"stockpipeline_s3_requests_total{operation="PutObject",code="412"} 1"#,
        r#"stockpipeline_s3_request_seconds_bucket{le="0.025",operation="PutObject"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains(r#"partition="8""#), "a partition that was given back keeps its series");
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn time_since_the_last_commit_is_counted_when_it_is_read() {
    let mut registry = Registry::new("sink");
    let sink = SinkMetrics::register(&mut registry);
    sink.committed(stockpipeline_program::clock::boottime_millis() - 90_000);
    let text = registry.render();
    let value = text.lines().find_map(|line| line.strip_prefix("stockpipeline_seconds_since_last_commit ")).unwrap();
    assert!((90.0..120.0).contains(&value.parse::<f64>().unwrap()), "{value}");
}

#[test]
fn unregistered_metrics_take_every_call() {
    SinkMetrics::default().set_throttle_seconds(0.1);
    StoreMetrics::default().observe("GetObject", "200", 0.001);
    let producer = ProducerMetrics::default();
    producer.transaction_ended(TransactionOutcome::Fenced);
    producer.set_throttle_seconds(0.1);
    producer.observe_delivery(0.01);
}
