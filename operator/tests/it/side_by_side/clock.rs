//! A wall clock that somebody sets while the operator is at work.

use std::path::PathBuf;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use stockpipeline::launch::Exit;

use crate::end_to_end::stage::{NAME, Stage};
use crate::program::until;

/// Minutes by which the lease's renewal may be off from the clock that it was written by.
const SHOWN_WITHIN: u64 = 5;

/// The wall clock of one process, by libfaketime, which reads its file once a second: what measures time keeps its pace.
struct Clock {
    folder: tempfile::TempDir,
    library: String,
}

impl Clock {
    fn new() -> Self {
        let library = std::env::var("E2E_CLOCK").expect("E2E_CLOCK names libfaketime's library; e2e/run sets it");
        let clock = Self { folder: tempfile::tempdir().unwrap(), library };
        clock.set(0);
        clock
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("offset")
    }

    /// Sets it ahead by so many hours.
    fn set(&self, hours: i64) {
        let whole = self.folder.path().join("next");
        std::fs::write(&whole, format!("{:+}\n", hours * 3_600)).unwrap();
        std::fs::rename(whole, self.file()).unwrap();
    }

    fn environment(&self) -> [(String, String); 4] {
        [
            ("LD_PRELOAD", self.library.clone()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
    }
}

/// Returns by how many minutes the leader's clock is ahead of ours, by the lease.
async fn minutes_ahead(stage: &Stage) -> Option<i64> {
    let renewed: Timestamp = stage.get::<Lease>(NAME).await["spec"]["renewTime"].as_str()?.parse().ok()?;
    Some(renewed.duration_since(Timestamp::now()).as_mins())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn an_operator_whose_clock_is_set_ahead_leads_on_and_one_whose_clock_is_set_back_gives_way() {
    let stage = Stage::new("clock").await;
    stage.add_account("second").await;
    let clock = Clock::new();
    let environment = clock.environment();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut operator = stage.operate_in(NAME, &environment).await;
    let second = stage.operate("second").await;
    until("the second is ready", async || second.get("/readyz").await.is_some_and(|(status, _)| status == 200)).await;
    stage.ready("demo", |_| {}).await;
    let database = stage.namespace.name().replace('-', "_");
    let columns = || stage.aws.world().glue.table(&database, "demo").input["StorageDescriptor"]["Columns"].clone();
    let declared = columns();
    let drift_is_corrected = async || {
        stage.aws.world().glue.edit(&database, "demo", |table| {
            table["StorageDescriptor"]["Columns"].as_array_mut().unwrap().pop();
        });
        until("what was deleted by hand is back", async || columns() == declared).await;
    };
    clock.set(1);
    let is_ahead = async || minutes_ahead(&stage).await.is_some_and(|minutes| minutes.abs_diff(60) < SHOWN_WITHIN);
    until("the lease tells the clock", is_ahead).await;
    drift_is_corrected().await;
    assert!(operator.leads().await && !second.leads().await);

    clock.set(0);
    assert_eq!(operator.ended().await.code(), Some(i32::from(Exit::External.code())));
    until("the second leads", async || second.leads().await).await;
    drift_is_corrected().await;
    drop(second);
    stage.remove().await;
}
