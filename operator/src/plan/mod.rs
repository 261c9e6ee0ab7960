//! What applying a document would change: the resource and its children (asked of the API server by dry runs), Glue and Athena (read only),
//! and the topic as far as a running sink has looked at it. It writes nothing.
//!
//! | file | what it does |
//! |---|---|
//! | [`mod@self`] | one pipeline after the other |
//! | [`installed`] | what the cluster's operator is set to |
//! | [`documents`] | the file |
//! | `cluster` | dry runs of the resource and its children |
//! | `accepted` | whether the operator would take the spec |
//! | `topic` | the topic |
//! | `difference` | fields that differ |
//! | [`show`] | the plan for people |

mod accepted;
mod cluster;
mod difference;
pub mod documents;
pub mod installed;
pub mod show;
mod topic;

pub use difference::FieldChange;
pub use topic::TopicPlan;

pub use crate::act::Act;

use kube::Client;
use serde::Serialize;
use serde_json::Value;
use stockpipeline::document::{Document, GROUP};

use crate::accept::{self, Spec};
use crate::catalog::converge::Catalogue;
use crate::catalog::decide::{self, CatalogReport, CatalogState, Mode, WantedCatalogue};
use crate::error::chain;
use crate::resource::crd::StockPipeline;
use crate::settings::Settings;
use crate::status::reason::CatalogSynced;
use accepted::Accepted;
use cluster::Cluster;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// No operator is installed.
    #[error("found no Deployment of the operator, on whose arguments the children depend; install it, or give them after --")]
    NoOperator,
    /// The operator's arguments are not understood.
    #[error("{place} has arguments that this version does not understand; give others after --: {reason}")]
    Arguments {
        /// Where they stand.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// The API server did not do what was asked.
    #[error("failed to {act} {object}")]
    Request {
        /// What was tried.
        act: &'static str,
        /// With what.
        object: String,
        /// Its answer.
        source: Box<kube::Error>,
    },
}

impl PlanError {
    fn request(act: &'static str, object: impl Into<String>, source: kube::Error) -> Self {
        Self::Request { act, object: object.into(), source: Box::new(source) }
    }
}

/// What is needed to plan.
pub struct Planner {
    /// The API server.
    pub client: Client,
    /// What the cluster's operator is set to.
    pub settings: Settings,
    /// Glue and Athena; None leaves them out.
    pub catalogue: Option<Catalogue>,
    /// Who applies the document: fields that he has applied before and that it does not have any more go.
    pub field_manager: String,
}

/// What applying documents would change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// One for each document.
    pub pipelines: Vec<PipelinePlan>,
}

/// What applying one document would change.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelinePlan {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The resource itself.
    pub resource: ObjectChange,
    /// What the operator would do in the cluster then.
    pub cluster: Vec<ObjectChange>,
    /// What it would do in Glue and Athena.
    pub catalogue: Vec<ObjectChange>,
    /// What the sinks would do to the topic.
    pub topic: Option<TopicPlan>,
    /// What to know; nothing that has to change.
    pub notes: Vec<String>,
    /// What is in the way of applying it.
    pub problems: Vec<String>,
}

/// What would happen to one object.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectChange {
    /// Which: `Deployment ticks-sink`, `table market.ticks`.
    pub object: String,
    /// What.
    pub act: Act,
    /// Whether its pods are replaced.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub restarts_pods: bool,
    /// Fields that differ; empty for an object that comes or goes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
}

/// How a plan ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing would change.
    Nothing,
    /// Something would.
    Changes,
    /// Something is in the way.
    Problems,
}

impl Outcome {
    /// Returns the exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Problems => 1,
            Self::Changes => 2,
        }
    }
}

impl Plan {
    /// Returns everything that would be written.
    pub fn changes(&self) -> impl Iterator<Item = Act> {
        self.pipelines.iter().flat_map(|plan| {
            let objects = [&plan.resource].into_iter().chain(&plan.cluster).chain(&plan.catalogue).map(|change| change.act);
            let topic = plan.topic.iter().filter(|topic| !topic.fields.is_empty()).map(|_| Act::Update);
            objects.chain(topic).filter(|act| act.writes())
        })
    }

    /// Returns how the plan ended.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        if self.pipelines.iter().any(|pipeline| !pipeline.problems.is_empty()) {
            Outcome::Problems
        } else if self.changes().next().is_some() {
            Outcome::Changes
        } else {
            Outcome::Nothing
        }
    }
}

impl Planner {
    /// Returns what applying documents to their namespaces would change. Each is planned as if it were applied alone.
    ///
    /// # Errors
    /// [`PlanError`] when the API server does not answer; what it says against a document is in the plan.
    pub async fn plan(&self, documents: &[(String, Document)]) -> Result<Plan, PlanError> {
        let mut pipelines = Vec::with_capacity(documents.len());
        for (namespace, document) in documents {
            pipelines.push(Box::pin(self.plan_one(namespace, document)).await?);
        }
        Ok(Plan { pipelines })
    }

