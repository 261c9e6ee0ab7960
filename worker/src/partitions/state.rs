//! What is known of the partitions: registered, missing, counted. Pure.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stockpipeline::status::TablePartitions;

use super::Settings;
use super::glue::{Failure, TableDescriptor};

/// Partitions that are remembered as registered; beyond that they are asked for again, which costs a call and nothing else.
const MAX_KNOWN: usize = 20_000;
/// Partitions that are remembered as missing; the audit finds more.
const MAX_MISSING: usize = 10_000;
/// Things that the status names.
const MAX_NAMED: usize = 8;
/// Longest pause between two tries.
const LONGEST_RETRY: Duration = Duration::from_mins(5);
/// How long the table's descriptor is trusted.
const DESCRIPTOR_LASTS: Duration = Duration::from_mins(10);

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Index of its table in the settings.
    pub(super) table: usize,
    /// Names and values, not escaped, in path order.
    pub(super) hive: Vec<(String, String)>,
    /// Its folder in the bucket, with a slash at its end.
    pub(super) folder: String,
}

/// What is known.
#[derive(Debug)]
pub(super) struct State {
    tables: Vec<TableState>,
    known: HashSet<String>,
    missing: BTreeMap<String, Entry>,
    /// Why the last try failed, and when the next one is due.
    failing: Option<Failing>,
    first_retry: Duration,
}

#[derive(Debug)]
struct TableState {
    name: String,
    prefix: String,
    descriptor: Option<(Arc<TableDescriptor>, Instant)>,
    /// Why there is nothing to register in.
    complaint: Option<String>,
    partitions: Option<u64>,
    newest: Option<String>,
    audited_millis: Option<i64>,
}

#[derive(Debug, Clone)]
struct Failing {
    reason: String,
    pause: Duration,
    next: Instant,
}

impl State {
    pub(super) fn new(settings: &Settings) -> Self {
        let tables = settings.tables.iter().map(|table| TableState {
            name: format!("{}.{}", settings.database, table.table),
            prefix: format!("{}/", table.prefix),
            descriptor: None,
            complaint: None,
            partitions: None,
            newest: None,
            audited_millis: None,
        });
        Self {
            tables: tables.collect(),
            known: HashSet::new(),
            missing: BTreeMap::new(),
            failing: None,
            first_retry: settings.timing.first_retry,
        }
    }

    pub(super) fn is_known(&self, entry: &Entry) -> bool {
        self.known.contains(&entry.folder)
    }

    /// Notes that a partition is registered; `is_new` says that it was not before.
    pub(super) fn registered(&mut self, entry: &Entry, is_new: bool) {
        if self.known.len() >= MAX_KNOWN {
            self.known.clear();
        }
        self.known.insert(entry.folder.clone());
        self.missing.remove(&entry.folder);
        let Some(table) = self.tables.get_mut(entry.table) else { return };
        if is_new {
            table.partitions = table.partitions.map(|count| count + 1);
        }
        table.met(&entry.folder);
    }

    /// Notes a partition that has to be registered; false where there is no room for it.
    pub(super) fn lacks_one(&mut self, entry: Entry) -> bool {
        let has_room = self.missing.len() < MAX_MISSING || self.missing.contains_key(&entry.folder);
        if has_room {
            self.missing.insert(entry.folder.clone(), entry);
        }
        has_room
    }

    /// Returns the missing partitions of a table, a batch at most, after a folder.
    pub(super) fn batch(&self, table: usize, after: &str, limit: usize) -> Vec<Entry> {
        let rest = self.missing.range::<str, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        rest.map(|(_, entry)| entry).filter(|entry| entry.table == table).take(limit).cloned().collect()
    }

    pub(super) fn missing(&self) -> usize {
        self.missing.len()
    }

    /// Returns when the next try is due; None while nothing has failed.
    pub(super) fn next_try(&self) -> Option<Instant> {
        self.failing.as_ref().map(|failing| failing.next)
    }

    /// Notes that a try has failed.
    pub(super) fn failed(&mut self, reason: String, now: Instant) {
        let pause = self.failing.as_ref().map_or(self.first_retry, |failing| (failing.pause * 2).min(LONGEST_RETRY));
        self.failing = Some(Failing { reason, pause, next: now + pause });
    }

    /// Notes that a try has succeeded.
    pub(super) fn succeeded(&mut self) {
        self.failing = None;
    }

