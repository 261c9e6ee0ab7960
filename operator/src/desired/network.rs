//! The network policy of a pipeline's pods: in comes the operator and who reads metrics, out goes what the pipeline names.
//!
//! One for the workers of both roles and for the Jobs that clean up: what tells them apart is the port of the feed alone.
//! Policies know ports and no host names, so what goes out is bounded by port.

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use stockpipeline::Pipeline;
use stockpipeline::checked::{Location, Source};
use stockpipeline::launch::HTTP_PORT;

use crate::resource::identity::{Identity, MANAGER};
use crate::settings::NetworkSettings;

const DNS_PORT: u16 = 53;
const HTTP: u16 = 80;
const HTTPS: u16 = 443;

/// Returns the network policy of a pipeline's pods.
pub(super) fn policy(identity: &Identity, pipeline: &Pipeline, settings: &NetworkSettings) -> NetworkPolicy {
    let mut from = vec![NetworkPolicyPeer {
        namespace_selector: Some(namespace(&settings.operator_namespace)),
        pod_selector: Some(labelled("app.kubernetes.io/name", MANAGER)),
        ip_block: None,
    }];
    from.extend(
        settings
            .metrics_namespaces
            .iter()
            .map(|name| NetworkPolicyPeer { namespace_selector: Some(namespace(name)), ..NetworkPolicyPeer::default() }),
    );
    let mut out = vec![port("UDP", DNS_PORT), port("TCP", DNS_PORT)];
    out.extend(ports(pipeline, settings).into_iter().map(|number| port("TCP", number)));
    NetworkPolicy {
        metadata: identity.metadata(identity.workers_name(), None),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector { match_labels: Some(identity.selector_labels(None)), match_expressions: None }),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule { from: Some(from), ports: Some(vec![port("TCP", HTTP_PORT)]) }]),
            egress: Some(vec![NetworkPolicyEgressRule { to: None, ports: Some(out) }]),
        }),
    }
}

/// Returns the TCP ports that workers have to reach: brokers, AWS (and port 80, at which nodes hand out credentials), the feed.
fn ports(pipeline: &Pipeline, settings: &NetworkSettings) -> BTreeSet<u16> {
    let mut ports = BTreeSet::from([HTTP, HTTPS]);
    ports.extend(settings.egress_ports.iter().copied());
    ports.extend(pipeline.kafka.bootstrap_servers.iter().filter_map(|server| server.rsplit_once(':')?.1.parse::<u16>().ok()));
    let control_plane = &pipeline.operations.control_plane;
    let endpoints = [&pipeline.aws.s3_endpoint, &pipeline.aws.sts_endpoint, &control_plane.glue_endpoint];
    ports.extend(endpoints.into_iter().flatten().filter_map(|address| port_of(address)));
    if let Source::CsvReplay(replay) = &pipeline.source
        && let Location::Http(address) = &replay.location
    {
        ports.extend(port_of(address));
    }
    ports
}

/// Returns the port that an address names; None where it names none, since the usual two are open anyway.
fn port_of(address: &str) -> Option<u16> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit_once(':')?.1.parse().ok()
}

fn namespace(name: &str) -> LabelSelector {
    labelled("kubernetes.io/metadata.name", name)
}

fn labelled(name: &str, value: &str) -> LabelSelector {
    LabelSelector { match_labels: Some([(name.to_owned(), value.to_owned())].into()), match_expressions: None }
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort { port: Some(IntOrString::Int(number.into())), protocol: Some(protocol.to_owned()), end_port: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_in_addresses() {
        for (address, expected) in [
            ("http://minio:9000", Some(9000)),
            ("http://minio:9000/path?x=1:2", Some(9000)),
            ("https://s3.example.com", None),
            ("https://[::1]:4566/", Some(4566)),
            ("https://example.com/a:80", None),
        ] {
            assert_eq!(port_of(address), expected, "{address}");
        }
    }
}
