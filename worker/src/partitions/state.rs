//! What is known of the partitions: registered, missing, put aside, counted. Pure.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stockpipeline::layout::NULL_PARTITION;
use stockpipeline::status::TablePartitions;

use super::glue::{Failure, TableDescriptor};
use super::{Settings, ZoneTable};

/// Partitions that are remembered as registered; beyond that they are asked for again, which costs a call and nothing else.
const MAX_KNOWN: usize = 20_000;
/// Partitions of one table that are remembered as missing; once there are more, an audit of all of them is owed.
const MAX_MISSING: usize = 10_000;
/// Things that the status names.
const MAX_NAMED: usize = 8;
/// Longest pause between two tries of what may heal by itself.
pub(super) const LONGEST_RETRY: Duration = Duration::from_mins(5);
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
    first_retry: Duration,
}

#[derive(Debug)]
struct TableState {
    name: String,
    prefix: String,
    /// Names of the keys whose values grow with time; all of them where none does.
    growing: Vec<String>,
    descriptor: Option<(Arc<TableDescriptor>, Instant)>,
    /// Why there is nothing to register in.
    complaint: Option<String>,
    missing: BTreeMap<String, Missing>,
    /// Why the last try failed for all of them, and when the next one is due.
    failing: Option<Failing>,
    /// Whether something was missing that there was no room for.
    owes_audit: bool,
    partitions: Option<u64>,
    newest: Option<Entry>,
    /// What the last audit could not give the table's descriptor, and why.
    stale: Option<String>,
    audited_millis: Option<i64>,
}

/// A partition that is not registered, and why not, where it alone was not taken.
#[derive(Debug)]
struct Missing {
    entry: Entry,
    failing: Option<Failing>,
}

#[derive(Debug, Clone)]
struct Failing {
    reason: String,
    pause: Duration,
    next: Instant,
}

impl Failing {
    /// Returns what follows from one more failure: pauses double.
    fn again(before: Option<&Self>, first: Duration, longest: Duration, reason: String, now: Instant) -> Self {
        let pause = before.map_or(first, |failing| failing.pause * 2).min(longest);
        Self { reason, pause, next: now + pause }
    }
}

impl State {
    pub(super) fn new(settings: &Settings) -> Self {
        let tables = settings.tables.iter().map(|table| TableState {
            name: format!("{}.{}", settings.database, table.table),
            prefix: format!("{}/", table.prefix),
            growing: growing(table),
            descriptor: None,
            complaint: None,
            missing: BTreeMap::new(),
            failing: None,
            owes_audit: false,
            partitions: None,
            newest: None,
            stale: None,
            audited_millis: None,
        });
        Self { tables: tables.collect(), known: HashSet::new(), first_retry: settings.timing.first_retry }
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
        let Some(table) = self.tables.get_mut(entry.table) else { return };
        table.missing.remove(&entry.folder);
        if is_new {
            table.partitions = table.partitions.map(|count| count + 1);
        }
        table.met(entry);
    }

    /// Notes that a partition is not known to be registered any more.
    pub(super) fn forget(&mut self, entry: &Entry) {
        self.known.remove(&entry.folder);
    }

    /// Notes a partition that has to be registered; false where there is no room for it, so that an audit is owed.
    pub(super) fn lacks_one(&mut self, entry: Entry) -> bool {
        let Some(table) = self.tables.get_mut(entry.table) else { return false };
        let has_room = table.missing.len() < MAX_MISSING || table.missing.contains_key(&entry.folder);
        if has_room {
            table.missing.entry(entry.folder.clone()).or_insert(Missing { entry, failing: None });
        } else {
            table.owes_audit = true;
        }
        has_room
    }

    /// Notes a partition that was not taken, while others are; false where there is no room for it.
    pub(super) fn put_aside(&mut self, entry: &Entry, reason: String, longest: Duration, now: Instant) -> bool {
        let first = self.first_retry;
        let has_room = self.lacks_one(entry.clone());
        if let Some(missing) = self.tables.get_mut(entry.table).and_then(|table| table.missing.get_mut(&entry.folder)) {
            missing.failing = Some(Failing::again(missing.failing.as_ref(), first, longest, reason, now));
        }
        has_room
    }

