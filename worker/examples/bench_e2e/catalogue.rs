//! The Glue table of a run, made as the operator makes it.

use anyhow::{Context, anyhow};
use aws_sdk_glue::Client;
use aws_sdk_glue::types::{Column, DatabaseInput, SerDeInfo, StorageDescriptor, TableInput};
use serde_json::Value;
use stockpipeline::Pipeline;
use stockpipeline::check::UnknownFields;
use stockpipeline::document::Document;
use stockpipeline::table::Table;
use tokio::runtime::Runtime;

use crate::bucket::{BUCKET, REGION};

/// Database of all runs.
pub(crate) const DATABASE: &str = "bench_e2e";

/// The catalogue's client.
pub(crate) struct Catalogue {
    client: Client,
    runtime: Runtime,
}

impl Catalogue {
    /// Connects with the environment's credentials, and makes the database where it is missing.
    pub(crate) fn connect(endpoint: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client = runtime.block_on(async {
            let region = aws_config::Region::new(REGION);
            let config = aws_config::defaults(aws_config::BehaviorVersion::latest()).region(region).endpoint_url(endpoint).load().await;
            Client::new(&config)
        });
        let catalogue = Self { client, runtime };
        let database = DatabaseInput::builder().name(DATABASE).build()?;
        if catalogue.runtime.block_on(catalogue.client.get_database().name(DATABASE).send()).is_err() {
            let creation = catalogue.client.create_database().database_input(database).send();
            catalogue.runtime.block_on(creation).context("failed to make the database")?;
        }
        Ok(catalogue)
    }

    /// Makes the processed zone's table of a document, under a name.
    pub(crate) fn create(&self, name: &str, document: &Value) -> anyhow::Result<()> {
        let document = Document::new("bench", None, document["spec"].clone());
        let (pipeline, _warnings) = Pipeline::check(&document, UnknownFields::Error)
            .map_err(|errors| anyhow!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
        let rules = pipeline.sink.rules(&pipeline.kafka.topic.name, &pipeline.schema);
        let table = rules.processed_table(BUCKET).context("there is no processed zone")?;
        let creation = self.client.create_table().database_name(DATABASE).table_input(input(name, &table)?);
        self.runtime.block_on(creation.send()).with_context(|| format!("failed to make the table {name}"))?;
        Ok(())
    }

    /// Removes a table; its objects stay.
    pub(crate) fn delete(&self, name: &str) -> anyhow::Result<()> {
        let deletion = self.client.delete_table().database_name(DATABASE).name(name);
        self.runtime.block_on(deletion.send()).with_context(|| format!("failed to delete the table {name}"))?;
        Ok(())
    }
}

fn input(name: &str, table: &Table) -> anyhow::Result<TableInput> {
    let column = |name: &str, kind: &str| Ok::<_, anyhow::Error>(Column::builder().name(name).r#type(kind).build()?);
    let columns = table.columns.iter().map(|of| column(&of.name, &of.glue_type)).collect::<Result<Vec<_>, _>>()?;
    let keys = table.partition_keys.iter().map(|key| column(key, "string")).collect::<Result<Vec<_>, _>>()?;
    let serde = SerDeInfo::builder()
        .serialization_library(table.format.serde())
        .set_parameters(Some(table.serde_properties.clone().into_iter().collect()))
        .build();
    let descriptor = StorageDescriptor::builder()
        .set_columns(Some(columns))
        .location(&table.location)
        .input_format(table.format.input_format())
        .output_format(table.format.output_format())
        .serde_info(serde)
        .build();
    let builder = TableInput::builder().name(name).table_type("EXTERNAL_TABLE").set_partition_keys(Some(keys));
    Ok(builder.storage_descriptor(descriptor).set_parameters(Some(table.properties.clone().into_iter().collect())).build()?)
}
