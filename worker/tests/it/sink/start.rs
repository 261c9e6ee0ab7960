//! What happens before the first record.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use serde_json::json;
use stockpipeline_worker::kafka::{Clients, Identity};

use super::stage::{Stage, until};

/// Counts how often credentials are asked for, that is how often a token is signed.
#[derive(Debug, Default)]
struct Counting(Arc<AtomicUsize>);

impl ProvideCredentials for Counting {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        self.0.fetch_add(1, Ordering::Relaxed);
        let credentials: provider::Result = Ok(Credentials::new("AKIATEST", "secret", None, None, "test"));
        future::ProvideCredentials::ready(credentials)
    }
}

/// With an epoch given nobody else asks for a token before the start does: a client that is never polled never logs in.
#[test]
fn a_start_gives_its_client_the_tokens_that_it_logs_in_with() {
    let stage = Stage::new(1);
    let pipeline = stage.pipeline(|spec| {
        spec["kafka"]["auth"] = json!({ "type": "MskIam" });
        spec["kafka"]["tls"] = json!({ "enabled": true });
    });
    let asked = Arc::new(AtomicUsize::new(0));
    let credentials = Some(SharedCredentialsProvider::new(Counting(Arc::clone(&asked))));
    let identity = Identity { region: "eu-central-1".to_owned(), credentials, ..Identity::default() };
    let clients = Clients::new(&pipeline.kafka, Path::new("/nonexistent"), identity).unwrap();
    let sink = stage.sink_with("only", pipeline, |context| context.clients = clients);
    until("a token is signed", || asked.load(Ordering::Relaxed) > 0);
    assert!(sink.stop().unwrap().drained);
}
