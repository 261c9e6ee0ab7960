//! Trino over HTTP: the engine family of Athena, over Glue and the bucket.

use std::time::Duration;

use serde_json::Value;

/// A client that asks one statement after the other.
#[derive(Debug, Clone)]
pub struct Trino {
    http: reqwest::Client,
    url: String,
    catalog: String,
}

impl Trino {
    pub(crate) fn new(url: &str, catalog: &str) -> Self {
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_mins(5)).build().expect("a client without options can be made");
        Self { http, url: url.to_owned(), catalog: catalog.to_owned() }
    }

    /// Returns the rows of a statement, or what is wrong with it.
    ///
    /// # Errors
    /// Trino's message.
    pub async fn query(&self, sql: &str) -> Result<Vec<Vec<Value>>, String> {
        let mut rows = Vec::new();
        let begun = self
            .http
            .post(format!("{}/v1/statement", self.url))
            .header("X-Trino-User", "e2e")
            .header("X-Trino-Catalog", &self.catalog)
            .body(sql.to_owned());
        let mut answer = Self::answer(begun).await?;
        loop {
            if let Some(error) = answer.get("error") {
                return Err(format!("{}: {}", error["errorName"], error["message"]));
            }
            let data = answer["data"].as_array().cloned().unwrap_or_default();
            rows.extend(data.into_iter().map(|row| row.as_array().cloned().unwrap_or_default()));
            let Some(next) = answer["nextUri"].as_str() else { return Ok(rows) };
            answer = Self::answer(self.http.get(next)).await?;
        }
    }

    async fn answer(request: reqwest::RequestBuilder) -> Result<Value, String> {
        let response = request.send().await.map_err(|error| format!("Trino does not answer: {error}"))?;
        let text = response.text().await.map_err(|error| format!("Trino's answer is cut off: {error}"))?;
        serde_json::from_str(&text).map_err(|error| format!("Trino said {text:?}: {error}"))
    }
}