    async fn plan_one(&self, namespace: &str, document: &Document) -> Result<PipelinePlan, PlanError> {
        let name = document.name().unwrap_or_default().to_owned();
        let cluster = Cluster { client: &self.client, namespace, name: &name };
        let resource = cluster.dry_run(document, &self.field_manager).await?;
        let mut plan = PipelinePlan {
            namespace: namespace.to_owned(),
            name: name.clone(),
            resource: resource.change,
            cluster: Vec::new(),
            catalogue: Vec::new(),
            topic: None,
            notes: Vec::new(),
            problems: resource.problem.into_iter().collect(),
        };
        let Some(after) = resource.after else { return Ok(plan) };
        plan.notes.extend(self.idleness(namespace, &after));
        let mut spec = match accepted::judge(&cluster, &self.settings, resource.live.as_ref(), &after).await? {
            Ok(accepted) => accepted,
            Err(refusal) => {
                plan.problems.push(refusal);
                return Ok(plan);
            }
        };
        let (children, problems) = cluster.children(&self.settings, resource.live.as_ref(), &after, &spec.spec).await?;
        plan.cluster.extend(spec.revision.take());
        plan.cluster.extend(children);
        plan.problems.extend(problems);
        self.plan_catalogue(&mut plan, resource.live.as_ref(), &after, &spec).await;
        let report = cluster.topic_report(&self.settings).await;
        let in_force = spec.in_force.as_ref().map(|spec| &spec.pipeline.kafka.topic);
        let topic = topic::compare(&spec.spec.pipeline.kafka.topic, in_force, report.as_ref());
        if !topic.note.is_empty() {
            plan.notes.push(format!("topic {}: {}", topic.name, topic.note));
        }
        plan.topic = Some(topic);
        Ok(plan)
    }

    /// Returns why the operator would do nothing of it.
    fn idleness(&self, namespace: &str, after: &StockPipeline) -> Option<String> {
        let annotation = |name: &str| after.metadata.annotations.as_ref()?.get(&format!("{GROUP}/{name}")).map(String::as_str);
        if !self.settings.watches(namespace) {
            return Some(format!("the operator does not watch namespace {namespace}, so it would do nothing"));
        }
        if self.settings.read_only || annotation("read-only") == Some("true") {
            return Some("the operator only looks: it would report all this and do nothing".to_owned());
        }
        (annotation("reconcile") == Some("disabled")).then(|| format!("{GROUP}/reconcile is disabled, so the operator would do nothing"))
    }

    async fn plan_catalogue(&self, plan: &mut PipelinePlan, live: Option<&StockPipeline>, after: &StockPipeline, accepted: &Accepted) {
        let identity = accept::identity(after);
        let of = |spec: &Spec| WantedCatalogue::of(&identity, &spec.pipeline, spec.generation, &self.settings.cluster);
        let (wanted, last) = (of(&accepted.spec), accepted.in_force.as_ref().and_then(of));
        if wanted.is_none() && last.is_none() {
            return;
        }
        let Some(catalogue) = &self.catalogue else {
            plan.notes.push("Glue and Athena were left out".to_owned());
            return;
        };
        let seen = CatalogState::of(live.and_then(|live| live.status.as_ref()));
        let report = match (wanted, last) {
            (Some(wanted), _) => catalogue.sync(&wanted, &seen, Mode::DryRun).await,
            (None, Some(last)) => catalogue.leave(last, &seen, Mode::DryRun).await,
            (None, None) => return,
        };
        if is_problem(&report) {
            plan.problems.push(format!("catalogue: {}", report.finding.message));
        }
        plan.catalogue = report.changes.into_iter().map(ObjectChange::from).collect();
    }
}

/// What is only not made yet, or only reported, is in nobody's way.
fn is_problem(report: &CatalogReport) -> bool {
    match report.finding.reason {
        CatalogSynced::InSync
        | CatalogSynced::Creating
        | CatalogSynced::DriftCorrected
        | CatalogSynced::DriftReported
        | CatalogSynced::NotRequired => false,
        CatalogSynced::AccessDenied
        | CatalogSynced::Throttled
        | CatalogSynced::AlreadyExists
        | CatalogSynced::ConcurrentModification
        | CatalogSynced::UnrestrictedChange
        | CatalogSynced::QueryDefinitionFailed
        | CatalogSynced::NotFound
        | CatalogSynced::Unavailable
        | CatalogSynced::InvalidInput => true,
    }
}

impl From<decide::ObjectChange> for ObjectChange {
    fn from(change: decide::ObjectChange) -> Self {
        let field = |change: decide::Change| FieldChange {
            path: change.field,
            before: change.found.map(Value::String),
            after: change.wanted.map(Value::String),
        };
        Self { object: change.object, act: change.act, restarts_pods: false, fields: change.fields.into_iter().map(field).collect() }
    }
}

/// Returns what the API server says against something, or the error when it does not answer.
fn objection(act: &'static str, object: &str, error: kube::Error) -> Result<String, PlanError> {
    match error {
        kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 401 && status.code != 429 => {
            Ok(format!("the API server would not {act} {object}: {}", status.message))
        }
        error => {
            tracing::debug!(error = chain(&error), "a request has failed");
            Err(PlanError::request(act, object, error))
        }
    }
}
