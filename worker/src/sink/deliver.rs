//! Brings a sealed range to S3: the plan first, then its objects. I/O only.

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use stockpipeline::plan::{Plan, ZoneName};
use stockpipeline_program::clock::boottime_millis;

use super::pool::Body;
use super::work::Delivery;
use crate::failpoint::{Failpoints, Point};
use crate::ledger::{Decision, Ledger, LedgerError};
use crate::partitions::Announcement;

/// Objects of one plan that are written at a time.
const OBJECTS_AT_ONCE: usize = 8;

/// What happens beside the writes.
pub(super) struct Beside {
    /// Crash points, in tests.
    pub(super) failpoints: Failpoints,
    /// The Hive partitions of the plan, on their way into the catalogue.
    pub(super) announced: Announcement,
}

/// Decides a rotation and stores its objects. `trusted_until` is the boot time in milliseconds up to which what is known of
/// the chain's end counts: after it, a plan that was stored is checked against what the ledger holds behind it.
pub(super) async fn plan_and_write(
    ledger: &Ledger,
    plan: Plan,
    bodies: Vec<Body>,
    trusted_until: u64,
    beside: Beside,
) -> Result<Delivery, LedgerError> {
    let failpoints = &beside.failpoints;
    failpoints.hit(Point::BeforePlan);
    let decided_at = boottime_millis();
    match ledger.decide(&plan).await? {
        Decision::Ours => {}
        Decision::Theirs(plan) => {
            failpoints.hit(Point::PlanAdopted);
            return Ok(Delivery::Adopted(Arc::new(*plan)));
        }
    }
    failpoints.hit(Point::PlanStored);
    if boottime_millis() > trusted_until && ledger.is_overtaken(plan.partition, plan.first).await? {
        // A successor that adopted the plan went on only when all of it was stored. What is not stored here never was a part of the chain.
        if !ledger.is_finished(&plan).await? {
            ledger.withdraw(&plan).await?;
            return Ok(Delivery::Overtaken(Arc::new(plan)));
        }
        // Its objects may be those of a plan of somebody else with the very range, that was cleaned up: then nothing follows it, and it is
        // none of the chain. Either way nothing is known of the chain's end any more: it is looked up anew.
        if ledger.plan(plan.partition, plan.last + 1).await?.is_none() {
            ledger.withdraw(&plan).await?;
        }
        return Ok(Delivery::Adopted(Arc::new(plan)));
    }
    write(ledger, plan, bodies, decided_at, beside).await
}

/// Stores the objects of a plan that stands; `known_at` is the boot time at which the chain's end was known.
pub(super) async fn write(ledger: &Ledger, plan: Plan, bodies: Vec<Body>, known_at: u64, beside: Beside) -> Result<Delivery, LedgerError> {
    let plan = Arc::new(plan);
    let Beside { failpoints, announced } = beside;
    // Readers that know a partition only by the catalogue see its first object at once. The wait has a bound, and data does not depend on it.
    announced.settled().await;
    let failpoints = &failpoints;
    stream::iter(bodies)
        .map(|body| {
            let plan = Arc::clone(&plan);
            async move {
                ledger.put_object(&plan, &body.object.key, body.bytes, content_type(&plan, body.object.zone)).await?;
                failpoints.hit(Point::ObjectStored);
                Ok::<(), LedgerError>(())
            }
        })
        .buffer_unordered(OBJECTS_AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    failpoints.hit(Point::AllObjectsStored);
    Ok(Delivery::Stored(plan, known_at))
}

fn content_type(plan: &Plan, zone: ZoneName) -> &'static str {
    use stockpipeline::rules::ProcessedFormat;
    match (zone, plan.rules.processed.as_ref().map(|processed| processed.format)) {
        (ZoneName::Processed, Some(ProcessedFormat::Parquet { .. })) => "application/vnd.apache.parquet",
        (ZoneName::Processed | ZoneName::Raw | ZoneName::DeadLetters, _) => "application/x-ndjson",
    }
}
