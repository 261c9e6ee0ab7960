use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn run(arguments: &[&str]) -> Result<RunArguments, clap::Error> {
    let start = ["stockpipeline-operator", "run", "--worker-image", "worker:1"];
    match Arguments::try_parse_from(start.iter().chain(arguments))?.command {
        Command::Run(run) => Ok(*run),
        other => panic!("{other:?}"),
    }
}

fn settings(arguments: &[&str]) -> Settings {
    run(&[&["--namespace", "system"], arguments].concat()).unwrap().settings.settings()
}

#[test]
fn without_arguments_the_settings_are_the_defaults() {
    assert_eq!(settings(&[]), Settings::new("worker:1", "system"));
}

#[test]
fn every_argument_reaches_its_setting() {
    let given = settings(&[
        "--worker-image-pull-policy=Never",
        "--worker-image-pull-secret=one",
        "--worker-image-pull-secret=two",
        "--producer-request=cpu=1",
        "--sink-limit=memory=2Gi",
        "--sink-limit=cpu=2",
        "--scratch-limit=5Gi",
        "--metrics-namespace=monitoring",
        "--worker-egress-port=9094",
        "--watch-namespace=quotes",
        "--cluster-name=east",
        "--read-only",
        "--concurrency=4",
        "--drift-interval=1m30s",
        "--status-interval=20s",
        "--cleanup-deadline=2h",
        "--glue-rate=7",
        "--athena-rate=8",
        "--worker-port=9",
        "--allow-endpoint=http://moto:5000",
        "--allow-role=quotes=arn:aws:iam::123456789012:role/one",
        "--allow-role=quotes=arn:aws:iam::123456789012:role/two",
        "--allow-adopt=quotes=market_data",
        "--allow-adopt=quotes=other",
    ]);
    let default = Settings::new("worker:1", "system");
    let map = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<String>>();
    let expected = Settings {
        image_pull_policy: Some("Never".to_owned()),
        image_pull_secrets: vec!["one".to_owned(), "two".to_owned()],
        producer_resources: Resources { requests: map(&[("cpu", "1")]), limits: default.producer_resources.limits.clone() },
        sink_resources: Resources { requests: default.sink_resources.requests.clone(), limits: map(&[("cpu", "2"), ("memory", "2Gi")]) },
        scratch_limit: "5Gi".to_owned(),
        network: Some(NetworkSettings {
            operator_namespace: "system".to_owned(),
            metrics_namespaces: vec!["monitoring".to_owned()],
            egress_ports: vec![9094],
        }),
        cluster: "east".to_owned(),
        watch_namespaces: set(&["quotes"]),
        read_only: true,
        concurrency: 4,
        timing: Timing {
            drift_interval: Some(Duration::from_secs(90)),
            status_interval: Duration::from_secs(20),
            cleanup_deadline: Duration::from_hours(2),
            ..default.timing
        },
        grants: Grants {
            endpoints: set(&["http://moto:5000"]),
            roles: BTreeMap::from([(
                "quotes".to_owned(),
                set(&["arn:aws:iam::123456789012:role/one", "arn:aws:iam::123456789012:role/two"]),
            )]),
            adoptions: BTreeMap::from([("quotes".to_owned(), set(&["market_data", "other"]))]),
        },
        rates: Rates { glue_per_second: 7, athena_per_second: 8 },
        worker_port: 9,
        ..default
    };
    assert_eq!(given, expected);
    assert_eq!(settings(&["--no-network-policies"]).network, None);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for argument in [
        "--producer-request=cpu",
        "--producer-request==1",
        "--drift-interval=0s",
        "--drift-interval=soon",
        "--drift-interval=-5m",
        "--status-interval=1000h",
        "--concurrency=0",
        "--worker-image-pull-policy=Sometimes",
        "--allow-endpoint=moto:5000",
        "--allow-endpoint=http://moto:5000/path",
        "--allow-endpoint=http://user@moto:5000",
        "--allow-endpoint=ftp://moto",
        "--allow-role=arn:aws:iam::123456789012:role/one",
        "--allow-role=quotes=one",
        "--allow-adopt=market_data",
        "--allow-adopt=quotes=",
        "--allow-adopt=quotes=*",
        "--http-address=8080",
        "--unknown",
    ] {
        assert!(run(&[argument]).is_err(), "{argument}");
    }
}

#[test]
fn the_process_listens_and_leads_by_its_arguments() {
    let run = run(&["--http-address=127.0.0.1:9", "--lease-name=x", "--pod-name=y"]).unwrap();
    assert_eq!((run.http_address, run.lease_name.as_str(), run.pod_name.as_str()), (([127, 0, 0, 1], 9).into(), "x", "y"));
}
