//! Glue and Athena as moto serves them, asked by a test itself: what is stored there, and changes that somebody with a console makes.

use serde_json::{Value, json};

/// Access key of whoever needs no other.
const KEY: &str = "e2e";

/// Returns where it listens.
pub(crate) fn endpoint() -> String {
    std::env::var("AWS_ENDPOINT_URL").expect("AWS_ENDPOINT_URL names moto")
}

/// Returns what passes for a signature where none is checked. The key says of which account the answer is.
pub(crate) fn authorization(service: &str, key: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0")
}

/// Sends a request to Glue.
pub(crate) async fn glue(operation: &str, body: Value) -> Value {
    glue_as(KEY, operation, body).await
}

/// Sends a request to Glue with another access key.
pub(crate) async fn glue_as(key: &str, operation: &str, body: Value) -> Value {
    send("glue", &format!("AWSGlue.{operation}"), key, body).await
}

/// Sends a request to Athena.
pub(crate) async fn athena(operation: &str, body: Value) -> Value {
    send("athena", &format!("AmazonAthena.{operation}"), KEY, body).await
}

/// Takes a role, and returns the access key of its account.
pub(crate) async fn take(role: &str) -> String {
    let body = format!("Action=AssumeRole&Version=2011-06-15&RoleArn={role}&RoleSessionName=tests");
    let request = reqwest::Client::new().post(endpoint()).header("authorization", authorization("sts", KEY));
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
    let answer = request.send().await.unwrap().text().await.unwrap();
    let key = answer.split_once("<AccessKeyId>").and_then(|(_, rest)| rest.split_once("</AccessKeyId>"));
    key.unwrap_or_else(|| panic!("{answer}")).0.to_owned()
}

/// Returns the names of a database's tables, in order.
pub(crate) async fn tables(database: &str) -> Vec<String> {
    let found = glue("GetTables", json!({ "DatabaseName": database })).await;
    let tables = found["TableList"].as_array().into_iter().flatten();
    let mut names: Vec<String> = tables.map(|table| table["Name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Returns the saved queries of a workgroup.
pub(crate) async fn queries(workgroup: &str) -> Vec<Value> {
    let ids = athena("ListNamedQueries", json!({ "WorkGroup": workgroup })).await;
    let mut queries = Vec::new();
    for id in ids["NamedQueryIds"].as_array().into_iter().flatten() {
        queries.push(athena("GetNamedQuery", json!({ "NamedQueryId": id })).await["NamedQuery"].clone());
    }
    queries
}

async fn send(service: &str, target: &str, key: &str, body: Value) -> Value {
    let request = reqwest::Client::new()
        .post(endpoint())
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", target)
        .header("authorization", authorization(service, key))
        .body(body.to_string());
    let answer = request.send().await.unwrap().bytes().await.unwrap();
    serde_json::from_slice(&answer).unwrap_or(Value::Null)
}
