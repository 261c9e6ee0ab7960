//! What a deletion policy names: only what the pipeline has made, and shared things only while nobody else uses them.

use stockpipeline::operations::DeletionPolicy;

use super::{CatalogError, Look};
use crate::catalog::aws::{Failure, FailureKind};
use crate::catalog::decide::{Removal, owner_mark};

impl Look<'_> {
    /// Removes what the policy names, dependants first.
    pub(super) async fn remove(&self, policy: DeletionPolicy) -> Result<Removal, CatalogError> {
        let mut removal = Removal::default();
        if policy.named_queries {
            self.remove_queries(&mut removal).await?;
            self.remove_views(&mut removal).await?;
            self.remove_workgroup(&mut removal).await?;
        }
        if policy.tables {
            self.remove_crawler(&mut removal).await?;
            self.remove_tables(&mut removal).await?;
        }
        if policy.database {
            self.remove_database(&mut removal).await?;
        }
        Ok(removal)
    }

    async fn remove_queries(&self, removal: &mut Removal) -> Result<(), CatalogError> {
        let Some(workgroup) = self.workgroup() else { return Ok(()) };
        let during = |failure| call("saved queries", failure);
        for query in self.own_queries(&workgroup).await.map_err(during)? {
            self.athena.delete_query(&query.id).await.map_err(during)?;
            removal.removed.push(format!("saved query {}", query.name));
        }
        Ok(())
    }

    async fn remove_views(&self, removal: &mut Removal) -> Result<(), CatalogError> {
        let mut names: Vec<&String> = self.seen.views.keys().collect();
        // A view that the status has forgotten is known by its mark.
        let wanted = self.wanted.athena.iter().flat_map(|athena| &athena.views).map(|view| &view.name);
        names.extend(wanted.filter(|name| !self.seen.views.contains_key(*name)));
        for name in names {
            let object = format!("view {}.{name}", self.wanted.database.name);
            if !self.seen.views.contains_key(name) {
                let found = self.glue.table(&self.wanted.database.name, name).await.map_err(|failure| call(&object, failure))?;
                if found.is_none_or(|found| found.parameter(&owner_mark()) != Some(self.wanted.owner.text())) {
                    continue;
                }
            }
            if self.drop_view(name).await.map_err(|failure| call(&object, failure))? {
                removal.removed.push(object);
            }
        }
        Ok(())
    }

    async fn remove_workgroup(&self, removal: &mut Removal) -> Result<(), CatalogError> {
        let Some(name) = self.workgroup() else { return Ok(()) };
        let object = format!("workgroup {name}");
        let during = |failure| call(&object, failure);
        let Some(found) = self.athena.workgroup(&name).await.map_err(during)? else { return Ok(()) };
        if !self.wanted.owner.has_described(found.description.as_deref()) {
            removal.kept.push(format!("{object} was not made by this pipeline"));
            return Ok(());
        }
        let (ids, _) = self.athena.query_ids(&name, None).await.map_err(during)?;
        if !ids.is_empty() {
            removal.kept.push(format!("{object} holds saved queries of others"));
            return Ok(());
        }
        match self.athena.delete_workgroup(&name).await {
            Ok(()) => removal.removed.push(object),
            Err(failure) if failure.kind == FailureKind::Invalid => removal.kept.push(format!("{object} is in use: {}", failure.message)),
            Err(failure) => return Err(during(failure)),
        }
        Ok(())
    }

    async fn remove_crawler(&self, removal: &mut Removal) -> Result<(), CatalogError> {
        if self.wanted.crawler.is_none() && !self.seen.has_crawler {
            return Ok(());
        }
        let name = &self.wanted.crawler_name;
        let object = format!("crawler {name}");
        let during = |failure| call(&object, failure);
        let found = self.glue.crawler(name).await.map_err(during)?;
        if found.is_some_and(|found| self.wanted.owner.has_described(found.description.as_deref())) {
            self.glue.delete_crawler(name).await.map_err(during)?;
            removal.removed.push(object);
        }
        Ok(())
    }

    async fn remove_tables(&self, removal: &mut Removal) -> Result<(), CatalogError> {
        for table in &self.wanted.tables {
            let object = super::tables::object(table);
            let during = |failure| call(&object, failure);
            let Some(found) = self.glue.table(&table.database, &table.input.name).await.map_err(during)? else { continue };
            if found.parameter(&owner_mark()) == Some(self.wanted.owner.text()) {
                self.glue.delete_table(&table.database, &table.input.name).await.map_err(during)?;
                removal.removed.push(object);
            } else {
                removal.kept.push(format!("{object} was not made by this pipeline"));
            }
        }
        Ok(())
    }

    async fn remove_database(&self, removal: &mut Removal) -> Result<(), CatalogError> {
        let name = &self.wanted.database.name;
        let object = format!("database {name}");
        let during = |failure| call(&object, failure);
        let Some(found) = self.glue.database(name).await.map_err(during)? else { return Ok(()) };
        if found.owner.as_deref() != Some(self.wanted.owner.text()) {
            removal.kept.push(format!("{object} was not made by this pipeline"));
        } else if self.glue.has_tables(name).await.map_err(during)? {
            removal.kept.push(format!("{object} holds other tables"));
        } else {
            self.glue.delete_database(name).await.map_err(during)?;
            removal.removed.push(object);
        }
        Ok(())
    }

    fn workgroup(&self) -> Option<String> {
        let wanted = self.wanted.athena.as_ref().map(|athena| athena.workgroup.name.clone());
        wanted.or_else(|| self.seen.workgroup.clone())
    }
}

fn call(object: &str, failure: Failure) -> CatalogError {
    CatalogError::Call { object: object.to_owned(), failure }
}
