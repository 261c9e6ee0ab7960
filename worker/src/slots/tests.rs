use proptest::prelude::*;
use stockpipeline::checked::{CsvReplay, Pace, Synthetic};
use stockpipeline::schema::ColumnType;

use super::*;

fn csv(location: Location) -> CsvReplay {
    CsvReplay {
        location,
        header: None,
        delimiter: b',',
        null_values: vec![String::new()],
        order: Order::File,
        pace: Pace::Unlimited,
        repeat: false,
        seed: 0,
    }
}

fn path(text: &str) -> Location {
    Location::Path(text.to_owned())
}

/// Returns a column of the event time.
fn day(from: &str, format: Option<&str>) -> Column {
    let column_type = ColumnType::Date { format: format.map(str::to_owned) };
    Column { name: "day".to_owned(), from: from.to_owned(), column_type, nullable: true, comment: None }
}

fn id(source: &Source, change: impl FnOnce(&mut Replay<'_>)) -> ReplayId {
    id_in(source, "topic", &day("Date", None), change)
}

fn id_in(source: &Source, topic: &str, event_time: &Column, change: impl FnOnce(&mut Replay<'_>)) -> ReplayId {
    let epoch = Epoch::of(topic);
    let mut replay = Replay { epoch: &epoch, source, fingerprint: "f", key_field: "Index", event_time, slots: 16 };
    change(&mut replay);
    ReplayId::of(&replay)
}

#[test]
fn whatever_changes_rows_or_their_slots_is_another_replay() {
    let base = csv(path("a.csv"));
    let source = Source::CsvReplay(base.clone());
    let same = id(&source, |_| ());
    let ids = [
        id(&Source::CsvReplay(csv(path("b.csv"))), |_| ()),
        id(&Source::CsvReplay(CsvReplay { delimiter: b';', ..base.clone() }), |_| ()),
        id(&Source::CsvReplay(CsvReplay { order: Order::Random, ..base.clone() }), |_| ()),
        id(&Source::CsvReplay(CsvReplay { seed: 1, ..base.clone() }), |_| ()),
        id(&Source::CsvReplay(CsvReplay { null_values: texts(&["null"]), ..base.clone() }), |_| ()),
        id(&Source::CsvReplay(CsvReplay { header: Some(texts(&["null"])), ..base.clone() }), |_| ()),
        id(&Source::CsvReplay(CsvReplay { null_values: texts(&["", "header", "null"]), ..base.clone() }), |_| ()),
        id(&Source::CsvReplay(CsvReplay { order: Order::EventTime, ..base.clone() }), |_| ()),
        id(&source, |replay| replay.fingerprint = "g"),
        id(&source, |replay| replay.key_field = "Symbol"),
        id(&source, |replay| replay.slots = 8),
        id_in(&source, "topic made again", &day("Date", None), |_| ()),
    ];
    let mut all: Vec<&ReplayId> = ids.iter().chain([&same]).collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), ids.len() + 1);
    let slower = CsvReplay { pace: Pace::RowsPerSecond(5), repeat: true, ..base };
    assert_eq!(id(&Source::CsvReplay(slower), |_| ()), same, "pace and repetition change no row");
    assert_eq!(same.group("sink"), format!("sink-producer-{}", same.as_str()));
}

#[test]
fn how_event_times_are_read_makes_another_replay_where_they_decide_the_order() {
    let ids = |order: Order| {
        let source = Source::CsvReplay(CsvReplay { order, ..csv(path("a.csv")) });
        let columns = [day("Date", None), day("Date", Some("%d/%m/%Y")), day("Date", Some("%m/%d/%Y")), day("Day", None)];
        let mut ids: Vec<ReplayId> = columns.iter().map(|column| id_in(&source, "topic", column, |_| ())).collect();
        let same = Column { name: "another".to_owned(), nullable: false, comment: Some("of trading".to_owned()), ..day("Date", None) };
        assert_eq!(id_in(&source, "topic", &same, |_| ()), ids[0], "{order:?}: what is said of a column changes no order");
        ids.sort();
        ids.dedup();
        ids.len()
    };
    assert_eq!([Order::EventTime, Order::File, Order::Random].map(ids), [4, 1, 1]);
}

