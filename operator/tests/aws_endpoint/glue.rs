//! Databases, tables with versions, partitions and crawlers.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Answer, Refusal, refuse, text};

/// Entries that Glue takes in one call.
const BATCH: usize = 100;
/// Partition indexes of a table.
const INDEXES: usize = 3;

/// What Glue knows.
pub(crate) struct Glue {
    /// Databases by name.
    pub(crate) databases: BTreeMap<String, Database>,
    /// Crawlers by name.
    pub(crate) crawlers: BTreeMap<String, Value>,
    /// Partitions on a page.
    pub(crate) page_size: usize,
}

/// A database.
#[derive(Default)]
pub(crate) struct Database {
    /// `DatabaseInput`.
    pub(crate) input: Value,
    /// Tables and views by name.
    pub(crate) tables: BTreeMap<String, Table>,
}

/// A table or view.
#[derive(Default)]
pub(crate) struct Table {
    /// `TableInput`.
    pub(crate) input: Value,
    /// Version.
    pub(crate) version: u64,
    /// Versions that were kept.
    pub(crate) archived: Vec<u64>,
    /// Partition indexes as they were asked for, with `IndexStatus` where they are not in use.
    pub(crate) indexes: Vec<Value>,
    /// `PartitionInput` by values.
    pub(crate) partitions: BTreeMap<Vec<String>, Value>,
    /// Partitions that no update is taken for.
    pub(crate) stubborn: BTreeSet<Vec<String>>,
    /// Values for which a call is refused as a whole, whatever else it is about.
    pub(crate) refused: BTreeSet<Vec<String>>,
}

impl Default for Glue {
    fn default() -> Self {
        Self { databases: BTreeMap::new(), crawlers: BTreeMap::new(), page_size: 1_000 }
    }
}

impl Glue {
    /// Returns a table that has to be there.
    pub(crate) fn table(&self, database: &str, name: &str) -> &Table {
        &self.databases[database].tables[name]
    }

    /// Returns the names of a database's tables in order.
    pub(crate) fn names(&self, database: &str) -> Vec<String> {
        self.databases.get(database).iter().flat_map(|database| database.tables.keys()).cloned().collect()
    }

    /// Returns a table that has to be there, to change it as others would.
    pub(crate) fn table_mut(&mut self, database: &str, name: &str) -> &mut Table {
        self.databases.get_mut(database).unwrap().tables.get_mut(name).unwrap()
    }

    /// Changes a table as somebody else would: with a new version.
    pub(crate) fn edit(&mut self, database: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let table = self.table_mut(database, name);
        change(&mut table.input);
        table.version += 1;
    }

    pub(super) fn call(&mut self, operation: &str, input: &Value) -> Answer {
        match operation {
            "GetDatabase" => self.get_database(input),
            "CreateDatabase" => self.create_database(input),
            "DeleteDatabase" => match self.databases.remove(&text(input, "Name")) {
                Some(_) => Ok(json!({})),
                None => not_found("database", &text(input, "Name")),
            },
            "GetTables" => self.get_tables(input),
            "GetTable" => {
                let database = text(input, "DatabaseName");
                let name = text(input, "Name");
                Ok(json!({"Table": self.find(input, "Name")?.as_seen(&database, &name)}))
            }
            "CreateTable" => self.create_table(input),
            "UpdateTable" => self.update_table(input),
            "DeleteTable" => {
                self.find(input, "Name")?;
                self.database_mut(input)?.tables.remove(&text(input, "Name"));
                Ok(json!({}))
            }
            "GetPartitionIndexes" => self.get_indexes(input),
            "CreatePartitionIndex" => self.create_index(input),
            "GetPartitions" => self.get_partitions(input),
            "BatchCreatePartition" => self.create_partitions(input),
            "BatchUpdatePartition" => self.update_partitions(input),
            "BatchGetPartition" => self.batch_get_partition(input),
            "GetCrawler" => match self.crawlers.get(&text(input, "Name")) {
                Some(crawler) => Ok(json!({"Crawler": crawler})),
                None => not_found("crawler", &text(input, "Name")),
            },
            "CreateCrawler" | "UpdateCrawler" => self.put_crawler(operation, input),
            "DeleteCrawler" => match self.crawlers.remove(&text(input, "Name")) {
                Some(_) => Ok(json!({})),
                None => not_found("crawler", &text(input, "Name")),
            },
            "ListCrawls" => Ok(json!({"Crawls": [{"Summary": "{\"PARTITION\":{\"ADD\":\"2\"}}"}]})),
            _ => refuse("UnknownOperationException", operation),
        }
    }

