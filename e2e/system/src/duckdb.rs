//! DuckDB over the stored objects alone: no catalogue, no code of ours.

use std::path::Path;

use serde_json::Value;

use crate::program::must;

/// Reads the zones of a folder as views `processed`, `raw` and `dlq`, and prints each statement's rows as JSON.
const SCRIPT: &str = r#"
import duckdb, glob, json, sys
folder, statements = sys.argv[1], json.loads(sys.stdin.read())
db = duckdb.connect()
for zone in ("processed", "raw", "dlq"):
    parquet = f"{folder}/{zone}/**/*.parquet"
    if glob.glob(parquet, recursive=True):
        db.sql(f"create view {zone} as select * from read_parquet('{parquet}', hive_partitioning = true, hive_types_autocast = false, union_by_name = true)")
        continue
    lines = [f"{folder}/{zone}/**/*.{end}" for end in ("jsonl", "jsonl.gz", "jsonl.zst", "json", "json.gz", "json.zst")]
    lines = [pattern for pattern in lines if glob.glob(pattern, recursive=True)]
    if lines:
        db.sql(f"create view {zone} as select * from read_json({lines}, format = 'newline_delimited', hive_partitioning = true, hive_types_autocast = false, union_by_name = true, sample_size = -1)")
print(json.dumps([db.sql(sql).fetchall() for sql in statements], default=str))
"#;

/// Returns the rows of each statement over the zones that a folder holds.
///
/// # Panics
/// When DuckDB refuses a statement.
pub async fn query(python: &Path, folder: &Path, statements: &[&str]) -> Vec<Vec<Vec<Value>>> {
    let folder = folder.display().to_string();
    let input = serde_json::to_string(statements).expect("texts are JSON");
    let said = must(python, &["-c", SCRIPT, &folder], &input).await;
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("DuckDB said {said:?}: {error}"))
}
