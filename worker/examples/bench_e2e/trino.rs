//! Trino, asked over HTTP.

use anyhow::{Context, ensure};
use serde::Deserialize;
use serde_json::Value;
use tokio::runtime::Runtime;

/// Trino's client.
pub(crate) struct Trino {
    url: String,
    client: reqwest::Client,
    runtime: Runtime,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    next_uri: Option<String>,
    #[serde(default)]
    data: Vec<Vec<Value>>,
    error: Option<Failure>,
}

#[derive(Deserialize)]
struct Failure {
    message: String,
}

impl Trino {
    /// Returns the client of an endpoint such as `http://127.0.0.1:8080`.
    pub(crate) fn at(url: &str) -> anyhow::Result<Self> {
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            client: reqwest::Client::builder().no_proxy().build()?,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        })
    }

    /// Returns the rows of a query.
    pub(crate) fn query(&self, sql: &str) -> anyhow::Result<Vec<Vec<Value>>> {
        self.runtime.block_on(async {
            let first = self.client.post(format!("{}/v1/statement", self.url)).header("x-trino-user", "bench").body(sql.to_owned());
            let mut answer = read(first).await?;
            let mut rows = answer.data;
            while let Some(next) = answer.next_uri {
                answer = read(self.client.get(next)).await?;
                rows.append(&mut answer.data);
            }
            Ok(rows)
        })
    }
}

async fn read(request: reqwest::RequestBuilder) -> anyhow::Result<Answer> {
    let text = request.send().await.context("Trino does not answer")?.text().await?;
    let answer: Answer = serde_json::from_str(&text).with_context(|| format!("Trino answers {text}"))?;
    ensure!(answer.error.is_none(), "Trino refuses: {}", answer.error.map(|error| error.message).unwrap_or_default());
    Ok(answer)
}
