//! Glue and Athena.

use super::findings::Findings;
use super::{suggest, time, unsigned};
use crate::checked;
use crate::operations::{AdoptionPolicy, Athena, Crawler, GlueSettings, NamedQuery, PartitionMode};
use crate::spec::{PipelineSpec, athena, glue};

/// The catalogue's parts of a pipeline.
pub(crate) struct Catalog {
    pub(crate) names: Option<checked::Glue>,
    pub(crate) settings: Option<GlueSettings>,
    pub(crate) athena: Option<Athena>,
}

/// Checks everything under `glue` and `athena`.
pub(crate) fn check(spec: &PipelineSpec, name: &str, findings: &mut Findings) -> Catalog {
    if spec.athena.is_some() && spec.glue.is_none() {
        findings.broken("spec.athena", "needs a database to query", "add glue with a database");
    }
    let names = spec.glue.as_ref().map(|glue| table_names(glue, name, spec.sink.raw.is_some(), findings));
    if let (Some(athena), Some(names)) = (&spec.athena, &names) {
        check_views(athena, names, findings);
    }
    Catalog {
        names,
        settings: spec.glue.as_ref().map(|glue| settings(glue, spec, findings)),
        athena: spec.athena.as_ref().map(|athena| convert_athena(athena, findings)),
    }
}

fn table_names(glue: &glue::Glue, name: &str, has_raw: bool, findings: &mut Findings) -> checked::Glue {
    let processed = glue.tables.processed.clone().unwrap_or_else(|| identifier(name));
    let raw = glue.tables.raw.clone().unwrap_or_else(|| format!("{processed}_raw"));
    let dead_letters = glue.tables.dlq.clone().unwrap_or_else(|| format!("{processed}_dlq"));
    if glue.tables.raw.is_some() && !has_raw {
        findings.broken("spec.glue.tables.raw", "names a table of a zone that is off", "remove it, or add sink.raw");
    }
    let tables = [("processed", &processed), ("raw", &raw), ("dlq", &dead_letters)];
    for (index, (field, table)) in tables.iter().enumerate() {
        if let Some((other, _)) = tables.iter().take(index).find(|(_, earlier)| earlier == table) {
            findings.wrong(
                &format!("spec.glue.tables.{field}"),
                table.as_str(),
                &format!("is the name of the {other} table"),
                "use another name",
            );
        }
    }
    checked::Glue {
        database: glue.database.name.clone(),
        processed_table: processed,
        raw_table: if has_raw { Some(raw) } else { None },
        dead_letters_table: Some(dead_letters),
    }
}

/// A resource's name as an SQL identifier; one that starts with a digit gets `_` in front.
fn identifier(name: &str) -> String {
    let plain = name.replace('-', "_");
    if plain.starts_with(|first: char| first.is_ascii_digit()) { format!("_{plain}") } else { plain }
}

fn check_views(athena: &athena::Athena, names: &checked::Glue, findings: &mut Findings) {
    let tables = [Some(&names.processed_table), names.raw_table.as_ref(), names.dead_letters_table.as_ref()];
    for (index, view) in athena.views.iter().enumerate() {
        if tables.contains(&Some(&view.name)) {
            findings.wrong(&format!("spec.athena.views[{index}].name"), view.name.as_str(), "is the name of a table", "use another name");
        }
    }
}

fn settings(glue: &glue::Glue, spec: &PipelineSpec, findings: &mut Findings) -> GlueSettings {
    check_indexes(&glue.partitions.indexes, spec, findings);
    GlueSettings {
        catalog_id: glue.catalog_id.clone(),
        create_database: glue.database.create,
        partitions: partition_mode(&glue.partitions, spec, findings),
        indexes: glue.partitions.indexes.clone(),
        correct_drift: glue.drift_policy == glue::DriftPolicy::Correct,
        adoption: match glue.adoption_policy {
            glue::AdoptionPolicy::FailIfExists => AdoptionPolicy::FailIfExists,
            glue::AdoptionPolicy::Adopt => AdoptionPolicy::Adopt,
            glue::AdoptionPolicy::Observe => AdoptionPolicy::Observe,
        },
        crawler: glue.crawler.as_ref().filter(|crawler| crawler.enabled).and_then(|crawler| {
            if crawler.role_arn.is_none() {
                findings.broken("spec.glue.crawler.roleArn", "is required for an enabled crawler", "add the role that it runs as");
            }
            crawler.role_arn.clone().map(|role_arn| Crawler { role_arn, schedule: crawler.schedule.clone() })
        }),
    }
}

fn check_indexes(indexes: &[Vec<String>], spec: &PipelineSpec, findings: &mut Findings) {
    let partitions: Vec<&str> = spec.sink.processed.partition_by.iter().map(|field| field.name.as_str()).collect();
    for (index, names) in indexes.iter().enumerate() {
        for (place, name) in names.iter().enumerate() {
            let path = format!("spec.glue.partitions.indexes[{index}][{place}]");
            if !partitions.contains(&name.as_str()) {
                let remedy = suggest::remedy(name, partitions.iter().copied());
                findings.wrong(&path, name.as_str(), "is no partition of sink.processed.partitionBy", &remedy);
            } else if names.iter().take(place).any(|earlier| earlier == name) {
                findings.wrong(&path, name.as_str(), "stands in this index already", "remove it");
            }
        }
    }
}

fn partition_mode(partitions: &glue::Partitions, spec: &PipelineSpec, findings: &mut Findings) -> PartitionMode {
    let path = "spec.glue.partitions.projectionStart";
    if let Some(start) = &partitions.projection_start {
        time::day(findings, path, start);
    }
    match partitions.mode {
        glue::PartitionMode::Registered => PartitionMode::Registered,
        glue::PartitionMode::Projection => {
            let dated = spec.sink.processed.partition_by.iter().any(|field| matches!(field.transform.as_str(), "year" | "month" | "day"));
            if dated && partitions.projection_start.is_none() {
                findings.broken(path, "is required for Projection over years, months or days", "add the first day, such as 2020-01-01");
            }
            PartitionMode::Projection { start: partitions.projection_start.clone() }
        }
    }
}

fn convert_athena(athena: &athena::Athena, findings: &mut Findings) -> Athena {
    let statements = athena.named_queries.iter().map(|query| ("namedQueries", &query.sql)).enumerate();
    for (index, (list, sql)) in statements.chain(athena.views.iter().map(|view| ("views", &view.sql)).enumerate()) {
        if sql.trim().is_empty() || sql.contains('\0') {
            findings.broken(&format!("spec.athena.{list}[{index}].sql"), "is empty or holds a NUL", "write the statement");
        }
    }
    Athena {
        workgroup: athena.workgroup.name.clone(),
        create_workgroup: athena.workgroup.create,
        output_location: athena.workgroup.output_location.clone(),
        bytes_scanned_cutoff: athena.workgroup.bytes_scanned_cutoff.map(unsigned),
        named_queries: athena
            .named_queries
            .iter()
            .map(|query| NamedQuery { name: query.name.clone(), description: query.description.clone(), sql: query.sql.clone() })
            .collect(),
        views: athena.views.iter().map(|view| (view.name.clone(), view.sql.clone())).collect(),
    }
}