    /// Returns a table's descriptor, as long as it can be trusted.
    pub(super) fn descriptor(&self, table: usize, now: Instant) -> Option<Arc<TableDescriptor>> {
        let (descriptor, read_at) = self.tables.get(table)?.descriptor.as_ref()?;
        (now.duration_since(*read_at) < DESCRIPTOR_LASTS).then(|| Arc::clone(descriptor))
    }

    /// Notes a table's descriptor, or why it has none that fits.
    pub(super) fn described(&mut self, table: usize, found: Result<Arc<TableDescriptor>, String>, now: Instant) {
        let Some(table) = self.tables.get_mut(table) else { return };
        match found {
            Ok(descriptor) => {
                table.descriptor = Some((descriptor, now));
                table.complaint = None;
            }
            Err(complaint) => {
                table.descriptor = None;
                table.complaint = Some(complaint);
            }
        }
    }

    /// Forgets a table's descriptor: Glue did not take what was made of it.
    pub(super) fn forget_descriptor(&mut self, table: usize) {
        if let Some(table) = self.tables.get_mut(table) {
            table.descriptor = None;
        }
    }

    /// Notes the end of an audit; `all` is the number of partitions, where all were looked at.
    pub(super) fn audited(&mut self, table: usize, all: Option<u64>, newest: Option<&str>, now_millis: i64) {
        let Some(table) = self.tables.get_mut(table) else { return };
        if all.is_some() {
            table.partitions = all;
        }
        table.audited_millis = Some(now_millis);
        if let Some(folder) = newest {
            table.met(folder);
        }
    }

    /// Returns what the catalogue lacks, in words.
    pub(super) fn lacks(&self) -> Vec<String> {
        let mut lacks: Vec<String> = self.tables.iter().filter_map(|table| table.complaint.clone()).collect();
        for (index, table) in self.tables.iter().enumerate().filter(|(_, table)| table.complaint.is_none()) {
            let mut missing = self.missing.values().filter(|entry| entry.table == index);
            let Some(first) = missing.next() else { continue };
            let reason = self.failing.as_ref().map_or("being registered", |failing| failing.reason.as_str());
            let partition = table.partition(&first.folder);
            lacks.push(format!(
                "table {}: {} partitions are not registered, the first of them {partition}: {reason}",
                table.name,
                missing.count() + 1
            ));
        }
        lacks.truncate(MAX_NAMED);
        lacks
    }

    /// Returns what is known of each table's partitions.
    pub(super) fn tables(&self) -> Vec<TablePartitions> {
        let known = self.tables.iter().map(|table| TablePartitions {
            table: table.name.clone(),
            partitions: table.partitions,
            newest: table.newest.clone(),
            audited_millis: table.audited_millis,
        });
        known.collect()
    }
}

impl TableState {
    fn partition(&self, folder: &str) -> String {
        folder.strip_prefix(&self.prefix).unwrap_or(folder).trim_end_matches('/').to_owned()
    }

    fn met(&mut self, folder: &str) {
        let partition = self.partition(folder);
        if self.newest.as_ref().is_none_or(|newest| *newest < partition) {
            self.newest = Some(partition);
        }
    }
}

/// Returns the values of a partition in the order of the table's keys; None where the keys are not the partition's.
pub(super) fn values(entry: &Entry, keys: &[String]) -> Option<Vec<String>> {
    if entry.hive.len() != keys.len() {
        return None;
    }
    let value = |key: &String| entry.hive.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    keys.iter().map(value).collect()
}

/// Returns a failure in words, with the way out.
pub(super) fn told(failure: &Failure) -> String {
    let Failure { operation, code, message } = failure;
    let remedy = if failure.is_about_access() { format!("; allow glue:{operation} for the sinks' role") } else { String::new() };
    format!("{operation}: {code}: {message}{remedy}")
}

#[cfg(test)]
mod tests {
    use stockpipeline::plan::ZoneName;

    use super::super::{Timing, ZoneTable};
    use super::*;
    use crate::store::Credentials;

