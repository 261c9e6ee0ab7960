//! What a tenant may try: other tenants' Secrets, tables and prefixes, names that are more than names, sizes and numbers at their bounds.

use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use stockpipeline::check::UnknownFields;
use stockpipeline::document::Document;
use stockpipeline::{Pipeline, document};
use stockpipeline_operator::resource::crd::{StockPipeline, definition};

use crate::cluster::{FULL, Namespace, client, resource, set};
use crate::end_to_end::stage::{NAME, Stage};

/// Names of Secrets and ConfigMaps of another namespace, however one may spell them.
const ELSEWHERE: [&str; 6] = ["other/secret", "../other/secret", "other%2Fsecret", "other\\secret", "/api/v1/namespaces/other", "Other"];
/// Texts that end a literal, an identifier or a line.
const SPITEFUL: [&str; 7] = ["a`b", "a\"b", "a'; drop table quotes; --", "a\nb", "a b", "a;b", "a\u{0}b"];
/// Settings of Kafka's client that run programs, load files or call other addresses.
const DANGEROUS: [&str; 8] = [
    "plugin.library.paths",
    "sasl.kerberos.kinit.cmd",
    "ssl.ca.location",
    "ssl.keystore.location",
    "sasl.oauthbearer.token.endpoint.url",
    "bootstrap.servers",
    "enable.idempotence",
    "group.id",
];