    /// Returns whether a partition was put aside, and is not to be tried yet.
    pub(super) fn is_put_aside(&self, entry: &Entry, now: Instant) -> bool {
        let missing = self.tables.get(entry.table).and_then(|table| table.missing.get(&entry.folder));
        missing.and_then(|missing| missing.failing.as_ref()).is_some_and(|failing| failing.next > now)
    }

    /// Returns missing partitions of a table that may be tried, a batch at most. Those that were put aside go by themselves: they would
    /// have the others refused with them.
    pub(super) fn due(&self, table: usize, limit: usize, now: Instant) -> Vec<Entry> {
        let missing = || self.tables.get(table).into_iter().flat_map(|table| table.missing.values());
        let chosen = |entries: &mut dyn Iterator<Item = &Missing>| entries.take(limit).map(|missing| missing.entry.clone()).collect();
        let fresh: Vec<Entry> = chosen(&mut missing().filter(|missing| missing.failing.is_none()));
        if !fresh.is_empty() {
            return fresh;
        }
        chosen(&mut missing().filter(|missing| missing.failing.as_ref().is_some_and(|failing| failing.next <= now)))
    }

    /// Returns how many partitions are missing, of all tables.
    pub(super) fn missing(&self) -> usize {
        self.tables.iter().map(|table| table.missing.len()).sum()
    }

    /// Returns when a table's next try is due; None while nothing is missing.
    pub(super) fn next_try(&self, table: usize, now: Instant) -> Option<Instant> {
        let table = self.tables.get(table)?;
        let first = table.missing.values().map(|missing| missing.failing.as_ref().map_or(now, |failing| failing.next)).min()?;
        Some(table.failing.as_ref().map_or(first, |failing| failing.next.max(first)))
    }

    /// Returns whether a table has failed as a whole, and is not to be tried yet.
    pub(super) fn is_paused(&self, table: usize, now: Instant) -> bool {
        self.tables.get(table).and_then(|table| table.failing.as_ref()).is_some_and(|failing| failing.next > now)
    }

    /// Notes that a try has failed for all partitions of a table.
    pub(super) fn failed(&mut self, table: usize, reason: String, now: Instant) {
        let first = self.first_retry;
        if let Some(table) = self.tables.get_mut(table) {
            table.failing = Some(Failing::again(table.failing.as_ref(), first, LONGEST_RETRY, reason, now));
        }
    }

    /// Notes that a table takes partitions.
    pub(super) fn succeeded(&mut self, table: usize) {
        if let Some(table) = self.tables.get_mut(table) {
            table.failing = None;
        }
    }

    /// Notes that partitions of a table went by unseen.
    pub(super) fn owe_audit(&mut self, table: usize) {
        if let Some(table) = self.tables.get_mut(table) {
            table.owes_audit = true;
        }
    }

    /// Returns whether partitions of a table went by unseen.
    pub(super) fn owes_audit(&self, table: usize) -> bool {
        self.tables.get(table).is_some_and(|table| table.owes_audit)
    }

    /// Begins the audit that is owed: what goes by unseen from now on is owed anew.
    pub(super) fn pay_audit(&mut self, table: usize) {
        if let Some(table) = self.tables.get_mut(table) {
            table.owes_audit = false;
        }
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

    /// Notes the end of an audit: how many partitions there are, where all were looked at, and what stays behind the table.
    pub(super) fn audited(&mut self, table: usize, all: Option<u64>, stale: Option<String>, now_millis: i64) {
        let Some(table) = self.tables.get_mut(table) else { return };
        if all.is_some() {
            table.partitions = all;
        }
        // An audit of the newest says nothing about the others.
        if all.is_some() || stale.is_some() {
            table.stale = stale;
        }
        table.audited_millis = Some(now_millis);
    }

    /// Returns what the catalogue lacks, in words.
    pub(super) fn lacks(&self) -> Vec<String> {
        let mut lacks: Vec<String> = self.tables.iter().filter_map(|table| table.complaint.clone()).collect();
        for table in self.tables.iter().filter(|table| table.complaint.is_none()) {
            lacks.extend(table.lacks_partitions());
            lacks.extend(table.stale.as_ref().map(|stale| format!("table {}: {stale}", table.name)));
        }
        lacks.truncate(MAX_NAMED);
        lacks
    }

    /// Returns what is known of each table's partitions.
    pub(super) fn tables(&self) -> Vec<TablePartitions> {
        let known = self.tables.iter().map(|table| TablePartitions {
            table: table.name.clone(),
            partitions: table.partitions,
            newest: table.newest.as_ref().map(|entry| table.partition(&entry.folder)),
            audited_millis: table.audited_millis,
        });
        known.collect()
    }
}

impl TableState {
    fn partition(&self, folder: &str) -> String {
        folder.strip_prefix(&self.prefix).unwrap_or(folder).trim_end_matches('/').to_owned()
    }

