//! Finds out whether a store keeps the promise that everything rests on.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::failure::{Failure, Reason};
use super::objects::NewObject;
use super::retry::{Act, Effect};
use super::{Probe, Put, Store, StoreError};

impl Store {
    /// Finds out whether conditional writes work, with a new object beside `key`, which is deleted again.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn probe(&self, key: &str) -> Result<Probe, StoreError> {
        // Of this call alone: another worker's deletion between the two writes would look like a store without conditions.
        let key = format!("{key}.{:016x}", self.inner.jitter.next());
        let act = Act { operation: "PutObject", key: &key, effect: Effect::Write };
        let none = BTreeMap::new();
        let object =
            NewObject { key: &key, body: self.body(Bytes::from_static(b"probe").into()), content_type: "text/plain", metadata: &none };
        let put = || {
            self.run(act, |client| async {
                match self.attempt_put(client, &object).await {
                    Ok((put, label)) => Ok((Some(put), label)),
                    Err(Failure { reason: Reason::Unsupported, outcome, .. }) => Ok((None, outcome)),
                    Err(failure) => Err(failure),
                }
            })
        };
        let mut answer = put().await?;
        if answer == Some(Put::Stored) {
            answer = put().await?;
        }
        self.sweep(&key).await;
        Ok(if answer == Some(Put::Exists) { Probe::Conditional } else { Probe::Unconditional })
    }

    /// Deletes the probe, with one attempt: what stays behind does no harm.
    async fn sweep(&self, key: &str) {
        let may_write = self.inner.gate.as_ref().is_none_or(|gate| gate.open());
        let attempt = self.attempt_delete(self.inner.clients.current(), key);
        if !may_write || !matches!(tokio::time::timeout(self.inner.settings.attempt_timeout, attempt).await, Ok(Ok(_))) {
            tracing::debug!(key, "failed to delete the probe");
        }
    }
}
