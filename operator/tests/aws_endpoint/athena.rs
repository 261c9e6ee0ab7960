//! Workgroups, saved queries, and statements that make views.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::glue::{Glue, Table};
use super::{Answer, refuse, text};

/// Saved queries on a page.
const PAGE: usize = 50;

/// What Athena knows.
#[derive(Default)]
pub(crate) struct Athena {
    /// Workgroups by name: what they were made with.
    pub(crate) workgroups: BTreeMap<String, Value>,
    /// Saved queries by id.
    pub(crate) queries: BTreeMap<String, Value>,
    /// Statements that were run, in order.
    pub(crate) statements: Vec<String>,
    /// Looks at a statement until it has ended.
    pub(crate) looks_until_done: usize,
    /// Ids by the token that they were made with.
    tokens: BTreeMap<String, String>,
    executions: BTreeMap<String, Execution>,
    numbers: u64,
}

struct Execution {
    looks: usize,
    failure: Option<String>,
}

impl Athena {
    pub(super) fn call(&mut self, operation: &str, input: &Value, glue: &mut Glue) -> Answer {
        match operation {
            "GetWorkGroup" => {
                let name = text(input, "WorkGroup");
                match self.workgroups.get(&name) {
                    Some(group) => Ok(json!({"WorkGroup": group})),
                    None => missing_group(&name),
                }
            }
            "CreateWorkGroup" => {
                let name = text(input, "Name");
                if self.workgroups.contains_key(&name) {
                    return refuse("InvalidRequestException", "WorkGroup is already created");
                }
                self.workgroups.insert(name, input.clone());
                Ok(json!({}))
            }
            "UpdateWorkGroup" => self.update_workgroup(input),
            "DeleteWorkGroup" => {
                let name = text(input, "WorkGroup");
                if self.queries.values().any(|query| text(query, "WorkGroup") == name) {
                    return refuse("InvalidRequestException", format!("WorkGroup {name} is not empty"));
                }
                if self.workgroups.remove(&name).is_none() { missing_group(&name) } else { Ok(json!({})) }
            }
            "ListNamedQueries" => Ok(self.list_queries(input)),
            "BatchGetNamedQuery" => {
                let ids = input["NamedQueryIds"].as_array().cloned().unwrap_or_default();
                let found = ids.iter().filter_map(|id| self.queries.get(id.as_str().unwrap_or_default()));
                Ok(json!({"NamedQueries": found.collect::<Vec<_>>(), "UnprocessedNamedQueryIds": []}))
            }
            "GetNamedQuery" => {
                let id = text(input, "NamedQueryId");
                match self.queries.get(&id) {
                    Some(query) => Ok(json!({"NamedQuery": query})),
                    None => missing_query(&id),
                }
            }
            "CreateNamedQuery" => self.create_query(input),
            "UpdateNamedQuery" => {
                let id = text(input, "NamedQueryId");
                let Some(query) = self.queries.get_mut(&id) else { return missing_query(&id) };
                for member in ["Name", "Description", "QueryString"] {
                    query[member] = input[member].clone();
                }
                Ok(json!({}))
            }
            "DeleteNamedQuery" => {
                let id = text(input, "NamedQueryId");
                if self.queries.remove(&id).is_none() { missing_query(&id) } else { Ok(json!({})) }
            }
            "StartQueryExecution" => self.start(input, glue),
            "GetQueryExecution" => self.look(input),
            _ => refuse("UnknownOperationException", operation),
        }
    }

    fn update_workgroup(&mut self, input: &Value) -> Answer {
        let name = text(input, "WorkGroup");
        let Some(group) = self.workgroups.get_mut(&name) else { return missing_group(&name) };
        let updates = &input["ConfigurationUpdates"];
        if let Some(location) = updates["ResultConfigurationUpdates"].get("OutputLocation") {
            group["Configuration"]["ResultConfiguration"]["OutputLocation"] = location.clone();
        }
        if updates["RemoveBytesScannedCutoffPerQuery"].as_bool() == Some(true) {
            group["Configuration"]["BytesScannedCutoffPerQuery"] = Value::Null;
        } else if let Some(bytes) = updates.get("BytesScannedCutoffPerQuery") {
            group["Configuration"]["BytesScannedCutoffPerQuery"] = bytes.clone();
        }
        Ok(json!({}))
    }

