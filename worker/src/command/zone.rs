//! The availability zone of the node that a worker runs on: as it was told, or as EC2 says.

use std::time::Duration;

use aws_config::imds::Client;

use super::arguments::WorkerArguments;

/// Longest wait for EC2's instance metadata: a worker starts without a zone rather than late.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);
/// Where the instance metadata has the zone.
const ZONE_PATH: &str = "/latest/meta-data/placement/availability-zone";

/// Returns the zone, where it is known.
pub(super) async fn zone(arguments: &WorkerArguments) -> Option<String> {
    let told = Some(arguments.zone.trim()).filter(|zone| !zone.is_empty()).map(str::to_owned);
    let zone = match told {
        None if arguments.zone_from_ec2 => ask_ec2().await,
        told => told,
    };
    if let Some(zone) = &zone {
        tracing::info!(zone, "fetches from replicas of its own zone where there are any");
    }
    zone
}

async fn ask_ec2() -> Option<String> {
    let client = Client::builder().max_attempts(1).connect_timeout(METADATA_TIMEOUT).read_timeout(METADATA_TIMEOUT).build();
    match tokio::time::timeout(METADATA_TIMEOUT, client.get(ZONE_PATH)).await {
        Ok(Ok(zone)) => Some(zone.as_ref().trim().to_owned()).filter(|zone| !zone.is_empty()),
        Ok(Err(error)) => {
            tracing::info!(error = crate::error::line(&error), "EC2's instance metadata does not tell the zone");
            None
        }
        Err(_) => {
            tracing::info!("EC2's instance metadata does not answer; going on without a zone");
            None
        }
    }
}