/// Tries a change of the full document on the API server and on the check; returns why each refuses it.
async fn judged(pipelines: &Api<StockPipeline>, pointer: &str, value: &Value) -> (Option<String>, Option<String>) {
    let made = resource(FULL, "case", |body| set(body, pointer, value.clone()));
    let dry = PostParams { dry_run: true, field_manager: None };
    let refused = pipelines.create(&dry, &made).await.err().map(|error| error.to_string());
    let mut body = Value::Object(document::read(FULL).unwrap()[0].body().clone());
    set(&mut body, pointer, value.clone());
    let checked = Pipeline::check(&Document::new("case", None, body["spec"].clone()), UnknownFields::Error);
    (refused, checked.err().map(|errors| format!("{errors:?}")))
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn no_spelling_names_a_secret_or_config_map_of_another_namespace() {
    let client = client().await;
    let namespace = Namespace::new(&client, "tenants").await;
    let pipelines = namespace.api::<StockPipeline>();
    let reference = |name: &str| json!({ "name": name, "key": "password" });
    for name in ELSEWHERE {
        let scram = json!({ "type": "SaslScram", "saslScram": { "mechanism": "SCRAM-SHA-512", "usernameRef": reference(name), "passwordRef": reference(name) } });
        let cases = [
            ("/spec/kafka/auth", scram),
            ("/spec/kafka/auth", json!({ "type": "MutualTls", "mutualTls": { "certificateRef": { "name": name } } })),
            ("/spec/kafka/tls", json!({ "enabled": true, "caRef": reference(name) })),
            ("/spec/aws/credentials", json!({ "type": "Secret", "secretRef": { "name": name } })),
            ("/spec/source", json!({ "type": "CsvReplay", "csvReplay": { "configMapRef": { "name": name, "key": "a" } } })),
            ("/spec/sink/worker/serviceAccountName", json!(name)),
        ];
        for (pointer, value) in cases {
            let (refused, checked) = judged(&pipelines, pointer, &value).await;
            let refused = refused.unwrap_or_else(|| panic!("{pointer} = {name} is taken"));
            assert!(refused.contains("should match") && checked.is_some(), "{pointer} = {name}: {refused}; {checked:?}");
        }
        // There is no member for a namespace anywhere.
        let with_namespace = json!({ "type": "Secret", "secretRef": { "name": "aws", "namespace": "other" } });
        let (_, checked) = judged(&pipelines, "/spec/aws/credentials", &with_namespace).await;
        assert!(checked.unwrap().contains("namespace"));
    }
    namespace.remove().await;
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn names_with_quotes_backticks_newlines_or_statements_are_refused_wherever_there_is_a_name() {
    let client = client().await;
    let namespace = Namespace::new(&client, "names").await;
    let pipelines = namespace.api::<StockPipeline>();
    let places = [
        "/spec/schema/columns/6/name",
        "/spec/kafka/topic/name",
        "/spec/kafka/consumerGroup",
        "/spec/sink/bucket/name",
        "/spec/sink/processed/prefix",
        "/spec/sink/raw/prefix",
        "/spec/sink/onBadRecord/prefix",
        "/spec/sink/ledger/prefix",
        "/spec/sink/processed/partitionBy/0/name",
        "/spec/glue/database/name",
        "/spec/glue/tables/processed",
        "/spec/glue/tables/raw",
        "/spec/glue/tables/dlq",
        "/spec/athena/workgroup/name",
        "/spec/athena/workgroup/outputLocation",
        "/spec/athena/views/0/name",
        "/spec/sink/worker/scaling/windows/0/name",
    ];
    for place in places {
        for text in SPITEFUL {
            // A location may hold more than a name, as long as it is one.
            let text = if place.ends_with("outputLocation") { format!("s3:{text}") } else { text.to_owned() };
            let (refused, checked) = judged(&pipelines, place, &json!(text)).await;
            assert!(refused.is_some() && checked.is_some(), "{place} = {text:?}: {refused:?}; {checked:?}");
        }
    }
    namespace.remove().await;
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn settings_of_kafkas_client_that_reach_files_programs_or_addresses_are_refused_on_both_sides() {
    let client = client().await;
    let namespace = Namespace::new(&client, "config").await;
    let pipelines = namespace.api::<StockPipeline>();
    for place in ["/spec/kafka/topic/config", "/spec/producer/config"] {
        for key in DANGEROUS {
            let (refused, checked) = judged(&pipelines, place, &json!({ key: "/tmp/x" })).await;
            assert!(refused.is_some_and(|text| text.contains("not on the list of allowed ones")), "{place} {key}");
            assert!(checked.is_some(), "{place} {key}");
        }
    }
    namespace.remove().await;
}

#[test]
fn feeds_and_endpoints_at_metadata_services_link_local_addresses_and_the_api_server_are_refused() {
    let hosts = [
        "169.254.169.254",
        "169.254.170.2",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "2852039166",
        "0xa9fea9fe",
        "0251.254.169.254",
        "metadata.google.internal",
        "METADATA.google.internal.",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local.",
        "user:password@feed.example",
    ];
    let places = ["/spec/source/csvReplay/uri", "/spec/aws/endpoints/s3", "/spec/aws/endpoints/glue", "/spec/aws/endpoints/sts"];
    let check = |place: &str, url: &str| {
        let mut body = Value::Object(document::read(FULL).unwrap()[0].body().clone());
        body["spec"]["aws"]["endpoints"] = json!({});
        body["spec"]["source"] = json!({ "type": "CsvReplay", "csvReplay": {} });
        set(&mut body, place, json!(url));
        if !place.ends_with("uri") {
            body["spec"]["source"]["csvReplay"]["uri"] = json!("s3://bucket/key");
        }
        let checked = Pipeline::check(&Document::new("case", None, body["spec"].clone()), UnknownFields::Error);
        checked.map(drop).map_err(|errors| format!("{errors:?}"))
    };
    for place in places {
        for host in hosts {
            let refused = check(place, &format!("https://{host}/a")).expect_err(host);
            assert!(refused.contains(&place[1..].replace('/', ".")), "{place} {host}: {refused}");
        }
    }
    assert_eq!(check("/spec/source/csvReplay/uri", "https://feed.example/a.csv"), Ok(()));
    assert_eq!(check("/spec/aws/endpoints/s3", "https://kubernetes.example:9000"), Ok(()));
}

/// Returns every number of the spec that is bounded, with its bounds.
fn bounded(path: &str, schema: &Value, found: &mut Vec<(String, Value)>) {
    for bound in ["minimum", "maximum"] {
        found.extend(schema.get(bound).map(|value| (path.to_owned(), value.clone())));
    }
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        bounded(&format!("{path}/{name}"), member, found);
    }
    if schema["items"].is_object() {
        bounded(&format!("{path}/0"), &schema["items"], found);
    }
}

#[tokio::test]
#[ignore = "needs KUBECONFIG"]
async fn every_number_at_its_bounds_is_judged_alike_by_the_api_server_and_the_check_and_none_beyond_passes() {
    let client = client().await;
    let namespace = Namespace::new(&client, "bounds").await;
    let pipelines = namespace.api::<StockPipeline>();
    let schema = serde_json::to_value(definition()).unwrap();
    let spec = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut bounds = Vec::new();
    bounded("/spec", spec, &mut bounds);
    let full = Value::Object(document::read(FULL).unwrap()[0].body().clone());
    let mut tried = 0;
    for (path, bound) in bounds {
        if full.pointer(path.rsplit_once('/').unwrap().0).is_none() {
            continue;
        }
        tried += 1;
        // The schema writes whole numbers with a point.
        let at: Value = serde_json::from_str(bound.to_string().trim_end_matches(".0")).unwrap();
        let (refused, checked) = judged(&pipelines, &path, &at).await;
        assert_eq!(refused.is_some(), checked.is_some(), "{path} = {at}: {refused:?}; {checked:?}");
        if let Some(refused) = refused {
            assert!(!refused.contains("should be"), "{path} = {at} is within its bounds: {refused}");
        }
    }
    assert!(tried > 20, "{tried}");
    for (path, beyond) in
        [("/spec/kafka/topic/partitions", json!(10_001)), ("/spec/producer/slots", json!(0)), ("/spec/sink/rotation/maxBytes", json!(1))]
    {
        let (refused, checked) = judged(&pipelines, path, &beyond).await;
        assert!(refused.is_some() && checked.is_some(), "{path} = {beyond}: {refused:?}; {checked:?}");
    }
    namespace.remove().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server"]
async fn the_longest_name_and_a_resource_of_more_than_a_megabyte_are_kept_like_any_other() {
    let stage = Stage::new("large").await;
    let operator = stage.lead(NAME).await;
    let longest = "a".repeat(45);
    let with_queries = |count: usize| {
        stage.document(&longest, |spec| {
            let query = |number| json!({ "name": format!("q{number}"), "sql": format!("select 1 -- {}", "x".repeat(60_000)) });
            spec["athena"] = json!({
                "workgroup": { "name": "large", "create": true, "outputLocation": "s3://results/athena/" },
                "namedQueries": (0..count).map(query).collect::<Vec<_>>(),
            });
            spec["kafka"]["topic"]["name"] = json!("large");
            spec["sink"]["bucket"]["name"] = json!("large");
        })
    };
    let document = with_queries(20);
    assert!(document.len() > 1_200_000, "{}", document.len());
    // Too large for what a client-side apply keeps in an annotation.
    stage.kubectl(&["apply", "--server-side", "-f", "-"], &document).await;
    stage.wait(std::slice::from_ref(&longest)).await;
    assert_eq!(stage.aws.world().athena.queries.len(), 20);
    let (taken, said) = stage.try_kubectl(&["apply", "--server-side", "-f", "-"], &with_queries(27)).await;
    assert!(!taken && said.contains("too large"), "{}", said.chars().take(300).collect::<String>());
    stage.ready("small", |_| {}).await;
    drop(operator);
    stage.remove().await;
}
