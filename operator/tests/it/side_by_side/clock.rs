//! A wall clock that somebody sets while the operator is at work.

use std::os::unix::fs::FileExt;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use stockpipeline::launch::Exit;
use tempfile::NamedTempFile;

use crate::end_to_end::stage::{NAME, Stage};
use crate::program::until;

/// Minutes by which the lease's renewal may be off from the clock that it was written by.
const SHOWN_WITHIN: u64 = 5;

/// The wall clock of one process, by the library of `e2e/clock.c`.
struct Clock {
    file: NamedTempFile,
    library: String,
}

impl Clock {
    fn new() -> Self {
        let library = std::env::var("E2E_CLOCK").expect("E2E_CLOCK names the library of e2e/clock.c; e2e/run sets it");
        let clock = Self { file: NamedTempFile::new().unwrap(), library };
        clock.set(0);
        clock
    }

    /// Sets it ahead by so many hours.
    fn set(&self, hours: i64) {
        // In place: the process has it mapped.
        self.file.as_file().write_all_at(&(hours * 3_600).to_ne_bytes(), 0).unwrap();
    }

    fn environment(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", &self.library), ("E2E_CLOCK_FILE", self.file.path().to_str().unwrap())]
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
    let mut operator = stage.operate_in(NAME, &clock.environment()).await;
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
