//! A role that the operator takes for a pipeline: what it makes is in the role's account, and each time that it is taken is counted.

use serde_json::{Value, json};

use super::stage::{NAME, Stage};
use crate::moto;
use crate::program::until;

/// A role of another account than the tests' own.
const ROLE: &str = "arn:aws:iam::444455556666:role/market-data-catalog";
/// How the program counts that it was taken.
const TAKEN: &str = r#"stockpipeline_operator_aws_requests_total{service="sts",operation="AssumeRole",code="200"} "#;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an API server, and moto: AWS_ENDPOINT_URL"]
async fn a_role_is_taken_once_for_a_pipeline_and_counted_and_what_is_made_is_in_its_account() {
    let mut stage = Stage::new("roles").await;
    let aws = stage.before_moto().await;
    let granted = format!("--allow-role={}={ROLE}", stage.namespace.name());
    let operator = stage.operate_with(NAME, None, &[&granted]).await;
    until("it leads", async || operator.leads().await).await;
    let with_role = |role: &str| {
        let (role, endpoint) = (role.to_owned(), stage.endpoint.clone());
        move |spec: &mut Value| {
            spec["aws"]["controlPlaneRoleArn"] = json!(role);
            spec["aws"]["endpoints"]["sts"] = json!(endpoint);
        }
    };
    stage.apply_one("thief", with_role("arn:aws:iam::444455556666:role/of-somebody-else")).await;
    stage.until_condition("thief", "Accepted", "False/RoleNotAllowed").await;
    assert!(aws.seen().is_empty(), "nobody asks for a role that is not granted");

    stage.ready("demo", with_role(ROLE)).await;
    let database = stage.namespace.name().replace('-', "_");
    let of_table = json!({ "DatabaseName": database, "Name": "demo" });
    let (key, found) = (moto::take(ROLE).await, async |key: &str| moto::glue_as(key, "GetTable", of_table.clone()).await);
    assert_eq!(found(&key).await["Table"]["Name"], "demo", "it is in the role's account");
    assert!(found("e2e").await.get("Table").is_none(), "it is nowhere else");
    let looks = aws.calls("GetDatabase");
    until("it was looked at again", async || aws.calls("GetDatabase") > looks + 1).await;
    let (_, metrics) = operator.get("/metrics").await.unwrap();
    let taken = metrics.lines().find_map(|line| line.strip_prefix(TAKEN)).map(str::to_owned);
    assert_eq!(taken.as_deref(), Some("1"), "{metrics}");
    let asked = aws.seen().iter().filter(|passing| passing.operation.is_empty()).count();
    assert_eq!(asked, 1, "STS sees what is counted");
    drop(operator);
    stage.remove().await;
}
