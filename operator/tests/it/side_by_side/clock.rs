//! A wall clock that somebody sets while the operator is at work.

use std::path::PathBuf;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;

use crate::end_to_end::stage::{NAME, Stage};
use crate::program::until;

/// Minutes by which the operator's clock may be off from what it was set to: it is set once a second, and shown at each renewal of the lease.
const SHOWN_WITHIN: u64 = 5;

/// The wall clock of one process, by libfaketime: what measures time keeps its pace.
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
async fn an_operator_whose_clock_is_set_leads_on_and_goes_on_looking() {
    let stage = Stage::new("clock").await;
    stage.add_account("second").await;
    let clock = Clock::new();
    let environment = clock.environment();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let operator = stage.operate_in(NAME, &environment).await;
    let second = stage.operate("second").await;
    until("the second is ready", async || second.get("/readyz").await.is_some_and(|(status, _)| status == 200)).await;
    stage.ready("demo", |_| {}).await;
    let database = stage.namespace.name().replace('-', "_");
    let columns = || stage.aws.world().glue.table(&database, "demo").input["StorageDescriptor"]["Columns"].clone();
    let declared = columns();
    for hours in [1, 0, -1, 0] {
        clock.set(hours);
        let is_set = async || minutes_ahead(&stage).await.is_some_and(|minutes| minutes.abs_diff(hours * 60) < SHOWN_WITHIN);
        until("the clock is set", is_set).await;
        stage.aws.world().glue.edit(&database, "demo", |table| {
            table["StorageDescriptor"]["Columns"].as_array_mut().unwrap().pop();
        });
        until("what was deleted by hand is back", async || columns() == declared).await;
        assert!(operator.leads().await && !second.leads().await, "{hours}");
    }
    drop((operator, second));
    stage.remove().await;
}