    /// Returns how many partitions are missing, and the first that is a reason why.
    fn lacks_partitions(&self) -> Option<String> {
        let (name, count) = (&self.name, self.missing.len());
        let aside = || self.missing.values().find_map(|missing| Some((missing, missing.failing.as_ref()?)));
        let (missing, reason) = match (&self.failing, aside()) {
            (Some(failing), _) => (self.missing.values().next()?, failing.reason.as_str()),
            (None, Some((missing, failing))) => (missing, failing.reason.as_str()),
            (None, None) => (self.missing.values().next()?, "being registered"),
        };
        let partition = self.partition(&missing.entry.folder);
        Some(format!("table {name}: {count} partitions are not registered, among them {partition}: {reason}"))
    }

    /// Keeps the newest by time. Rows without a time have none, though their folder is behind all others.
    fn met(&mut self, entry: &Entry) {
        let times = |entry: &Entry| -> Vec<String> {
            entry.hive.iter().filter(|(name, _)| self.growing.contains(name)).map(|(_, value)| value.clone()).collect()
        };
        let found = times(entry);
        if found.iter().any(|value| value == NULL_PARTITION) {
            return;
        }
        let is_newer = |newest: &Entry| (times(newest), &newest.folder) < (found, &entry.folder);
        if self.newest.as_ref().is_none_or(is_newer) {
            self.newest = Some(entry.clone());
        }
    }
}

fn growing(table: &ZoneTable) -> Vec<String> {
    let named = |grows: bool| table.keys.iter().filter(move |(_, key_grows)| *key_grows || !grows).map(|(name, _)| name.clone());
    let growing: Vec<String> = named(true).collect();
    if growing.is_empty() { named(false).collect() } else { growing }
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

    fn raw(day: &str) -> Entry {
        Entry { table: 1, hive: vec![("dt".to_owned(), day.to_owned())], folder: format!("raw/ticks/dt={day}/") }
    }

    #[test]
    fn what_is_missing_shows_until_it_is_registered() {
        let mut state = state();
        assert!(state.lacks_one(entry("2024-05-01", "A")) && state.lacks_one(entry("2024-05-01", "B")));
        assert_eq!(state.lacks(), ["table d.ticks: 2 partitions are not registered, among them dt=2024-05-01/symbol=A: being registered"]);
        state.failed(0, "no answer".to_owned(), Instant::now());
        assert!(state.lacks()[0].ends_with("symbol=A: no answer"));
        state.succeeded(0);
        state.put_aside(&entry("2024-05-01", "B"), "refused".to_owned(), LONGEST_RETRY, Instant::now());
        assert!(state.lacks()[0].ends_with("symbol=B: refused"));
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
        state.audited(0, Some(10), Some("one is stale".to_owned()), 5);
        state.registered(&entry("2024-05-03", "A"), true);
        state.registered(&entry("2024-05-03", "A"), false);
        let table = state.tables().remove(0);
        assert_eq!((table.partitions, table.newest.as_deref(), table.audited_millis), (Some(11), Some("dt=2024-05-03/symbol=A"), Some(5)));
        state.audited(0, None, None, 6);
        assert_eq!(state.lacks(), ["table d.ticks: one is stale"], "the newest say nothing about the others");
        state.audited(0, Some(11), None, 7);
        assert_eq!(state.lacks(), [""; 0]);
    }

    #[test]
    fn the_newest_is_the_last_by_time_and_never_the_folder_of_rows_without_one() {
        let mut state = state();
        let newest = |state: &State| state.tables()[0].newest.clone();
        state.registered(&entry(NULL_PARTITION, "A"), true);
        assert_eq!(newest(&state), None);
        state.tables[0].growing = vec!["dt".to_owned()];
        for (day, symbol, expected) in [
            ("2024-05-02", "B", "dt=2024-05-02/symbol=B"),
            (NULL_PARTITION, "C", "dt=2024-05-02/symbol=B"),
            ("2024-05-01", "Z", "dt=2024-05-02/symbol=B"),
        ] {
            state.registered(&entry(day, symbol), true);
            assert_eq!(newest(&state).as_deref(), Some(expected), "{day}");
        }
        let by_symbol =
            |symbol: &str, day: &str| Entry { folder: format!("processed/ticks/symbol={symbol}/dt={day}/"), ..entry(day, symbol) };
        state.registered(&by_symbol("A", "2024-05-03"), true);
        state.registered(&by_symbol("Z", "2024-05-02"), true);
        assert_eq!(newest(&state).as_deref(), Some("symbol=A/dt=2024-05-03"), "also where the path begins with something else");
    }

    #[test]
    fn memory_has_a_bound_and_what_finds_no_room_is_owed() {
        let mut state = state();
        let room = (0..MAX_MISSING).filter(|number| state.lacks_one(entry("2024-05-01", &number.to_string()))).count();
        assert_eq!((room, state.owes_audit(0)), (MAX_MISSING, false));
        assert!(!state.lacks_one(entry("2024-05-01", "more")) && state.owes_audit(0));
        assert!(state.lacks_one(entry("2024-05-01", "7")), "what is there already needs no room");
        assert!(state.lacks_one(raw("2024-05-01")) && !state.owes_audit(1), "another table has its own");
        state.pay_audit(0);
        assert!(!state.put_aside(&entry("2024-05-01", "more"), String::new(), LONGEST_RETRY, Instant::now()) && state.owes_audit(0));
        for number in 0..=MAX_KNOWN {
            state.registered(&entry("2024-05-02", &number.to_string()), false);
        }
        assert!(state.known.len() <= MAX_KNOWN);
    }

    #[test]
    fn what_was_put_aside_is_tried_by_itself_and_later() {
        let (mut state, now) = (state(), Instant::now());
        for symbol in ["A", "B", "C"] {
            state.lacks_one(entry("2024-05-01", symbol));
        }
        assert_eq!(state.due(0, 2, now), [entry("2024-05-01", "A"), entry("2024-05-01", "B")]);
        assert_eq!(state.due(1, 2, now), []);
        assert_eq!(state.next_try(0, now), Some(now));
        let bad = entry("2024-05-01", "A");
        state.put_aside(&bad, "refused".to_owned(), LONGEST_RETRY, now);
        let later = now + Duration::from_secs(1);
        assert!(state.is_put_aside(&bad, now) && !state.is_put_aside(&bad, later));
        assert_eq!(state.due(0, 2, later), [entry("2024-05-01", "B"), entry("2024-05-01", "C")]);
        state.registered(&entry("2024-05-01", "B"), true);
        state.registered(&entry("2024-05-01", "C"), true);
        assert_eq!((state.due(0, 2, now), state.due(0, 2, later)), (vec![], vec![bad]));
        assert_eq!(state.next_try(0, now), Some(later));
    }

    #[test]
    fn pauses_double_for_one_table_and_end_with_a_success() {
        let (mut state, now) = (state(), Instant::now());
        state.lacks_one(entry("2024-05-01", "A"));
        state.lacks_one(raw("2024-05-01"));
        let mut pauses = Vec::new();
        for _ in 0..12 {
            state.failed(0, String::new(), now);
            pauses.push(state.next_try(0, now).unwrap().duration_since(now).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert!(state.is_paused(0, now) && !state.is_paused(1, now));
        assert_eq!(state.next_try(1, now), Some(now), "another table does not wait");
        state.succeeded(0);
        assert!(!state.is_paused(0, now));
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
