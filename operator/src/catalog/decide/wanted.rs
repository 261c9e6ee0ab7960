//! Everything that a pipeline wants of Glue and Athena, as one value.

use std::collections::BTreeMap;

use serde::Serialize;
use stockpipeline::Pipeline;
use stockpipeline::document::GROUP;

use super::{Owner, Policy, WantedTable, Zone, tables};
use crate::hash;
use crate::resource::identity::Identity;

/// Characters of a description that Glue and Athena take.
const MAX_DESCRIPTION: usize = 1_024;
/// Characters of a crawler's name that Glue takes.
const MAX_CRAWLER_NAME: usize = 255;

/// Everything that a pipeline wants of Glue and Athena.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedCatalogue {
    /// Who the tables belong to.
    pub owner: Owner,
    /// Namespace of the pipeline: what the operator may do for it depends on that.
    pub namespace: String,
    /// Where Glue and Athena are, and as whom they are called.
    pub place: Place,
    /// Tags of what is made.
    pub tags: BTreeMap<String, String>,
    /// The database.
    pub database: WantedDatabase,
    /// The tables.
    pub tables: Vec<WantedTable>,
    /// What may be done to them.
    pub policy: Policy,
    /// Whether the sinks register partitions, so that registered ones follow the table.
    pub registers_partitions: bool,
    /// Name of the pipeline's crawler, whether there should be one or not.
    pub crawler_name: String,
    /// The crawler, where there should be one.
    pub crawler: Option<WantedCrawler>,
    /// The Athena objects.
    pub athena: Option<WantedAthena>,
}

/// Where Glue and Athena are, and as whom they are called.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// AWS region.
    pub region: String,
    /// Endpoint of Glue; AWS's own without it.
    pub glue_endpoint: Option<String>,
    /// Endpoint of Athena; AWS's own without it.
    pub athena_endpoint: Option<String>,
    /// Endpoint of STS, where a role is taken; AWS's own without it.
    pub sts_endpoint: Option<String>,
    /// Role that is taken; the operator's own without it.
    pub role_arn: Option<String>,
    /// Catalogue (account); that of the credentials without it.
    pub catalog_id: Option<String>,
}

/// The database as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WantedDatabase {
    /// Name.
    pub name: String,
    /// Whether it is made if it is missing.
    pub create: bool,
}

/// A crawler that changes nothing: it only says what it would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WantedCrawler {
    /// Name.
    pub name: String,
    /// Role that it runs as.
    pub role_arn: String,
    /// When it runs; on demand without it.
    pub schedule: Option<String>,
    /// Database of the tables.
    pub database: String,
    /// The tables that it looks at.
    pub tables: Vec<String>,
    /// Description, which carries the owner's mark.
    pub description: String,
}

/// The Athena objects as they should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WantedAthena {
    /// The workgroup.
    pub workgroup: WantedWorkgroup,
    /// Database of the queries and views.
    pub database: String,
    /// The saved queries.
    pub queries: Vec<WantedQuery>,
    /// The views.
    pub views: Vec<WantedView>,
}

impl WantedAthena {
    /// Returns the hash of workgroup and saved queries.
    #[must_use]
    pub fn hash(&self) -> String {
        hash::short(&format!("{:?}", (&self.workgroup, &self.database, &self.queries)))
    }
}

/// The workgroup as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WantedWorkgroup {
    /// Name.
    pub name: String,
    /// Whether it is made if it is missing.
    pub create: bool,
    /// Where query results go.
    pub output_location: Option<String>,
    /// Bytes that one query may scan.
    pub bytes_scanned_cutoff: Option<i64>,
    /// Description, which carries the owner's mark.
    pub description: String,
}

/// A saved query as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WantedQuery {
    /// Name.
    pub name: String,
    /// Description, which carries the owner's mark: names are not unique and saved queries have no tags.
    pub description: String,
    /// The query.
    pub sql: String,
}

/// A view as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WantedView {
    /// Name.
    pub name: String,
    /// The statement that makes it.
    pub statement: String,
    /// Hash of the statement.
    pub hash: String,
}

