//! Which nodes the pods may use: tolerations, spread and affinity of a worker, with what its use of spot nodes adds.

use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm, Toleration,
    TopologySpreadConstraint,
};
use stockpipeline::check::FieldError;
use stockpipeline::operations::{Placement, Spot};

use super::kubernetes;
use crate::resource::identity::{Identity, Role};

/// Label of a node's kind of capacity and its value for spot nodes: Karpenter's, and that of EKS' managed node groups.
const SPOT_LABELS: [(&str, &str); 2] = [("karpenter.sh/capacity-type", "spot"), ("eks.amazonaws.com/capacityType", "SPOT")];
/// The greatest weight of a preference: no other one outweighs it.
const FULL_WEIGHT: i32 = 100;

/// Returns the tolerations of a role's pods.
///
/// # Errors
/// A [`FieldError`] for a value that Kubernetes does not take.
pub(super) fn tolerations(path: &str, placement: &Placement) -> Result<Vec<Toleration>, FieldError> {
    let mut tolerations = Vec::with_capacity(placement.tolerations.len());
    for (index, value) in placement.tolerations.iter().enumerate() {
        tolerations.push(kubernetes::read(&format!("{path}.tolerations[{index}]"), value)?);
    }
    if placement.spot == Spot::Prefer {
        tolerations.extend(SPOT_LABELS.map(|(key, value)| Toleration {
            key: Some(key.to_owned()),
            operator: Some("Equal".to_owned()),
            value: Some(value.to_owned()),
            ..Toleration::default()
        }));
    }
    Ok(tolerations)
}

/// Returns how a role's pods spread: as the placement says, over each other.
///
/// # Errors
/// A [`FieldError`] for a value that Kubernetes does not take.
pub(super) fn spread(
    path: &str,
    placement: &Placement,
    identity: &Identity,
    role: Role,
) -> Result<Vec<TopologySpreadConstraint>, FieldError> {
    let mut constraints = Vec::with_capacity(placement.topology_spread_constraints.len());
    for (index, value) in placement.topology_spread_constraints.iter().enumerate() {
        let mut value = value.clone();
        // Kubernetes' type cannot be read without one.
        value["labelSelector"] = serde_json::json!({});
        let mut constraint: TopologySpreadConstraint = kubernetes::read(&format!("{path}.topologySpreadConstraints[{index}]"), &value)?;
        constraint.label_selector = Some(identity.selector(role));
        constraints.push(constraint);
    }
    Ok(constraints)
}

/// Returns the affinity of the pods; None where there is none.
///
/// # Errors
/// A [`FieldError`] for a value that Kubernetes does not take.
pub(super) fn affinity(path: &str, placement: &Placement) -> Result<Option<Affinity>, FieldError> {
    let written: Option<Affinity> = match &placement.affinity {
        Some(value) => Some(kubernetes::read(&format!("{path}.affinity"), value)?),
        None => None,
    };
    Ok(match placement.spot {
        Spot::Allow => written,
        Spot::Prefer => Some(lean_towards_spot(written.unwrap_or_default())),
        Spot::Forbid => Some(keep_off_spot(written.unwrap_or_default())),
    })
}

fn lean_towards_spot(mut affinity: Affinity) -> Affinity {
    let node = affinity.node_affinity.get_or_insert_default();
    let preferred = node.preferred_during_scheduling_ignored_during_execution.get_or_insert_default();
    preferred.extend(SPOT_LABELS.map(|label| PreferredSchedulingTerm {
        weight: FULL_WEIGHT,
        preference: NodeSelectorTerm { match_expressions: Some(vec![requirement(label, "In")]), match_fields: None },
    }));
    affinity
}

/// Any one term is enough for a node, so each one has to exclude spot nodes. A node without the labels is no spot node.
fn keep_off_spot(mut affinity: Affinity) -> Affinity {
    let node: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    let required: &mut NodeSelector = node.required_during_scheduling_ignored_during_execution.get_or_insert_default();
    if required.node_selector_terms.is_empty() {
        required.node_selector_terms.push(NodeSelectorTerm::default());
    }
    for term in &mut required.node_selector_terms {
        term.match_expressions.get_or_insert_default().extend(SPOT_LABELS.map(|label| requirement(label, "NotIn")));
    }
    affinity
}

fn requirement((key, value): (&str, &str), operator: &str) -> NodeSelectorRequirement {
    NodeSelectorRequirement { key: key.to_owned(), operator: operator.to_owned(), values: Some(vec![value.to_owned()]) }
}
