//! In which fields a table differs from what is wanted, once both are written the same way.
//!
//! Glue and other tools write types, locations and flags in their own ways; none of those is a difference. Parameters that no pipeline
//! owns are none either.

use std::collections::BTreeMap;
use std::fmt;

use stockpipeline::document::GROUP;

use super::{Column, TableInput, generation_mark, is_progress};
use crate::hash;

/// Start of the names of table parameters that only pipelines set: what is left over of them is a difference.
const OWNED_PARAMETERS: [&str; 2] = ["projection.", GROUP];
/// Start of the names of the JSON reader's parameters that only pipelines set.
const OWNED_SERDE_PARAMETERS: [&str; 1] = ["mapping."];

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which field, such as `columns.volume.type`.
    pub field: String,
    /// What stands there; None where nothing does.
    pub found: Option<String>,
    /// What should stand there; None where nothing should.
    pub wanted: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(formatter, "{}: {} instead of {}", self.field, show(&self.found), show(&self.wanted))
    }
}

impl Change {
    /// Returns whether the change is about columns or partition keys, comments and order included.
    #[must_use]
    pub fn is_of_schema(&self) -> bool {
        ["columns", "partitionKeys"]
            .iter()
            .any(|list| self.field.strip_prefix(list).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
    }

    /// Returns whether rows that were written before may no longer be read as they were: a column is gone or of another type.
    #[must_use]
    pub fn is_breaking(&self) -> bool {
        let comment = self.field.ends_with(".comment") && self.field.matches('.').count() > 1;
        let order = self.field == "columns";
        self.is_of_schema() && self.found.is_some() && !comment && !order || self.field.starts_with("partitionKeys")
    }
}

/// Returns every field in which a table differs from what is wanted. The generation alone is none: it is only written beside another.
#[must_use]
pub fn differences(wanted: &TableInput, found: &TableInput) -> Vec<Change> {
    let mut changes = Vec::new();
    compare_columns("columns", &wanted.columns, &found.columns, &mut changes);
    compare_columns("partitionKeys", &wanted.partition_keys, &found.partition_keys, &mut changes);
    let without_slash = |location: &str| location.trim_end_matches('/').to_owned();
    let texts = [
        ("tableType", &wanted.table_type, &found.table_type),
        ("location", &without_slash(&wanted.location), &without_slash(&found.location)),
        ("inputFormat", &wanted.input_format, &found.input_format),
        ("outputFormat", &wanted.output_format, &found.output_format),
        ("serdeLibrary", &wanted.serde_library, &found.serde_library),
    ];
    for (field, wanted, found) in texts.into_iter().filter(|(_, wanted, found)| wanted != found) {
        let found = Some(found.clone()).filter(|text| !text.is_empty());
        changes.push(Change { field: field.to_owned(), found, wanted: Some(wanted.clone()) });
    }
    compare_maps("serdeParameters", &wanted.serde_parameters, &found.serde_parameters, &OWNED_SERDE_PARAMETERS, &mut changes);
    compare_maps("parameters", &wanted.parameters, &found.parameters, &OWNED_PARAMETERS, &mut changes);
    changes
}

/// Returns what Glue should be given: every owned field as wanted, every foreign parameter as found.
/// How far partitions and indexes have followed is a fact of the table, so it stays, too.
pub(super) fn merge(wanted: &TableInput, found: &TableInput) -> TableInput {
    let mut parameters = merge_maps(&wanted.parameters, &found.parameters, &OWNED_PARAMETERS);
    let progress = found.parameters.iter().filter(|(name, _)| is_progress(name));
    parameters.extend(progress.map(|(name, hash)| (name.clone(), hash.clone())));
    TableInput {
        serde_parameters: merge_maps(&wanted.serde_parameters, &found.serde_parameters, &OWNED_SERDE_PARAMETERS),
        parameters,
        ..wanted.clone()
    }
}

/// Returns the hash of what a partition's descriptor has in common with its table's: columns without their comments, formats and reader.
#[must_use]
pub fn descriptor_hash(table: &TableInput) -> String {
    let columns: Vec<(&str, String)> = table.columns.iter().map(|column| (column.name.as_str(), normal_type(&column.glue_type))).collect();
    let TableInput { input_format, output_format, serde_library, serde_parameters, .. } = table;
    hash::short(&format!("{columns:?} {input_format} {output_format} {serde_library} {serde_parameters:?}"))
}

fn merge_maps(wanted: &BTreeMap<String, String>, found: &BTreeMap<String, String>, owned: &[&str]) -> BTreeMap<String, String> {
    let foreign = found.iter().filter(|(name, _)| !is_owned(name, owned));
    foreign.chain(wanted).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_owned(name: &str, owned: &[&str]) -> bool {
    owned.iter().any(|start| name.starts_with(start))
}

fn compare_columns(list: &str, wanted: &[Column], found: &[Column], changes: &mut Vec<Change>) {
    for column in wanted {
        let field = format!("{list}.{}", column.name);
        match found.iter().find(|other| other.name == column.name) {
            None => changes.push(Change { field, found: None, wanted: Some(column.glue_type.clone()) }),
            Some(other) => compare_column(&field, column, other, changes),
        }
    }
    let surplus: Vec<&Column> = found.iter().filter(|other| !wanted.iter().any(|column| column.name == other.name)).collect();
    for other in &surplus {
        changes.push(Change { field: format!("{list}.{}", other.name), found: Some(other.glue_type.clone()), wanted: None });
    }
    // Order is told only where the rest is the same: otherwise it follows.
    let names = |columns: &[Column]| columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    let (wanted_names, found_names) = (names(wanted), names(found));
    if surplus.is_empty() && wanted.len() == found.len() && wanted_names != found_names {
        let same = wanted.iter().all(|column| found.iter().any(|other| other.name == column.name));
        if same {
            changes.push(Change { field: list.to_owned(), found: Some(found_names), wanted: Some(wanted_names) });
        }
    }
}

fn compare_column(field: &str, wanted: &Column, found: &Column, changes: &mut Vec<Change>) {
    if normal_type(&wanted.glue_type) != normal_type(&found.glue_type) {
        let (found, wanted) = (Some(found.glue_type.clone()), Some(wanted.glue_type.clone()));
        changes.push(Change { field: format!("{field}.type"), found, wanted });
    }
    let comment = |column: &Column| column.comment.clone().filter(|text| !text.is_empty());
    // A partition key's comment is nobody's but its writer's.
    let owned = field.starts_with("columns.");
    if owned && comment(wanted) != comment(found) {
        changes.push(Change { field: format!("{field}.comment"), found: comment(found), wanted: comment(wanted) });
    }
}

fn compare_maps(
    field: &str,
    wanted: &BTreeMap<String, String>,
    found: &BTreeMap<String, String>,
    owned: &[&str],
    changes: &mut Vec<Change>,
) {
    for (name, value) in wanted.iter().filter(|(name, _)| **name != generation_mark()) {
        let other = found.get(name);
        // Hive writes TRUE, others true.
        if !other.is_some_and(|other| other == value || (name == "EXTERNAL" && other.eq_ignore_ascii_case(value))) {
            changes.push(Change { field: format!("{field}.{name}"), found: other.cloned(), wanted: Some(value.clone()) });
        }
    }
    let left_over = |name: &&String| is_owned(name, owned) && !wanted.contains_key(*name) && !is_progress(name);
    for (name, value) in found.iter().filter(|(name, _)| left_over(name)) {
        changes.push(Change { field: format!("{field}.{name}"), found: Some(value.clone()), wanted: None });
    }
}

/// `decimal(18, 6)` and `DECIMAL(18,6)` are one type.
fn normal_type(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_whitespace()).flat_map(char::to_lowercase).collect()
}