impl WantedCatalogue {
    /// Returns what a pipeline wants of Glue and Athena; None without a catalogue. `cluster` tells clusters apart that share an account.
    #[must_use]
    pub fn of(identity: &Identity, pipeline: &Pipeline, generation: i64, cluster: &str) -> Option<Self> {
        let (names, settings) = (pipeline.glue.as_ref()?, pipeline.operations.glue.as_ref()?);
        let control_plane = &pipeline.operations.control_plane;
        let owner = Owner::of(cluster, identity);
        let tables = tables(pipeline, &owner, generation);
        let crawler_name = crawler_name(&owner);
        Some(Self {
            namespace: identity.namespace.clone(),
            place: Place {
                region: pipeline.aws.region.clone(),
                glue_endpoint: control_plane.glue_endpoint.clone(),
                athena_endpoint: control_plane.athena_endpoint.clone(),
                sts_endpoint: pipeline.aws.sts_endpoint.clone().filter(|_| control_plane.role_arn.is_some()),
                role_arn: control_plane.role_arn.clone(),
                catalog_id: settings.catalog_id.clone(),
            },
            tags: control_plane.tags.clone(),
            database: WantedDatabase { name: names.database.clone(), create: settings.create_database },
            policy: Policy::of(settings, pipeline.operations.unrestricted_evolution),
            registers_partitions: settings.partitions == stockpipeline::operations::PartitionMode::Registered,
            crawler: settings.crawler.as_ref().map(|crawler| WantedCrawler {
                name: crawler_name.clone(),
                role_arn: crawler.role_arn.clone(),
                schedule: crawler.schedule.clone(),
                database: names.database.clone(),
                tables: tables.iter().map(|table| table.input.name.clone()).collect(),
                description: owner.describe(Some("compares what is stored with the declared tables and changes neither")),
            }),
            crawler_name,
            athena: pipeline.operations.athena.as_ref().map(|athena| WantedAthena {
                workgroup: WantedWorkgroup {
                    name: athena.workgroup.clone(),
                    create: athena.create_workgroup,
                    output_location: athena.output_location.clone(),
                    bytes_scanned_cutoff: athena.bytes_scanned_cutoff.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
                    description: owner.describe(None),
                },
                database: names.database.clone(),
                queries: athena
                    .named_queries
                    .iter()
                    .map(|query| WantedQuery {
                        name: query.name.clone(),
                        description: owner.describe(query.description.as_deref()),
                        sql: query.sql.clone(),
                    })
                    .collect(),
                views: athena.views.iter().map(|(name, sql)| WantedView::of(name, sql)).collect(),
            }),
            tables,
            owner,
        })
    }

    /// Returns database and name of the processed zone's table.
    #[must_use]
    pub fn processed_table(&self) -> String {
        let table = self.tables.iter().find(|table| table.zone == Zone::Processed).map_or("", |table| table.input.name.as_str());
        format!("{}.{table}", self.database.name)
    }
}

impl WantedView {
    /// The name is one that the check has let through; it is quoted nevertheless. The select statement is the user's own, and Athena takes
    /// one statement at a time.
    fn of(name: &str, sql: &str) -> Self {
        let select = sql.trim().trim_end_matches(';').trim_end();
        let statement = format!("CREATE OR REPLACE VIEW {} AS\n{select}", quoted(name));
        Self { name: name.to_owned(), hash: hash::short(&statement), statement }
    }
}

/// Returns a name as an SQL identifier.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Owner {
    /// Returns the mark of things that have a description and no parameters.
    #[must_use]
    pub fn mark(&self) -> String {
        format!("({GROUP}/owner: {})", self.text())
    }

    /// Returns a description that ends in the mark, within what AWS takes.
    #[must_use]
    pub fn describe(&self, text: Option<&str>) -> String {
        let mark = self.mark();
        let Some(text) = text else { return mark };
        let room = MAX_DESCRIPTION.saturating_sub(mark.chars().count() + 1);
        format!("{} {mark}", text.chars().take(room).collect::<String>())
    }

    /// Returns whether a description ends in the mark.
    #[must_use]
    pub fn has_described(&self, description: Option<&str>) -> bool {
        description.is_some_and(|text| text.ends_with(&self.mark()))
    }
}

/// Returns the account that stands in a role's ARN.
pub(crate) fn account_of(role_arn: &str) -> Option<&str> {
    role_arn.split(':').nth(4).filter(|account| !account.is_empty())
}

/// Returns a name that no other pipeline's crawler has.
fn crawler_name(owner: &Owner) -> String {
    let name = format!("stockpipeline-{}", owner.text().replace('/', "-"));
    // `a/b-c` and `a-b/c` would be one name, and a long one would be cut.
    let tail = format!("-{}", hash::short(owner.text()));
    format!("{}{tail}", name.chars().take(MAX_CRAWLER_NAME - tail.len()).collect::<String>())
}