    fn list_queries(&self, input: &Value) -> Value {
        let group = text(input, "WorkGroup");
        let start: usize = text(input, "NextToken").parse().unwrap_or(0);
        let of_group = self.queries.iter().filter(|(_, query)| text(query, "WorkGroup") == group).map(|(id, _)| id);
        let ids: Vec<&String> = of_group.skip(start).take(PAGE + 1).collect();
        let mut answer = json!({"NamedQueryIds": ids.iter().take(PAGE).collect::<Vec<_>>()});
        if ids.len() > PAGE {
            answer["NextToken"] = json!((start + PAGE).to_string());
        }
        answer
    }

    fn create_query(&mut self, input: &Value) -> Answer {
        if !self.workgroups.contains_key(&text(input, "WorkGroup")) {
            return missing_group(&text(input, "WorkGroup"));
        }
        let token = text(input, "ClientRequestToken");
        if let Some(id) = self.tokens.get(&token) {
            return Ok(json!({"NamedQueryId": id}));
        }
        let id = self.id();
        let mut query = input.clone();
        query["NamedQueryId"] = json!(id);
        self.queries.insert(id.clone(), query);
        self.tokens.insert(token, id.clone());
        Ok(json!({"NamedQueryId": id}))
    }

    /// A statement that makes a view makes it at once; it is only told later.
    fn start(&mut self, input: &Value, glue: &mut Glue) -> Answer {
        let statement = text(input, "QueryString");
        let database = text(&input["QueryExecutionContext"], "Database");
        self.statements.push(statement.clone());
        let parsed = statement.strip_prefix("CREATE OR REPLACE VIEW \"").and_then(|rest| rest.split_once("\" AS\n"));
        let Some((name, select)) = parsed else { return refuse("InvalidRequestException", "line 1:1: mismatched input") };
        let is_select = ["select", "with"].iter().any(|word| select.trim_start().to_lowercase().starts_with(word));
        let failure = (!is_select).then(|| "SYNTAX_ERROR: line 2:1: mismatched input".to_owned());
        if failure.is_none() {
            let Some(database) = glue.databases.get_mut(&database) else {
                return refuse("InvalidRequestException", "the database does not exist");
            };
            let version = database.tables.get(name).map_or(0, |before| before.version + 1);
            let input = json!({
                "Name": name,
                "TableType": "VIRTUAL_VIEW",
                "Parameters": {"presto_view": "true", "comment": "Presto View"},
                "StorageDescriptor": {"Columns": [{"Name": "day", "Type": "string"}], "Location": "", "SerdeInfo": {}},
                "PartitionKeys": [],
                "ViewOriginalText": format!("/* Presto View: {} */", select.len()),
                "ViewExpandedText": "/* Presto View */",
            });
            database.tables.insert(name.to_owned(), Table { input, version, ..Table::default() });
        }
        let id = self.id();
        self.executions.insert(id.clone(), Execution { looks: self.looks_until_done, failure });
        Ok(json!({"QueryExecutionId": id}))
    }

    fn look(&mut self, input: &Value) -> Answer {
        let Some(execution) = self.executions.get_mut(&text(input, "QueryExecutionId")) else {
            return refuse("InvalidRequestException", "QueryExecution was not found");
        };
        let status = if execution.looks > 0 {
            execution.looks -= 1;
            json!({"State": "RUNNING"})
        } else {
            match &execution.failure {
                Some(reason) => json!({
                    "State": "FAILED",
                    "StateChangeReason": reason,
                    "AthenaError": {"ErrorCategory": 2, "Retryable": false},
                }),
                None => json!({"State": "SUCCEEDED"}),
            }
        };
        Ok(json!({"QueryExecution": {"Status": status}}))
    }

    fn id(&mut self) -> String {
        self.numbers += 1;
        format!("00000000-0000-0000-0000-{:012}", self.numbers)
    }
}

fn missing_group(name: &str) -> Answer {
    refuse("InvalidRequestException", format!("WorkGroup {name} is not found."))
}

fn missing_query(id: &str) -> Answer {
    refuse("InvalidRequestException", format!("NamedQuery {id} does not exist"))
}