/// A replay that runs while its producers are replaced by those of another version goes on where it stands.
#[test]
fn ids_stay_what_they_were() {
    let base = csv(path("a.csv"));
    let with_header = CsvReplay { header: Some(texts(&["Index", "Date"])), order: Order::Random, seed: 7, ..base.clone() };
    let ids = [base, with_header].map(|replay| id(&Source::CsvReplay(replay), |_| ()).as_str().to_owned());
    assert_eq!(ids, ["0254c5a9403a274e", "681cd30a6b5e4158"]);
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn names_of_sources_hold_no_credentials() {
    let http = |address: &str| Source::CsvReplay(csv(Location::Http(address.to_owned())));
    let synthetic = Synthetic { symbols: vec!["A".to_owned()], rows_per_second: None, seed: 1, rows: None, start_micros: 0 };
    let cases = [
        (Source::CsvReplay(csv(path("a.csv"))), "a.csv"),
        (Source::CsvReplay(csv(Location::S3 { bucket: "b".to_owned(), key: "k/x.csv".to_owned() })), "s3://b/k/x.csv"),
        (Source::CsvReplay(csv(Location::ConfigMap { name: "n".to_owned(), key: "k".to_owned() })), "configmap:n/k"),
        (http("https://me:secret@host:8443/a/b.csv?X-Amz-Signature=1#x"), "https://host:8443/a/b.csv"),
        (http("https://host"), "https://host"),
        (http("https://host/a.csv?symbol=SPY&Expires=2"), "https://host/a.csv?query=62e72c7d"),
        (http("https://host/a.csv?symbol=DIA&Expires=2"), "https://host/a.csv?query=c4feed24"),
        (Source::Synthetic(synthetic), "synthetic:0123456789abcdef"),
    ];
    for (source, expected) in cases {
        assert_eq!(uri(&source, "0123456789abcdef0123"), expected);
    }
}

#[test]
fn slots_skip_what_is_behind_them() {
    let mut positions = Positions::new(4);
    assert!(positions.is_empty() && positions.start().is_none() && !positions.wants(1, 0));
    positions.take(1, 10);
    positions.take(2, 3);
    assert_eq!(positions.start(), Some(3));
    assert!(positions.wants(2, 3) && !positions.wants(2, 2) && !positions.wants(1, 9) && positions.wants(5, 10) && !positions.wants(3, 99));
    assert_eq!(positions.advanced(7), [(2, 7)], "slot 1 stands ahead of the feed");
    positions.settle(&[(2, 7)]);
    assert_eq!(positions.owned().collect::<Vec<_>>(), [(1, 10), (2, 7)]);
    assert_eq!(positions.advanced(12), [(1, 12), (2, 12)]);
    positions.drop(1);
    positions.settle(&[(1, 12), (2, 12)]);
    assert_eq!(positions.owned().collect::<Vec<_>>(), [(2, 12)], "a slot that was given up is not taken back by a late commit");
}

#[derive(Debug, Clone)]
enum Step {
    /// Feed so many rows.
    Feed(u8),
    Commit,
    Abort,
    /// A slot moves to the other replica.
    Move(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1_u8..20).prop_map(Step::Feed),
        2 => Just(Step::Commit),
        1 => Just(Step::Abort),
        2 => (0_u8..4).prop_map(Step::Move),
    ];
    prop::collection::vec((any::<bool>(), step), 1..200).prop_map(|steps| steps.into_iter().map(|(_, step)| step).collect())
}

/// One replica as the loop drives it: rows of an open batch are seen by readers only after its commit.
struct Replica {
    positions: Positions,
    cursor: u64,
    open: Vec<u64>,
}