    fn get_database(&self, input: &Value) -> Answer {
        let name = text(input, "Name");
        match self.databases.get(&name) {
            Some(database) => Ok(json!({"Database": database.input})),
            None => not_found("database", &name),
        }
    }

    fn create_database(&mut self, input: &Value) -> Answer {
        let name = text(&input["DatabaseInput"], "Name");
        if self.databases.contains_key(&name) {
            return refuse("AlreadyExistsException", format!("Database {name} already exists."));
        }
        self.databases.insert(name, Database { input: input["DatabaseInput"].clone(), tables: BTreeMap::new() });
        Ok(json!({}))
    }

    fn get_tables(&mut self, input: &Value) -> Answer {
        let name = text(input, "DatabaseName");
        let most = input["MaxResults"].as_u64().unwrap_or(100);
        let database = self.database_mut(input)?;
        let tables = database.tables.iter().take(usize::try_from(most).unwrap_or(100));
        Ok(json!({"TableList": tables.map(|(table, found)| found.as_seen(&name, table)).collect::<Vec<_>>()}))
    }

    fn create_table(&mut self, input: &Value) -> Answer {
        let table = &input["TableInput"];
        let name = text(table, "Name");
        check_table(table)?;
        let indexes = input["PartitionIndexes"].as_array().cloned().unwrap_or_default();
        let database = self.database_mut(input)?;
        if database.tables.contains_key(&name) {
            return refuse("AlreadyExistsException", "Table already exists.");
        }
        database.tables.insert(name, Table { input: table.clone(), indexes, ..Table::default() });
        Ok(json!({}))
    }

    fn update_table(&mut self, input: &Value) -> Answer {
        let name = text(&input["TableInput"], "Name");
        check_table(&input["TableInput"])?;
        let Some(table) = self.database_mut(input)?.tables.get_mut(&name) else { return not_found("table", &name) };
        let version = text(input, "VersionId");
        if !version.is_empty() && version != table.version.to_string() {
            return refuse("ConcurrentModificationException", "Update table failed due to concurrent modifications.");
        }
        if input["SkipArchive"].as_bool() != Some(true) {
            table.archived.push(table.version);
        }
        table.version += 1;
        table.input = input["TableInput"].clone();
        Ok(json!({}))
    }

    fn get_partitions(&mut self, input: &Value) -> Answer {
        let page_size = self.page_size;
        let table = self.find(input, "TableName")?;
        let start: usize = match text(input, "NextToken").as_str() {
            "" => 0,
            token => match token.strip_prefix("page-").and_then(|start| start.parse().ok()) {
                Some(start) => start,
                None => return refuse("InvalidInputException", "The token is not valid."),
            },
        };
        let bare = input["ExcludeColumnSchema"].as_bool() == Some(true);
        let page = table.partitions.values().skip(start).take(page_size).cloned().map(|mut partition| {
            if bare {
                partition["StorageDescriptor"]["Columns"] = json!([]);
            }
            partition
        });
        let mut answer = json!({"Partitions": page.collect::<Vec<_>>()});
        if start + page_size < table.partitions.len() {
            answer["NextToken"] = json!(format!("page-{}", start + page_size));
        }
        Ok(answer)
    }

    /// What is at work is seen so once, and has ended by the next look; what has failed stays.
    fn get_indexes(&mut self, input: &Value) -> Answer {
        let table = self.find(input, "TableName")?;
        let mut list = Vec::new();
        for index in &mut table.indexes {
            let keys = index["Keys"].as_array().cloned().unwrap_or_default();
            let keys: Vec<Value> = keys.iter().map(|name| json!({"Name": name, "Type": "string"})).collect();
            let state = index["IndexStatus"].as_str().unwrap_or("ACTIVE").to_owned();
            let errors = if state == "FAILED" { json!([{"Code": "ENCRYPTED_PARTITION_ERROR", "Partitions": []}]) } else { json!([]) };
            list.push(json!({"IndexName": index["IndexName"], "Keys": keys, "IndexStatus": state, "BackfillErrors": errors}));
            if state == "CREATING" {
                index.as_object_mut().unwrap().remove("IndexStatus");
            }
        }
        table.indexes.retain(|index| index["IndexStatus"] != "DELETING");
        Ok(json!({"PartitionIndexDescriptorList": list}))
    }

