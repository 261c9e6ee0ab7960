//! A `StockPipeline` as the cache keeps it: its metadata, and the rest as the JSON that it came as. So an object that cannot be read is
//! listed like any other, and a thousand of them take little.

use std::borrow::Cow;

use kube::Resource;
use kube::api::ObjectMeta;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::pack::{Packed, Pattern};
use crate::resource::crd::StockPipeline;
use crate::status::Phase;

/// A resource that may be unreadable: then only its metadata is known.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    metadata: ObjectMeta,
    phase: Option<Phase>,
    rest: Rest,
}

/// Everything but the metadata.
#[derive(Debug, Clone)]
enum Rest {
    /// As it came.
    Plain(Box<[u8]>),
    /// As it is kept.
    Packed(Packed),
}

impl Stored {
    /// Drops what nothing reads, and packs the rest.
    pub(crate) fn shrink(&mut self, pattern: &Pattern) {
        self.metadata.managed_fields = None;
        if let Some(annotations) = self.metadata.annotations.as_mut() {
            annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        }
        self.metadata.annotations.take_if(|annotations| annotations.is_empty());
        if let Rest::Plain(json) = &self.rest {
            self.rest = Rest::Packed(pattern.pack(json));
        }
    }

    /// Returns the resource.
    ///
    /// # Errors
    /// What is wrong with it, when it is not what the definition says.
    pub(crate) fn read(&self) -> Result<StockPipeline, serde_json::Error> {
        let mut members: Map<String, Value> = match &self.rest {
            Rest::Plain(json) => serde_json::from_slice(json)?,
            Rest::Packed(packed) => serde_json::from_slice(&packed.unpack())?,
        };
        // A type of the API has to have metadata; it is put in as it is below.
        members.insert("metadata".to_owned(), Value::Object(Map::new()));
        let mut object: StockPipeline = serde_json::from_value(Value::Object(members))?;
        object.metadata.clone_from(&self.metadata);
        Ok(object)
    }

    /// Returns the phase that stands in its status.
    pub(crate) fn phase(&self) -> Option<Phase> {
        self.phase
    }
}

impl<'de> Deserialize<'de> for Stored {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let mut members = Map::deserialize(deserializer)?;
        let metadata = members.remove("metadata").unwrap_or_default();
        let metadata = serde_json::from_value(metadata).map_err(D::Error::custom)?;
        let phase = members.get("status").and_then(|status| status.get("phase")).and_then(Value::as_str);
        let phase = phase.and_then(|label| Phase::ALL.into_iter().find(|phase| phase.label() == label));
        let rest = serde_json::to_vec(&members).map_err(D::Error::custom)?.into_boxed_slice();
        Ok(Self { metadata, phase, rest: Rest::Plain(rest) })
    }
}

impl Resource for Stored {
    type DynamicType = ();
    type Scope = <StockPipeline as Resource>::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        StockPipeline::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        StockPipeline::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        StockPipeline::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        StockPipeline::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_comes_in_comes_out_and_what_cannot_be_read_has_its_metadata() {
        let metadata = json!({ "name": "a", "namespace": "n", "generation": 3, "annotations": { "a/b": "c" } });
        let well = json!({
            "apiVersion": "stockpipeline.dev/v1alpha1", "kind": "StockPipeline", "metadata": metadata,
            "spec": { "b": 1, "a": [1.5, null] }, "status": { "phase": "Running" },
        });
        let mut stored: Stored = serde_json::from_value(well.clone()).unwrap();
        assert_eq!(stored.phase(), Some(Phase::Running));
        assert_eq!(stored.read().unwrap(), serde_json::from_value(well.clone()).unwrap());
        stored.shrink(&Pattern::default());
        assert_eq!(stored.read().unwrap(), serde_json::from_value(well.clone()).unwrap());
        let mut poisoned = well;
        poisoned["status"]["conditions"] = json!("none");
        let stored: Stored = serde_json::from_value(poisoned).unwrap();
        assert!(stored.read().is_err());
        assert_eq!((stored.meta().name.as_deref(), stored.meta().generation), (Some("a"), Some(3)));
    }
}