impl Replica {
    fn reposition(&mut self) {
        if let Some(start) = self.positions.start()
            && start < self.cursor
        {
            self.cursor = start;
        }
    }

    fn commit(&mut self, stored: &mut [u64], seen: &mut Vec<u64>) {
        let rows = self.positions.advanced(self.cursor);
        for (slot, row) in &rows {
            stored[*slot as usize] = *row;
        }
        seen.append(&mut self.open);
        self.positions.settle(&rows);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is committed, aborted and moved: in the end every row was seen once, in its slot's order.
    #[test]
    fn every_row_is_committed_once(steps in steps(), turns in prop::collection::vec(any::<bool>(), 200)) {
        const ROWS: u64 = 200;
        let slot_of = |row: u64| u32::try_from(row * 7 % 4).unwrap();
        let mut stored = [0_u64; 4];
        let mut seen = Vec::new();
        let mut replicas = [(); 2].map(|()| Replica { positions: Positions::new(4), cursor: 0, open: Vec::new() });
        for slot in 0..4 {
            replicas[0].positions.take(slot, 0);
        }
        let feed = |replica: &mut Replica, rows: u64| {
            for _ in 0..rows {
                if replica.cursor < ROWS {
                    if replica.positions.wants(slot_of(replica.cursor), replica.cursor) {
                        replica.open.push(replica.cursor);
                    }
                    replica.cursor += 1;
                }
            }
        };
        for (step, first) in steps.iter().zip(&turns) {
            let active = usize::from(!first);
            match step {
                Step::Feed(rows) => feed(&mut replicas[active], u64::from(*rows)),
                Step::Commit => replicas[active].commit(&mut stored, &mut seen),
                Step::Abort => {
                    let replica = &mut replicas[active];
                    replica.open.clear();
                    replica.positions.rewind();
                    replica.reposition();
                }
                Step::Move(slot) => {
                    let slot = u32::from(*slot);
                    let from = usize::from(replicas[1].positions.owned().any(|(owned, _)| owned == slot));
                    // Revoked: commit, then give back. Assigned: commit what is open, then take at the stored row.
                    replicas[from].commit(&mut stored, &mut seen);
                    replicas[from].positions.drop(slot);
                    replicas[1 - from].commit(&mut stored, &mut seen);
                    replicas[1 - from].positions.take(slot, stored[slot as usize]);
                    replicas[1 - from].reposition();
                }
            }
        }
        for replica in &mut replicas {
            replica.commit(&mut stored, &mut seen);
            for (slot, _) in replica.positions.owned().filter(|_| replica.positions.has_reached(ROWS)) {
                let delivered = seen.iter().filter(|row| slot_of(**row) == slot).count();
                prop_assert_eq!(delivered, (0..ROWS).filter(|row| slot_of(*row) == slot).count(), "slot {} was called complete", slot);
            }
            replica.reposition();
            feed(replica, ROWS);
            replica.commit(&mut stored, &mut seen);
        }
        for slot in 0..4 {
            let rows: Vec<u64> = seen.iter().copied().filter(|row| slot_of(*row) == slot).collect();
            let expected: Vec<u64> = (0..ROWS).filter(|row| slot_of(*row) == slot).collect();
            prop_assert_eq!(rows, expected, "slot {}", slot);
        }
    }
}

#[test]
fn a_slot_that_is_taken_or_rewound_short_of_the_end_undoes_completion() {
    let mut positions = Positions::new(2);
    assert!(!positions.has_reached(0), "nothing is owned");
    positions.take(0, 0);
    positions.settle(&positions.advanced(10));
    assert!(positions.has_reached(10));
    positions.take(1, 4);
    assert!(!positions.has_reached(10), "the other slot's rows are still to come");
    positions.rewind();
    assert!(!positions.has_reached(10));
    positions.settle(&positions.advanced(10));
    assert!(positions.has_reached(10));
}
