//! One pipeline, its status, and a catalogue over an endpoint in this process.

use std::collections::{BTreeMap, BTreeSet};

use aws_credential_types::Credentials;
use serde_json::Value;
use stockpipeline::check::UnknownFields;
use stockpipeline::operations::DeletionPolicy;
use stockpipeline::{Pipeline, document};
use stockpipeline_operator::catalog::converge::{CatalogError, Catalogue, Options};
use stockpipeline_operator::catalog::decide::{CatalogReport, CatalogState, Mode, Removal, WantedCatalogue};
use stockpipeline_operator::metrics::Metrics;
use stockpipeline_operator::resource::crd::report::StockPipelineStatus;
use stockpipeline_operator::resource::identity::Identity;
use stockpipeline_operator::settings::Settings;

use crate::aws_endpoint::AwsEndpoint;

const FULL: &str = include_str!("../../../../pipeline/tests/fixtures/full.yaml");
/// Role of the fixture's crawler.
const CRAWLER_ROLE: &str = "arn:aws:iam::111122223333:role/crawler";
/// Looks after which nothing may be left to do.
const MOST_LOOKS: usize = 12;

/// One pipeline in front of an endpoint.
pub(super) struct Stage {
    pub(super) aws: AwsEndpoint,
    pub(super) text: String,
    pub(super) generation: i64,
    pub(super) status: StockPipelineStatus,
    pub(super) settings: Settings,
    pub(super) metrics: Metrics,
    catalogue: Catalogue,
}

impl Stage {
    /// Starts with nothing in Glue and Athena.
    pub(super) async fn new() -> Self {
        let aws = AwsEndpoint::start().await;
        let comment = "# endpoints: { s3: http://minio:9000, glue: http://moto:5555, athena: http://moto:5555, sts: http://moto:5555 }";
        let endpoints = format!("endpoints: {{ glue: \"{0}\", athena: \"{0}\", sts: \"{0}\" }}", aws.url);
        let text = FULL.replacen(comment, &endpoints, 1);
        let mut settings = Settings::new("image", "operator");
        settings.grants.endpoints = BTreeSet::from([aws.url.clone()]);
        settings.grants.roles = BTreeMap::from([("market-data".to_owned(), BTreeSet::from([CRAWLER_ROLE.to_owned()]))]);
        settings.grants.adoptions = BTreeMap::from([("market-data".to_owned(), BTreeSet::from(["market_data".to_owned()]))]);
        let metrics = Metrics::default();
        let catalogue = catalogue(&settings, &metrics);
        Self { aws, text, generation: 1, status: StockPipelineStatus::default(), settings, metrics, catalogue }
    }

    /// Starts with everything as declared, and no calls counted.
    pub(super) async fn settled() -> Self {
        let mut stage = Self::new().await;
        stage.settle().await;
        stage
    }

    /// Looks until nothing waits any more.
    pub(super) async fn settle(&mut self) -> CatalogReport {
        for _ in 0..MOST_LOOKS {
            let report = self.look().await;
            if report.retry.is_none() && report.changes.is_empty() {
                self.aws.forget_calls();
                return report;
            }
        }
        panic!("it does not settle: {:?}", self.look().await);
    }

    /// Replaces the process: nothing but the status is remembered.
    pub(super) fn restart(&mut self) {
        self.catalogue = catalogue(&self.settings, &self.metrics);
    }

    /// Changes the spec.
    pub(super) fn edit(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "{from}");
        self.text = self.text.replacen(from, to, 1);
        self.generation += 1;
    }

    pub(super) fn pipeline(&self) -> Pipeline {
        let document = document::read(&self.text).unwrap().remove(0);
        Pipeline::check(&document, UnknownFields::Error).unwrap().0
    }

    pub(super) fn wanted(&self) -> WantedCatalogue {
        let identity = Identity { name: "us-equities".to_owned(), namespace: "market-data".to_owned(), uid: "u".to_owned() };
        WantedCatalogue::of(&identity, &self.pipeline(), self.generation, "").unwrap()
    }

    /// Looks once and remembers what the status has to.
    pub(super) async fn look(&mut self) -> CatalogReport {
        let report = self.dry_or_not(Mode::Apply).await;
        self.remember(&report);
        report
    }

    /// Writes the status.
    pub(super) fn remember(&mut self, report: &CatalogReport) {
        self.status.glue = Some(report.glue_status(&self.wanted(), self.status.glue.as_ref()));
        self.status.athena.clone_from(&report.athena);
    }

    /// Returns what the status remembers.
    pub(super) fn seen(&self) -> CatalogState {
        CatalogState::of(Some(&self.status))
    }

    /// Returns the catalogue of another process.
    pub(super) fn another(&self) -> Catalogue {
        catalogue(&self.settings, &self.metrics)
    }

    /// Looks without remembering anything, as if the process died before it wrote the status.
    pub(super) async fn forgotten_look(&self) -> CatalogReport {
        self.dry_or_not(Mode::Apply).await
    }

    /// Says what a look would do.
    pub(super) async fn plan(&self) -> CatalogReport {
        self.dry_or_not(Mode::DryRun).await
    }

    async fn dry_or_not(&self, mode: Mode) -> CatalogReport {
        self.catalogue.sync(&self.wanted(), &self.seen(), mode).await
    }

    pub(super) async fn remove(&self, policy: DeletionPolicy) -> Result<Removal, CatalogError> {
        self.catalogue.remove(&self.wanted(), &self.seen(), policy).await
    }

    /// Returns everything that Glue and Athena hold, in a form that can be compared; versions and ids left out.
    pub(super) fn stored(&self) -> BTreeMap<String, Value> {
        let world = self.aws.world();
        let mut stored = BTreeMap::new();
        for (name, database) in &world.glue.databases {
            stored.insert(format!("database {name}"), database.input.clone());
            for (table, found) in &database.tables {
                stored.insert(format!("table {name}.{table}"), found.input.clone());
                for (values, partition) in &found.partitions {
                    stored.insert(format!("partition {name}.{table} {values:?}"), partition.clone());
                }
            }
        }
        stored.extend(world.glue.crawlers.iter().map(|(name, crawler)| (format!("crawler {name}"), crawler.clone())));
        stored.extend(world.athena.workgroups.iter().map(|(name, group)| (format!("workgroup {name}"), group.clone())));
        for query in world.athena.queries.values() {
            let mut query = query.clone();
            let members = query.as_object_mut().unwrap();
            members.remove("NamedQueryId");
            members.remove("ClientRequestToken");
            let name = format!("query {} {}", query["WorkGroup"], query["Name"]);
            assert!(stored.insert(name.clone(), query).is_none(), "{name} is there twice");
        }
        stored
    }
}

fn catalogue(settings: &Settings, metrics: &Metrics) -> Catalogue {
    let credentials = Some(Credentials::new("AKIAOWN", "secret", None, None, "test"));
    let options = Options { glue_per_second: 10_000, athena_per_second: 10_000, credentials };
    Catalogue::with_options(settings, metrics.clone(), options)
}

/// Returns a value with its members in order: the SDK sends maps in any.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<&String, Value> = members.iter().map(|(name, member)| (name, sorted(member))).collect();
            members.into_iter().map(|(name, member)| (name.clone(), member)).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Returns what was changed, in words.
pub(super) fn changes(report: &CatalogReport) -> Vec<String> {
    report.changes.iter().map(ToString::to_string).collect()
}

/// Returns the condition in one line.
pub(super) fn condition(report: &CatalogReport) -> String {
    format!("{:?}: {}", report.finding.reason, report.finding.message)
}
