//! A process that dies after any of its writes, its answer and its memory lost, comes to the same end.

use super::stage::Stage;

/// More than a look writes.
const MOST_WRITES: u64 = 40;

/// Returns what is stored in the end, where the process dies after each number of writes in turn.
async fn check(prepare: impl AsyncFn() -> Stage) {
    let mut whole = prepare().await;
    whole.settle().await;
    let expected = whole.stored();
    for writes in 1..MOST_WRITES {
        let mut stage = prepare().await;
        stage.aws.forget_calls();
        stage.aws.die_after_writes(writes);
        for _ in 0..4 {
            // The status is written only where the process lives on to do so.
            let before: u64 = stage.aws.writes().values().sum();
            if before >= writes {
                break;
            }
            let report = stage.forgotten_look().await;
            if stage.aws.writes().values().sum::<u64>() < writes {
                stage.remember(&report);
            }
        }
        let made: u64 = stage.aws.writes().values().sum();
        stage.aws.heal();
        stage.restart();
        stage.settle().await;
        assert_eq!(stage.stored(), expected, "after {writes} writes");
        if made < writes {
            return;
        }
    }
    panic!("more than {MOST_WRITES} writes");
}

#[tokio::test]
async fn a_new_pipeline() {
    check(async || {
        let mut stage = Stage::new().await;
        stage.edit("enabled: false", "enabled: true");
        stage
    })
    .await;
}

#[tokio::test]
async fn a_pipeline_that_changes() {
    check(async || {
        let mut stage = Stage::settled().await;
        {
            let mut world = stage.aws.world();
            let descriptor = world.glue.table("market_data", "us_equities").input["StorageDescriptor"].clone();
            for hour in ["00", "01"] {
                let values = vec!["2024-05-01".to_owned(), hour.to_owned()];
                let partition = serde_json::json!({"Values": values, "StorageDescriptor": descriptor});
                world.glue.table_mut("market_data", "us_equities").partitions.insert(values, partition);
            }
        }
        stage.edit("volume, type: Bigint }", "volume, type: Bigint }\n      - { name: vwap, type: Double }");
        stage.edit("name: daily-ohlc", "name: other");
        stage.edit("interval '1' day", "interval '2' day");
        stage.edit("bytesScannedCutoff: 10737418240", "bytesScannedCutoff: 20000000");
        stage
    })
    .await;
}
