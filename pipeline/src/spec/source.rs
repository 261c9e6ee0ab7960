//! Spec: where the records come from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::aws::KeyRef;
use super::bounds::rules;

/// Where the records come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("(self.type == 'CsvReplay') == has(self.csvReplay)", "set csvReplay exactly when type is CsvReplay"),
    ("(self.type == 'Synthetic') == has(self.synthetic)", "set synthetic exactly when type is Synthetic"),
    ("self.type == 'ExternalTopic' || !has(self.externalTopic)", "set externalTopic only when type is ExternalTopic"),
])))]
pub struct Source {
    /// CsvReplay: rows of a CSV file; Synthetic: a seeded random walk of prices; ExternalTopic: a topic that others fill.
    #[serde(rename = "type")]
    pub source_type: SourceType,
    /// Rows of a CSV file. Set exactly when `type` is CsvReplay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csv_replay: Option<CsvReplay>,
    /// A seeded random walk of prices. Set exactly when `type` is Synthetic; `{}` takes every default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synthetic: Option<Synthetic>,
    /// A topic that others fill. May be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_topic: Option<ExternalTopic>,
}

/// Kind of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SourceType {
    /// Rows of a CSV file.
    CsvReplay,
    /// A seeded random walk of prices.
    Synthetic,
    /// A topic that others fill.
    ExternalTopic,
}

/// Rows of a CSV file; a gzip or zip is read as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("has(self.uri) != has(self.configMapRef)", "set exactly one of uri and configMapRef"),
    ("!(has(self.speed) && has(self.rowsPerSecond))", "set at most one of speed and rowsPerSecond"),
    ("!has(self.speed) || self.order != 'Random'", "speed follows event times, which a Random order does not keep"),
])))]
pub struct CsvReplay {
    /// Where the file is: `s3://bucket/key`, `https://host/path` or, for `stockpipeline-worker local`, a path; a relative path
    /// starts at the folder of the pipeline's file. `http://` is for loopback hosts only. Example: `s3://my-bucket/seed/ticks.csv.gz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048))]
    pub uri: Option<String>,
    /// A key of a `ConfigMap` in the pipeline's namespace, in place of `uri`. Example: `{name: ticks, key: ticks.csv}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<KeyRef>,
    /// Column names of a file without a header row. Default: the first row is the header. Example: `[ms, price, size]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1, max = 256)))]
    pub header: Option<Vec<String>>,
    /// Field delimiter: one ASCII character. Default: a comma. Example: `"\t"`.
    #[serde(default = "comma")]
    #[schemars(length(min = 1, max = 1))]
    pub delimiter: String,
    /// Texts that mean null, compared as they stand. Default: the empty text. Example: `["", "null", "N/A"]`.
    #[serde(default = "empty_text")]
    #[schemars(length(max = 32), inner(length(max = 64)))]
    pub null_values: Vec<String>,
    /// Order of the rows: File as they stand; EventTime by the event time; Random a seeded permutation, another one each pass.
    /// EventTime and Random need the file within the producer's memory budget. Default: File.
    #[serde(default)]
    pub order: RowOrder,
    /// Rows a second over all replicas, 1 to 10,000,000. Default: as fast as possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub rows_per_second: Option<i64>,
    /// How many times as fast as the clock event time runs, 0.001 to 1,000,000: 1 is real time, 60 a minute a second.
    /// Default: as fast as possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 1_000_000.0))]
    pub speed: Option<f64>,
    /// Whether the file starts again at its end. Default: false.
    #[serde(default, rename = "loop")]
    pub repeat: bool,
    /// Seed of the Random order: the same seed gives the same order. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub seed: i64,
}

/// Order of a file's rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RowOrder {
    /// As they stand in the file.
    #[default]
    File,
    /// By event time; ties keep the file's order.
    EventTime,
    /// A seeded permutation.
    Random,
}

/// A seeded random walk of prices, one for each symbol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Synthetic {
    /// Symbols, 1 to 1,000. Default: AAPL, AMZN, GOOG, IBM, MSFT.
    #[schemars(length(min = 1, max = 1000), inner(length(min = 1, max = 64)), extend("x-kubernetes-list-type" = "set"))]
    pub symbols: Vec<String>,
    /// Rows a second over all replicas and symbols, 1 to 10,000,000. Default: as fast as possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub rows_per_second: Option<i64>,
    /// Seed: the same seed gives the same rows. Default: 0.
    #[schemars(range(min = 0))]
    pub seed: i64,
    /// Rows in all. Default: endless.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub rows: Option<i64>,
    /// Event time of the first row, RFC 3339. Default: `2024-01-02T14:30:00Z`.
    #[schemars(length(min = 20, max = 40))]
    pub start: String,
}

/// A topic that others fill.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExternalTopic {
    /// What a record's value is: a JSON object. Default: Json.
    pub format: RecordFormat,
}

/// What a record's value is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RecordFormat {
    /// A JSON object.
    #[default]
    Json,
}

impl Default for Synthetic {
    fn default() -> Self {
        Self {
            symbols: ["AAPL", "AMZN", "GOOG", "IBM", "MSFT"].map(str::to_owned).to_vec(),
            rows_per_second: None,
            seed: 0,
            rows: None,
            start: "2024-01-02T14:30:00Z".to_owned(),
        }
    }
}

fn comma() -> String {
    ",".to_owned()
}

fn empty_text() -> Vec<String> {
    vec![String::new()]
}
