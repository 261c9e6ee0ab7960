//! Glue's tables to and from the fields that pipelines own. Everything else of a table is given back as it was found.

use aws_sdk_glue::error::BuildError;
use aws_sdk_glue::types::{self, SerDeInfo, StorageDescriptor, Table};

use super::{hash_map, tree_map};
use crate::catalog::decide::{Column, FoundTable, TableInput};

/// What Glue calls a view.
const VIEW_TYPE: &str = "VIRTUAL_VIEW";

/// A table or view as Glue has it.
#[derive(Debug, Clone, PartialEq)]
pub struct GlueTable {
    /// The fields that pipelines own, with the version.
    pub found: FoundTable,
    table: Table,
}

impl GlueTable {
    pub(super) fn new(table: Table) -> Self {
        let descriptor = table.storage_descriptor();
        let serde = descriptor.and_then(StorageDescriptor::serde_info);
        let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
        let input = TableInput {
            name: table.name().to_owned(),
            table_type: text(table.table_type()),
            columns: descriptor.map(|descriptor| descriptor.columns().iter().map(column).collect()).unwrap_or_default(),
            partition_keys: table.partition_keys().iter().map(column).collect(),
            location: text(descriptor.and_then(StorageDescriptor::location)),
            input_format: text(descriptor.and_then(StorageDescriptor::input_format)),
            output_format: text(descriptor.and_then(StorageDescriptor::output_format)),
            serde_library: text(serde.and_then(SerDeInfo::serialization_library)),
            serde_parameters: tree_map(serde.and_then(SerDeInfo::parameters)),
            parameters: tree_map(table.parameters()),
        };
        Self { found: FoundTable { input, version: table.version_id().map(str::to_owned) }, table }
    }

    pub(super) fn version(&self) -> Option<String> {
        self.found.version.clone()
    }

    /// Returns whether this is a view.
    #[must_use]
    pub fn is_view(&self) -> bool {
        self.table.table_type() == Some(VIEW_TYPE)
    }

    /// Returns a parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.found.input.parameters.get(name).map(String::as_str)
    }

    /// Returns the table as Glue takes it: the fields of `input`, and everything else as it is.
    pub(super) fn with(&self, input: &TableInput) -> Result<types::TableInput, BuildError> {
        let table = &self.table;
        let descriptor = with_descriptor(table.storage_descriptor(), input)?;
        types::TableInput::builder()
            .name(&input.name)
            .set_description(table.description.clone())
            .set_owner(table.owner.clone())
            .set_last_access_time(table.last_access_time)
            .set_last_analyzed_time(table.last_analyzed_time)
            .retention(table.retention)
            .storage_descriptor(descriptor)
            .set_partition_keys(Some(columns(&input.partition_keys, table.partition_keys())?))
            .set_view_original_text(table.view_original_text.clone())
            .set_view_expanded_text(table.view_expanded_text.clone())
            .table_type(&input.table_type)
            .set_parameters(Some(hash_map(&input.parameters)))
            .set_target_table(table.target_table.clone())
            .build()
    }
}

/// Returns a table that nothing is known of before.
pub(super) fn new_input(input: &TableInput) -> Result<types::TableInput, BuildError> {
    types::TableInput::builder()
        .name(&input.name)
        .storage_descriptor(with_descriptor(None, input)?)
        .set_partition_keys(Some(columns(&input.partition_keys, &[])?))
        .table_type(&input.table_type)
        .set_parameters(Some(hash_map(&input.parameters)))
        .build()
}

/// Returns a descriptor with the table's columns, formats and reader, and everything else as it was: what `input` has no text for, too, since
/// Glue takes no empty one, and a view has neither format nor reader. A reference to a schema registry is dropped: Glue takes either columns
/// or that.
pub(super) fn with_descriptor(found: Option<&StorageDescriptor>, input: &TableInput) -> Result<StorageDescriptor, BuildError> {
    let mut descriptor = found.cloned().unwrap_or_else(|| StorageDescriptor::builder().build());
    let known = descriptor.columns.take().unwrap_or_default();
    descriptor.columns = Some(columns(&input.columns, &known)?);
    set(&mut descriptor.location, &input.location);
    set(&mut descriptor.input_format, &input.input_format);
    set(&mut descriptor.output_format, &input.output_format);
    let mut serde = descriptor.serde_info.take().unwrap_or_else(|| SerDeInfo::builder().build());
    set(&mut serde.serialization_library, &input.serde_library);
    serde.parameters = Some(hash_map(&input.serde_parameters));
    descriptor.serde_info = Some(serde);
    descriptor.schema_reference = None;
    Ok(descriptor)
}

fn set(member: &mut Option<String>, text: &str) {
    if !text.is_empty() {
        *member = Some(text.to_owned());
    }
}

pub(super) fn column(column: &types::Column) -> Column {
    Column {
        name: column.name().to_owned(),
        glue_type: column.r#type().unwrap_or_default().to_owned(),
        comment: column.comment().map(str::to_owned),
    }
}

/// Others' parameters of a column stay with the column of that name.
fn columns(wanted: &[Column], found: &[types::Column]) -> Result<Vec<types::Column>, BuildError> {
    let mut columns = Vec::with_capacity(wanted.len());
    for column in wanted {
        let known = found.iter().find(|known| known.name() == column.name);
        columns.push(
            types::Column::builder()
                .name(&column.name)
                .r#type(&column.glue_type)
                .set_comment(column.comment.clone())
                .set_parameters(known.and_then(|known| known.parameters.clone()))
                .build()?,
        );
    }
    Ok(columns)
}