    fn create_index(&mut self, input: &Value) -> Answer {
        let wanted = input["PartitionIndex"].clone();
        let table = self.find(input, "TableName")?;
        if table.indexes.iter().any(|index| index["Keys"] == wanted["Keys"] || index["IndexName"] == wanted["IndexName"]) {
            return refuse("AlreadyExistsException", "Partition Index already exists.");
        }
        if table.indexes.iter().any(|index| ["CREATING", "DELETING"].iter().any(|state| index["IndexStatus"] == *state)) {
            return refuse("ResourceNumberLimitExceededException", "Only 1 index can be created or deleted simultaneously per table.");
        }
        if table.indexes.len() >= INDEXES {
            return refuse("ResourceNumberLimitExceededException", "Partition index limit exceeded. Maximum: 3");
        }
        let mut index = wanted;
        index["IndexStatus"] = json!("CREATING");
        table.indexes.push(index);
        Ok(json!({}))
    }

    fn create_partitions(&mut self, input: &Value) -> Answer {
        let entries = entries(input, "PartitionInputList")?;
        let table = self.find(input, "TableName")?;
        table.check_values(entries.iter().map(|entry| &entry["Values"]))?;
        let keys = table.input["PartitionKeys"].as_array().map_or(0, Vec::len);
        let mut errors = Vec::new();
        for entry in entries {
            check_descriptor(&entry["StorageDescriptor"])?;
            let values = values(&entry["Values"]);
            if values.len() != keys {
                errors.push(partition_error(&values, "InvalidInputException"));
                continue;
            }
            match table.partitions.entry(values) {
                Entry::Occupied(taken) => errors.push(partition_error(taken.key(), "AlreadyExistsException")),
                Entry::Vacant(free) => {
                    free.insert(entry.clone());
                }
            }
        }
        Ok(json!({"Errors": errors}))
    }

    fn update_partitions(&mut self, input: &Value) -> Answer {
        let entries = entries(input, "Entries")?;
        let table = self.find(input, "TableName")?;
        table.check_values(entries.iter().map(|entry| &entry["PartitionValueList"]))?;
        let mut errors = Vec::new();
        for entry in entries {
            check_descriptor(&entry["PartitionInput"]["StorageDescriptor"])?;
            let values = values(&entry["PartitionValueList"]);
            if table.stubborn.contains(&values) {
                let detail = json!({"ErrorCode": "InvalidInputException", "ErrorMessage": "The partition is not valid."});
                errors.push(json!({"PartitionValueList": values, "ErrorDetail": detail}));
            } else if let Some(partition) = table.partitions.get_mut(&values) {
                *partition = entry["PartitionInput"].clone();
            } else {
                let detail = json!({"ErrorCode": "EntityNotFoundException", "ErrorMessage": "Partition not found."});
                errors.push(json!({"PartitionValueList": values, "ErrorDetail": detail}));
            }
        }
        Ok(json!({"Errors": errors}))
    }

    fn batch_get_partition(&mut self, input: &Value) -> Answer {
        let table = self.find(input, "TableName")?;
        let wanted = input["PartitionsToGet"].as_array().cloned().unwrap_or_default();
        table.check_values(wanted.iter().map(|entry| &entry["Values"]))?;
        let found = wanted.iter().filter_map(|entry| table.partitions.get(&values(&entry["Values"]))).cloned();
        Ok(json!({"Partitions": found.collect::<Vec<_>>(), "UnprocessedKeys": []}))
    }

    fn put_crawler(&mut self, operation: &str, input: &Value) -> Answer {
        let name = text(input, "Name");
        match (operation, self.crawlers.contains_key(&name)) {
            ("CreateCrawler", true) => return refuse("AlreadyExistsException", format!("Crawler {name} already exists")),
            ("UpdateCrawler", false) => return not_found("crawler", &name),
            _ => {}
        }
        let mut crawler = input.clone();
        let schedule = text(input, "Schedule");
        crawler["Schedule"] = if schedule.is_empty() { Value::Null } else { json!({"ScheduleExpression": schedule, "State": "SCHEDULED"}) };
        self.crawlers.insert(name, crawler);
        Ok(json!({}))
    }