    fn state() -> State {
        let table = |zone, table: &str, prefix: &str, keys: &[(&str, bool)]| ZoneTable {
            zone,
            table: table.to_owned(),
            prefix: prefix.to_owned(),
            keys: keys.iter().map(|(name, grows)| ((*name).to_owned(), *grows)).collect(),
        };
        State::new(&Settings {
            region: "r".to_owned(),
            endpoint: None,
            catalog_id: None,
            credentials: Credentials::Chain,
            bucket: "b".to_owned(),
            database: "d".to_owned(),
            tables: vec![
                table(ZoneName::Processed, "ticks", "processed/ticks", &[("dt", true), ("symbol", false)]),
                table(ZoneName::Raw, "ticks_raw", "raw/ticks", &[("dt", true)]),
            ],
            timing: Timing::default(),
        })
    }

    fn entry(day: &str, symbol: &str) -> Entry {
        let hive = vec![("dt".to_owned(), day.to_owned()), ("symbol".to_owned(), symbol.to_owned())];
        Entry { table: 0, hive, folder: format!("processed/ticks/dt={day}/symbol={symbol}/") }
    }

    #[test]
    fn what_is_missing_shows_until_it_is_registered() {
        let mut state = state();
        assert!(state.lacks_one(entry("2024-05-01", "A")) && state.lacks_one(entry("2024-05-01", "B")));
        assert_eq!(
            state.lacks(),
            ["table d.ticks: 2 partitions are not registered, the first of them dt=2024-05-01/symbol=A: being registered"]
        );
        state.failed("no answer".to_owned(), Instant::now());
        assert!(state.lacks()[0].ends_with(": no answer"));
        state.registered(&entry("2024-05-01", "A"), true);
        state.registered(&entry("2024-05-01", "B"), true);
        assert_eq!((state.lacks().len(), state.missing()), (0, 0));
        assert!(state.is_known(&entry("2024-05-01", "A")));
    }

    #[test]
    fn counts_begin_with_an_audit_and_go_on_with_what_is_new() {
        let mut state = state();
        state.registered(&entry("2024-05-02", "A"), true);
        assert_eq!(state.tables()[0].partitions, None, "others may have registered more");
        state.audited(0, Some(10), Some("processed/ticks/dt=2024-05-01/symbol=Z/"), 5);
        state.registered(&entry("2024-05-03", "A"), true);
        state.registered(&entry("2024-05-03", "A"), false);
        let table = state.tables().remove(0);
        assert_eq!((table.partitions, table.newest.as_deref(), table.audited_millis), (Some(11), Some("dt=2024-05-03/symbol=A"), Some(5)));
    }

    #[test]
    fn memory_has_a_bound() {
        let mut state = state();
        let room = (0..=MAX_MISSING).filter(|number| state.lacks_one(entry("2024-05-01", &number.to_string()))).count();
        assert_eq!(room, MAX_MISSING);
        assert!(state.lacks_one(entry("2024-05-01", "7")), "what is there already needs no room");
        for number in 0..=MAX_KNOWN {
            state.registered(&entry("2024-05-02", &number.to_string()), false);
        }
        assert!(state.known.len() <= MAX_KNOWN);
    }

    #[test]
    fn batches_go_on_after_a_folder_and_hold_one_table() {
        let mut state = state();
        for symbol in ["A", "B", "C"] {
            state.lacks_one(entry("2024-05-01", symbol));
        }
        let first = state.batch(0, "", 2);
        assert_eq!(first, [entry("2024-05-01", "A"), entry("2024-05-01", "B")]);
        assert_eq!(state.batch(0, &first[1].folder, 2), [entry("2024-05-01", "C")]);
        assert_eq!(state.batch(1, "", 2), []);
    }

    #[test]
    fn pauses_double_and_end_with_a_success() {
        let (mut state, now) = (state(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..12 {
            state.failed(String::new(), now);
            pauses.push(state.next_try().unwrap().duration_since(now).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        state.succeeded();
        assert_eq!(state.next_try(), None);
    }

    #[test]
    fn values_follow_the_tables_keys() {
        let keys = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let entry = entry("2024-05-01", "BRK.B");
        assert_eq!(values(&entry, &keys(&["dt", "symbol"])), Some(keys(&["2024-05-01", "BRK.B"])));
        assert_eq!(values(&entry, &keys(&["symbol", "dt"])), Some(keys(&["BRK.B", "2024-05-01"])));
        assert_eq!(values(&entry, &keys(&["dt"])), None);
        assert_eq!(values(&entry, &keys(&["dt", "hour"])), None);
    }
}
