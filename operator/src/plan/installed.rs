//! What the operator of a cluster is set to, from the arguments of its Deployment: children depend on it.

use clap::Parser;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt};

use super::PlanError;
use crate::process::arguments::{Arguments, Command};
use crate::settings::Settings;

/// Label of the operator's Deployment.
const LABEL: &str = "app.kubernetes.io/name=stockpipeline-operator";
/// Name by which the command line is read; it shows in its errors only.
const PROGRAM: &str = "stockpipeline-operator";

/// Returns the settings that arguments of `run` stand for.
///
/// # Errors
/// [`PlanError::Arguments`] when this version does not understand them.
pub fn settings_of(arguments: &[String], place: &str) -> Result<Settings, PlanError> {
    let wrong = |reason: String| PlanError::Arguments { place: place.to_owned(), reason };
    let line = [PROGRAM.to_owned(), "run".to_owned()].into_iter().chain(arguments.iter().filter(|argument| *argument != "run").cloned());
    match Arguments::try_parse_from(line).map_err(|error| wrong(error.to_string()))?.command {
        Command::Run(run) => Ok(run.settings.settings()),
        Command::Plan(_) | Command::Crd => Err(wrong("they do not start with run".to_owned())),
    }
}

/// Returns the settings of the operator that is installed in a namespace, or in any.
///
/// # Errors
/// [`PlanError`] when there is none, or it cannot be read.
pub async fn settings(client: &Client, namespace: Option<&str>) -> Result<Settings, PlanError> {
    let deployments: Api<Deployment> = match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let found = deployments.list(&ListParams::default().labels(LABEL)).await;
    let found = found.map_err(|source| PlanError::request("look for the operator's Deployment", "", source))?;
    let Some(deployment) = found.items.into_iter().next() else { return Err(PlanError::NoOperator) };
    let namespace = deployment.namespace().unwrap_or_default();
    let place = format!("Deployment {namespace}/{}", deployment.name_any());
    let containers = deployment.spec.map(|spec| spec.template.spec.unwrap_or_default().containers).unwrap_or_default();
    let mut arguments = containers.into_iter().next().and_then(|container| container.args).unwrap_or_default();
    if !arguments.iter().any(|argument| argument.starts_with("--namespace")) {
        arguments.push(format!("--namespace={namespace}"));
    }
    settings_of(&arguments, &place)
}