    fn database_mut(&mut self, input: &Value) -> Result<&mut Database, Refusal> {
        let name = text(input, "DatabaseName");
        match self.databases.get_mut(&name) {
            Some(database) => Ok(database),
            None => not_found("database", &name),
        }
    }

    fn find(&mut self, input: &Value, member: &str) -> Result<&mut Table, Refusal> {
        let name = text(input, member);
        match self.database_mut(input)?.tables.get_mut(&name) {
            Some(table) => Ok(table),
            None => not_found("table", &name),
        }
    }
}

impl Table {
    fn check_values<'a>(&self, mut lists: impl Iterator<Item = &'a Value>) -> Result<(), Refusal> {
        match lists.find(|list| self.refused.contains(&values(list))) {
            Some(list) => refuse("InvalidInputException", format!("The value {list} is not valid.")),
            None => Ok(()),
        }
    }

    fn as_seen(&self, database: &str, name: &str) -> Value {
        let mut seen = self.input.clone();
        seen["Name"] = json!(name);
        seen["DatabaseName"] = json!(database);
        seen["VersionId"] = json!(self.version.to_string());
        seen["CreateTime"] = json!(1_700_000_000);
        seen["IsRegisteredWithLakeFormation"] = json!(false);
        let descriptor = seen["StorageDescriptor"].as_object_mut();
        if let Some(descriptor) = descriptor {
            for (member, value) in [("Compressed", json!(false)), ("NumberOfBuckets", json!(0)), ("StoredAsSubDirectories", json!(false))] {
                descriptor.entry(member).or_insert(value);
            }
        }
        seen
    }
}

/// Texts of a descriptor that Glue takes with one character or more, or not at all.
const NEVER_EMPTY: [&str; 3] = ["/SerdeInfo/Name", "/SerdeInfo/SerializationLibrary", "/SchemaReference/SchemaVersionId"];

fn check_descriptor(descriptor: &Value) -> Result<(), Refusal> {
    let columns = descriptor["Columns"].as_array().into_iter().flatten().map(|column| &column["Name"]);
    let mut texts = columns.chain(NEVER_EMPTY.iter().filter_map(|path| descriptor.pointer(path)));
    if texts.any(|text| text == "") {
        let message =
            "1 validation error detected: Value '' failed to satisfy constraint: Member must have length greater than or equal to 1";
        return refuse("ValidationException", message);
    }
    Ok(())
}

/// Glue refuses a column that is there twice, among the keys, too.
fn check_table(table: &Value) -> Result<(), Refusal> {
    check_descriptor(&table["StorageDescriptor"])?;
    let names = |list: &Value| list.as_array().cloned().unwrap_or_default().iter().map(|column| text(column, "Name")).collect::<Vec<_>>();
    let mut all = names(&table["StorageDescriptor"]["Columns"]);
    all.extend(names(&table["PartitionKeys"]));
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    let name = text(table, "Name");
    if all.len() < count || name.is_empty() || name.chars().any(char::is_uppercase) {
        return refuse("InvalidInputException", "The table is not valid.");
    }
    Ok(())
}

fn entries(input: &Value, member: &str) -> Result<Vec<Value>, Refusal> {
    let entries = input[member].as_array().cloned().unwrap_or_default();
    if entries.len() > BATCH {
        return refuse("InvalidInputException", format!("{member} has more than {BATCH} entries"));
    }
    Ok(entries)
}

fn values(list: &Value) -> Vec<String> {
    list.as_array().cloned().unwrap_or_default().iter().map(|value| value.as_str().unwrap_or_default().to_owned()).collect()
}

fn partition_error(values: &[String], code: &str) -> Value {
    json!({"PartitionValues": values, "ErrorDetail": {"ErrorCode": code, "ErrorMessage": code}})
}

fn not_found<T>(what: &str, name: &str) -> Result<T, Refusal> {
    refuse("EntityNotFoundException", format!("Entity Not Found: {what} {name}"))
}
