//! Bounds and small types that several areas of the spec share: durations, quantities, maps, CEL rules.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

/// A map of texts.
pub type TextMap = BTreeMap<String, String>;

/// A duration such as `60s`, `10m`, `1s500ms` or `720h`: whole numbers with the units ms, s, m and h.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimeSpan(pub String);

/// A Kubernetes quantity such as `250m`, `2` or `512Mi`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Quantity(pub String);

/// Least and greatest value of a duration, as a user writes it.
#[derive(Debug, Clone, Copy)]
pub struct SpanBounds {
    /// Least value.
    pub least: &'static str,
    /// Greatest value.
    pub most: &'static str,
}

/// Bounds of `lifecycle.drainTimeout`.
pub const DRAIN_TIMEOUT: SpanBounds = SpanBounds { least: "1s", most: "24h" };
/// Bounds of `reconcile.driftInterval`.
pub const DRIFT_INTERVAL: SpanBounds = SpanBounds { least: "1m", most: "24h" };
/// Bounds of `schema.maxFuture`: up to ten years.
pub const MAX_FUTURE: SpanBounds = SpanBounds { least: "0s", most: "87600h" };
/// Bounds of `producer.transactionInterval`: well below the transaction time-out of 10 seconds.
pub const TRANSACTION_INTERVAL: SpanBounds = SpanBounds { least: "10ms", most: "5s" };
/// Bounds of `sink.rotation.maxInterval`.
pub const ROTATION_INTERVAL: SpanBounds = SpanBounds { least: "1s", most: "24h" };
/// Bounds of `sink.ledger.retain`: a worker that sleeps an hour must find what it raced with.
pub const LEDGER_RETAIN: SpanBounds = SpanBounds { least: "1h", most: "87600h" };
/// Bounds of `sink.worker.scaling.scaleDownStabilization`.
pub const SCALE_DOWN: SpanBounds = SpanBounds { least: "0s", most: "24h" };

impl TimeSpan {
    /// Returns the duration of a text that a schema's default or a bound holds.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl JsonSchema for TimeSpan {
    fn schema_name() -> Cow<'static, str> {
        "TimeSpan".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "minLength": 2, "maxLength": 32, "pattern": "^([0-9]{1,12}(ms|s|m|h))+$"})
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 32,
            "pattern": r"^[0-9]{1,15}(\.[0-9]{1,9})?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$"
        })
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self(text)),
            Value::Number(number) => Ok(Self(number.to_string())),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Err(serde::de::Error::custom("a quantity is a text such as 250m or a whole number"))
            }
        }
    }
}

/// Returns CEL rules with their messages, for `x-kubernetes-validations`.
pub(crate) fn rules(list: &[(&str, &str)]) -> Value {
    list.iter().map(|(rule, message)| json!({"rule": rule, "message": message})).collect()
}

/// Returns the CEL rule that a duration lies within its bounds.
pub(crate) fn between(bounds: SpanBounds) -> Value {
    let SpanBounds { least, most } = bounds;
    rules(&[(
        &format!("duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"),
        &format!("must be from {least} to {most}"),
    )])
}

/// Returns the CEL rule that a field keeps the value that it was created with.
pub(crate) fn immutable(name: &str) -> Value {
    rules(&[("self == oldSelf", &format!("{name} is immutable"))])
}

/// Returns the CEL rule that a key prefix does not climb.
pub(crate) fn straight() -> Value {
    rules(&[("!self.split('/').exists(s, s == '.' || s == '..')", "must not have . or .. between slashes")])
}

/// Returns the CEL rule that a map holds only keys of a list.
pub(crate) fn only_keys(allowed: &[(&str, crate::spec::kafka::ConfigValue)]) -> Value {
    let names: Vec<String> = allowed.iter().map(|(name, _)| format!("'{name}'")).collect();
    rules(&[(&format!("self.all(k, k in [{}])", names.join(", ")), "holds a key that is not on the list of allowed ones")])
}

/// Returns the schema of a map of up to 64 texts of up to 1,024 characters.
pub(crate) fn text_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "maxProperties": 64, "additionalProperties": {"type": "string", "maxLength": 1024}})
}

/// Returns the schema of an optional object of any content.
pub(crate) fn free_form(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["object", "null"], "x-kubernetes-preserve-unknown-fields": true})
}
