//! Takes all messages from Kafka and does nothing with them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use stockpipeline_worker::contact::Contact;
use stockpipeline_worker::source::{Event, Joining, Placement, Source};

use crate::figure::Measurement;
use crate::host::{Hosted, TOPIC};
use crate::pipeline::{Zones, clients, pipeline};
use crate::usage::Meter;

/// Bytes fetched ahead, as a sink in a pod of 512 MiB would.
const FETCH_AHEAD_BYTES: usize = 64 << 20;
/// End of all patience.
const DEADLINE: Duration = Duration::from_mins(5);

/// Measures from the first message on: the group's join is not part of it.
pub(crate) fn measure(hosted: &Hosted) -> anyhow::Result<Measurement> {
    let group = format!("consume-{}", hosted.run);
    let clients = clients(&pipeline(hosted, Zones::Processed, &group)?)?;
    let mut source = Source::join(Joining {
        clients: clients.client_config(),
        callbacks: clients.context(),
        topic: TOPIC,
        group: &group,
        session_timeout: Duration::from_secs(6),
        fetch_ahead_bytes: FETCH_AHEAD_BYTES,
        contact: Arc::new(Contact::new(Duration::from_secs(6))),
    })?;
    let deadline = Instant::now() + DEADLINE;
    let mut meter = None;
    let mut messages = 0;
    while messages < hosted.load.messages {
        ensure!(Instant::now() < deadline, "took only {messages} messages");
        for event in source.poll() {
            match event {
                Event::Assigned(partitions) => {
                    let place = |partition| Placement { partition, offset: 0, leader_epoch: None };
                    source.assign(&partitions.into_iter().map(place).collect::<Vec<_>>())?;
                }
                Event::Revoked(_) | Event::Lost(_) | Event::RebalanceFailed(_) => bail!("the group has changed: {event:?}"),
                Event::Trouble { .. } | Event::Observed(_) => {}
            }
        }
        let taken = source.take(Duration::from_millis(50));
        if meter.is_none() && !taken.runs.is_empty() {
            meter = Some(Meter::start()?);
        }
        messages += taken.runs.iter().map(|run| run.messages.len() as u64).sum::<u64>();
    }
    let Some(meter) = meter else { bail!("there were no messages") };
    meter.stop(messages)
}
