//! Who judges: Trino, DuckDB and the audit, against the data set's oracle.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::dataset::{Dataset, Sums, canonical};
use crate::duckdb;
use crate::host::audit;
use crate::pipeline::Pipeline;
use crate::wait::{claim, until};

/// What one of them says is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Rows of the processed zone.
    pub rows: u64,
    /// Distinct positions in Kafka of these rows.
    pub positions: u64,
    /// Rows of the raw zone.
    pub raw_rows: u64,
    /// Distinct positions in Kafka of the raw rows.
    pub raw_positions: u64,
    /// Rows of a key that stand before an earlier event of it.
    pub disordered: u64,
    /// Rows and sums by key.
    pub by_key: BTreeMap<String, Sums>,
}

impl Proof {
    /// Returns what must be stored of a replay in the order of event time.
    #[must_use]
    pub fn expected(dataset: &Dataset) -> Self {
        let rows = dataset.rows;
        Self { rows, positions: rows, raw_rows: rows, raw_positions: rows, disordered: 0, by_key: dataset.by_key.clone() }
    }

    /// Asserts that Trino, DuckDB and the audit find exactly the data set, the events of each key in their order, and says so.
    pub async fn exactly_once(pipeline: &Pipeline, dataset: &Dataset, after: &str) {
        Self::compare(pipeline, dataset, after, |proof| proof).await;
    }

    /// As [`Proof::exactly_once`], where keys have moved to other partitions, between which there is no order.
    pub async fn exactly_once_in_any_order(pipeline: &Pipeline, dataset: &Dataset, after: &str) {
        Self::compare(pipeline, dataset, after, |proof| Self { disordered: 0, ..proof }).await;
    }

    async fn compare(pipeline: &Pipeline, dataset: &Dataset, after: &str, view: impl Fn(Self) -> Self) {
        let expected = Self::expected(dataset);
        // Glue may learn of the last partition a moment after its object is there.
        until("Trino sees the partitions", async || {
            let rows = pipeline.stage.trino.query(&format!("select count(*) from {}", pipeline.table("processed"))).await.ok()?;
            (number(rows.first()?.first()?) >= expected.rows).then_some(())
        })
        .await;
        assert_eq!(view(Self::by_trino(pipeline, dataset).await), expected, "Trino after {after}");
        assert_eq!(view(Self::by_duckdb(pipeline, dataset).await), expected, "DuckDB after {after}");
        audit(pipeline).await;
        claim(format_args!(
            "{after}: {} rows, {} positions, {} keys: Trino = DuckDB = oracle, audit clean",
            expected.rows,
            expected.positions,
            expected.by_key.len()
        ));
    }

    /// Asserts that Trino finds no position twice in what is stored so far, and returns how many rows that is; 0 before the first.
    pub async fn no_row_twice(pipeline: &Pipeline) -> u64 {
        let mut counted = Vec::new();
        for zone in ["processed", "raw"] {
            let rows = pipeline.stage.trino.query(&counts(&pipeline.table(zone))).await.unwrap_or_default();
            let Some(row) = rows.first() else { return 0 };
            assert_eq!(row[0], row[1], "rows and positions of the {zone} zone of {}", pipeline.namespace);
            counted.push(number(&row[0]));
        }
        counted[0]
    }

    /// Waits until Trino finds more rows than before, or all of the source, none of them twice, and returns how many rows there are.
    pub async fn more_than(pipeline: &Pipeline, rows: u64, after: &str) -> u64 {
        until(&format!("there are more than {rows} rows after {after}"), async || {
            let now = Self::no_row_twice(pipeline).await;
            (now > rows || Some(now) == pipeline.rows).then_some(now)
        })
        .await
    }

    /// Returns what Trino says.
    pub async fn by_trino(pipeline: &Pipeline, dataset: &Dataset) -> Self {
        let mut answers = Vec::new();
        for statement in statements(dataset, &pipeline.table("processed"), &pipeline.table("raw")) {
            let rows = pipeline.stage.trino.query(&statement).await;
            answers.push(rows.unwrap_or_else(|error| panic!("{statement}\n{error}")));
        }
        Self::read(&answers)
    }

    /// Returns what DuckDB says.
    ///
    /// # Panics
    /// When there is no temporary folder.
    pub async fn by_duckdb(pipeline: &Pipeline, dataset: &Dataset) -> Self {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        for zone in ["processed", "raw"] {
            pipeline.stage.bucket.fetch(&format!("{}/{zone}/", pipeline.namespace), folder.path()).await;
        }
        let statements = statements(dataset, "processed", "raw");
        let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
        let python = &pipeline.stage.settings.python;
        Self::read(&duckdb::query(python, &folder.path().join(&pipeline.namespace), &statements).await)
    }

    fn read(answers: &[Vec<Vec<Value>>]) -> Self {
        let [counts, raw, disordered, keys] = answers else { panic!("four statements have four answers") };
        let by_key = keys.iter().map(|row| {
            let sums = row[2..].iter().map(|sum| canonical(sum.as_str().unwrap_or_default())).collect();
            (row[0].as_str().unwrap_or_default().to_owned(), Sums { rows: number(&row[1]), sums })
        });
        Self {
            rows: number(&counts[0][0]),
            positions: number(&counts[0][1]),
            raw_rows: number(&raw[0][0]),
            raw_positions: number(&raw[0][1]),
            disordered: number(&disordered[0][0]),
            by_key: by_key.collect(),
        }
    }
}

/// Returns the question how many rows and how many positions there are.
fn counts(table: &str) -> String {
    format!("select count(*), count(distinct (_kafka_partition, _kafka_offset)) from {table}")
}

/// Returns the four questions, in words that both engines know.
fn statements(dataset: &Dataset, processed: &str, raw: &str) -> [String; 4] {
    let (key, time) = (dataset.key, dataset.event_time);
    let sums: String = dataset.summed.iter().flat_map(|column| [", cast(sum(", column, ") as varchar)"]).collect();
    [
        counts(processed),
        counts(raw),
        format!(
            "select count(*) from (select {time}, lag({time}) over (partition by {key} order by _kafka_partition, _kafka_offset) as earlier from {processed}) as pairs where earlier > {time}"
        ),
        format!("select {key}, count(*){sums} from {processed} group by 1"),
    ]
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no count"))
}
