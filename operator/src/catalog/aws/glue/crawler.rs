//! The crawler that observes.

use aws_sdk_glue::types::{CatalogTarget, Crawler, CrawlerTargets, DeleteBehavior, LastCrawlInfo, SchemaChangePolicy, UpdateBehavior};

use super::{Glue, absent, hash_map, impossible};
use crate::catalog::aws::{Failure, tidy};
use crate::catalog::decide::{FoundCrawler, LastRun, WantedCrawler};
use std::collections::BTreeMap;

impl Glue {
    /// Returns a crawler, if it is there.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn crawler(&self, name: &str) -> Result<Option<FoundCrawler>, Failure> {
        let answer = absent(self.caller.call("GetCrawler", self.client.get_crawler().name(name).send()).await)?;
        Ok(answer.and_then(|answer| answer.crawler).map(|crawler| found(&crawler)))
    }

    /// Makes a crawler that changes nothing.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn create_crawler(&self, wanted: &WantedCrawler, tags: &BTreeMap<String, String>) -> Result<(), Failure> {
        let operation = "CreateCrawler";
        let request = self
            .client
            .create_crawler()
            .name(&wanted.name)
            .role(&wanted.role_arn)
            .description(&wanted.description)
            .targets(targets(operation, wanted)?)
            .set_schedule(wanted.schedule.clone())
            .schema_change_policy(observe())
            .set_tags(Some(hash_map(tags)).filter(|tags| !tags.is_empty()));
        self.caller.call(operation, request.send()).await.map(drop)
    }

    /// Sets a crawler right.
    ///
    /// # Errors
    /// [`Failure`] of the call; a crawler that runs is refused.
    pub async fn update_crawler(&self, wanted: &WantedCrawler) -> Result<(), Failure> {
        let operation = "UpdateCrawler";
        let request = self
            .client
            .update_crawler()
            .name(&wanted.name)
            .role(&wanted.role_arn)
            .description(&wanted.description)
            .targets(targets(operation, wanted)?)
            // An empty schedule takes it away.
            .schedule(wanted.schedule.clone().unwrap_or_default())
            .schema_change_policy(observe());
        self.caller.call(operation, request.send()).await.map(drop)
    }

    /// Deletes a crawler; one that is gone is fine.
    ///
    /// # Errors
    /// [`Failure`] of the call; a crawler that runs is refused.
    pub async fn delete_crawler(&self, name: &str) -> Result<(), Failure> {
        absent(self.caller.call("DeleteCrawler", self.client.delete_crawler().name(name).send()).await).map(drop)
    }

    /// Returns what the last run of a crawler says that it saw.
    ///
    /// # Errors
    /// [`Failure`] of the call.
    pub async fn last_crawl(&self, name: &str) -> Result<Option<String>, Failure> {
        let request = self.client.list_crawls().crawler_name(name).max_results(1);
        let answer = absent(self.caller.call("ListCrawls", request.send()).await)?;
        Ok(answer.and_then(|answer| answer.crawls().first().and_then(|crawl| crawl.summary()).map(tidy)))
    }
}

fn observe() -> SchemaChangePolicy {
    SchemaChangePolicy::builder().update_behavior(UpdateBehavior::Log).delete_behavior(DeleteBehavior::Log).build()
}

fn targets(operation: &'static str, wanted: &WantedCrawler) -> Result<CrawlerTargets, Failure> {
    let target = CatalogTarget::builder().database_name(&wanted.database).set_tables(Some(wanted.tables.clone())).build();
    Ok(CrawlerTargets::builder().catalog_targets(target.map_err(|error| impossible(operation, &error))?).build())
}

fn found(crawler: &Crawler) -> FoundCrawler {
    let targets = crawler.targets().map(CrawlerTargets::catalog_targets).unwrap_or_default();
    let policy = crawler.schema_change_policy();
    FoundCrawler {
        description: crawler.description().map(str::to_owned),
        role: crawler.role().unwrap_or_default().to_owned(),
        schedule: crawler.schedule().and_then(|schedule| schedule.schedule_expression()).filter(|text| !text.is_empty()).map(str::to_owned),
        tables: targets
            .iter()
            .flat_map(|target| target.tables().iter().map(|table| format!("{}.{table}", target.database_name())))
            .collect(),
        only_logs: policy.is_some_and(|policy| {
            policy.update_behavior() == Some(&UpdateBehavior::Log) && policy.delete_behavior() == Some(&DeleteBehavior::Log)
        }),
        last_run: crawler.last_crawl().map(last_run),
    }
}

fn last_run(crawl: &LastCrawlInfo) -> LastRun {
    LastRun {
        outcome: crawl.status().map_or_else(|| "UNKNOWN".to_owned(), |status| status.as_str().to_owned()),
        started_seconds: crawl.start_time().map(aws_sdk_glue::primitives::DateTime::secs),
        message: crawl.error_message().map(tidy).filter(|message| !message.is_empty()),
    }
}
