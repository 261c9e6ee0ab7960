//! Bad input: what each record ends as, and that it ends as the same when its plan is executed again.

use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;

use super::stage::{Stage, until};
use super::stored::Stored;
use stockpipeline_worker::status::Reason;

/// What a record becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// A row of this symbol.
    Row(&'static str),
    /// A dead letter of this class.
    Letter(&'static str),
}

/// A tick with one field's JSON in place of the usual one.
fn with(field: &str, json: &str) -> Vec<u8> {
    let mut fields = vec![("symbol", "\"A\""), ("ts", "\"2026-01-02T10:00:00Z\""), ("price", "\"1.25\""), ("size", "5")];
    match fields.iter_mut().find(|(name, _)| *name == field) {
        Some((_, value)) => *value = json,
        None => fields.push((field, json)),
    }
    let body: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", body.join(",")).into_bytes()
}

/// The bad input of the list of faults, by its numbers there, and its harmless neighbours.
fn cases() -> Vec<(&'static str, Vec<u8>, Ends)> {
    use Ends::{Letter, Row};
    let deep = format!("{{\"symbol\":\"A\",\"x\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let long = "L".repeat(300);
    vec![
        ("61 invalid json", b"not json".to_vec(), Letter("InvalidJson")),
        ("61 nothing", b"".to_vec(), Letter("InvalidJson")),
        ("62 truncated json", b"{\"symbol\":\"A\",\"ts\":\"2026".to_vec(), Letter("InvalidJson")),
        ("63 an array", b"[1,2]".to_vec(), Letter("NotAnObject")),
        ("63 a number", b"7".to_vec(), Letter("NotAnObject")),
        ("63 null", b"null".to_vec(), Letter("NotAnObject")),
        ("64 a missing required field", b"{\"ts\":\"2026-01-02T10:00:00Z\"}".to_vec(), Letter("MissingValue")),
        ("64 a null required field", with("symbol", "null"), Letter("MissingValue")),
        ("64 a missing optional field", b"{\"symbol\":\"B\",\"ts\":\"2026-01-02T10:00:00Z\"}".to_vec(), Row("B")),
        ("65 a string for a number", with("size", "\"many\""), Letter("Malformed")),
        ("65 an object for a number", with("size", "{}"), Letter("WrongType")),
        ("65 a number in text", with("size", "\"12\""), Row("A")),
        ("66 1e400", with("price", "1e400"), Letter("OutOfRange")),
        ("66 -0.0", with("price", "-0.0"), Row("A")),
        ("66 NaN", with("price", "NaN"), Letter("InvalidJson")),
        ("67 an integer that overflows", with("size", "9223372036854775808"), Letter("OutOfRange")),
        ("67 2^53 + 1", with("size", "9007199254740993"), Row("A")),
        ("68 a scale beyond the column's", with("price", "1.23456"), Letter("TooPrecise")),
        ("68 zeros beyond the column's scale", with("price", "1.23450000"), Row("A")),
        ("69 a field twice", b"{\"symbol\":\"A\",\"symbol\":\"B\",\"ts\":\"2026-01-02T10:00:00Z\"}".to_vec(), Letter("DuplicateField")),
        ("70 invalid utf-8", b"{\"symbol\":\"\xff\xfe\",\"ts\":\"2026-01-02T10:00:00Z\"}".to_vec(), Letter("InvalidJson")),
        ("70 a lone surrogate", with("symbol", "\"\\ud800\""), Letter("InvalidJson")),
        ("71 a byte order mark", [b"\xef\xbb\xbf".as_slice(), &with("size", "1")].concat(), Letter("InvalidJson")),
        ("71 a nul escape", with("symbol", "\"N\\u0000L\""), Row("N\0L")),
        ("71 a raw newline in a string", with("symbol", "\"a\nb\""), Letter("InvalidJson")),
        ("71 an escaped newline", with("symbol", "\"a\\nb\""), Row("a\nb")),
        ("71 newlines between tokens", b"{\n  \"symbol\": \"P\",\n  \"ts\": \"2026-01-02T10:00:00Z\"\n}\n".to_vec(), Row("P")),
        ("72 a nesting of 10,000", deep.into_bytes(), Letter("TooDeep")),
        ("73 an unknown field", with("venue", "\"X\""), Row("A")),
        ("73 a field of ours", with("_kafka_offset", "99"), Row("A")),
        ("74 a dot", with("symbol", "\"BRK.B\""), Row("BRK.B")),
        ("74 a slash", with("symbol", "\"BF/B\""), Row("BF/B")),
        ("74 a path", with("symbol", "\"../../x\""), Row("../../x")),
        ("74 nothing", with("symbol", "\"\""), Row("")),
        ("74 300 characters", with("symbol", &format!("\"{long}\"")), Row("long")),
        ("74 an emoji", with("symbol", "\"🚀\""), Row("🚀")),
        ("74 an equals sign", with("symbol", "\"a=b\""), Row("a=b")),
        ("74 a percent sign", with("symbol", "\"%2F\""), Row("%2F")),
        ("74 chinese", with("symbol", "\"贵州茅台\""), Row("贵州茅台")),
        ("75 a late event time", with("ts", "\"1965-01-05\""), Row("A")),
        ("75 an event time in the future", with("ts", "\"2999-01-01T00:00:00Z\""), Letter("FutureEventTime")),
        ("a time that is none", with("ts", "\"yesterday\""), Letter("Malformed")),
    ]
}

fn check(stored: &Stored, offset: i64, case: &str, ends: Ends) {
    let place = (0, offset);
    assert!(stored.raw.contains_key(&place), "{case}: no raw line");
    match ends {
        Ends::Row(symbol) => {
            let row = stored.processed.get(&place).unwrap_or_else(|| panic!("{case}: no row, but {:?}", stored.dead_letters.get(&place)));
            let long = row.as_ref().is_some_and(|row| row.len() == 300);
            assert!(row.as_deref() == Some(symbol) || (symbol == "long" && long), "{case}: {row:?}");
        }
        Ends::Letter(class) => {
            let letter = stored.dead_letters.get(&place).unwrap_or_else(|| panic!("{case}: no dead letter"));
            assert_eq!(letter["error_class"], class, "{case}: {letter}");
        }
    }
}

#[test]
fn every_bad_record_ends_as_decided_and_the_same_when_its_plan_is_executed_again() {
    let cases = cases();
    for failpoint in ["", "plan-stored:1:kill"] {
        let stage = Stage::new(1);
        let by_symbol = |spec: &mut serde_json::Value| {
            let symbol = serde_json::json!({ "name": "sym", "transform": "identity", "column": "symbol" });
            spec["sink"]["processed"]["partitionBy"].as_array_mut().unwrap().push(symbol);
        };
        for (_, payload, _) in &cases {
            stage.produce_payload(0, payload);
        }
        if !failpoint.is_empty() {
            let mut first = stage.child("first", &stage.file("first", by_symbol), failpoint);
            assert_eq!(first.wait().signal(), Some(Signal::KILL.as_raw()));
        }
        let sink = stage.sink("second", stage.pipeline(by_symbol));
        stage.wait_for_rows(cases.len());
        assert!(sink.stop().unwrap().drained);
        let stored = stage.stored();
        assert_eq!(stored.twice, vec![]);
        for (offset, (case, _, ends)) in (0..).zip(&cases) {
            check(&stored, offset, case, *ends);
        }
        let report = stage.audit(&stage.pipeline(by_symbol));
        assert!(report.is_clean(), "{report:#?}");
    }
}

#[test]
fn ten_thousand_hive_values_in_one_batch_are_sealed_512_at_a_time() {
    let stage = Stage::new(1);
    let by_symbol = |spec: &mut serde_json::Value| {
        spec["sink"]["processed"]["partitionBy"] = serde_json::json!([{ "name": "sym", "transform": "identity", "column": "symbol" }]);
    };
    for number in 0..10_000 {
        stage.send(0, &with("symbol", &format!("\"S{number}\"")));
    }
    stage.flush();
    let sink = stage.sink("only", stage.pipeline(by_symbol));
    let status = sink.status.clone();
    until("all is durable", || status.read().sink.as_ref().is_some_and(|s| s.partitions.first().is_some_and(|p| p.durable == 10_000)));
    assert!(sink.metric("stockpipeline_seals_total{reason=\"hive_partitions\"}") >= 19.0);
    assert!(sink.stop().unwrap().drained);
    let stored = stage.stored();
    assert_eq!(stored.processed.len(), 10_000);
    assert_eq!(stored.twice, vec![]);
}

#[test]
fn a_schema_that_gains_a_column_writes_new_files_and_leaves_the_old_ones() {
    let stage = Stage::new(1);
    let first = stage.sink("first", stage.pipeline(|_| {}));
    stage.produce_payload(0, &with("venue", "\"X\""));
    stage.wait_for_rows(1);
    assert!(first.stop().unwrap().drained);
    let wider = |spec: &mut serde_json::Value| {
        spec["schema"]["columns"].as_array_mut().unwrap().push(serde_json::json!({ "name": "venue", "type": "String" }));
    };
    let second = stage.sink("second", stage.pipeline(wider));
    stage.produce_payload(0, &with("venue", "\"X\""));
    stage.wait_for_rows(2);
    assert!(second.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 2)]);
}

#[test]
fn nothing_but_poison_pauses_the_sink_at_the_limit_and_says_so() {
    let stage = Stage::new(1);
    let limited = |spec: &mut serde_json::Value| spec["sink"]["onBadRecord"]["haltAbovePerMinute"] = 100.into();
    for _ in 0..500 {
        stage.send(0, b"poison");
    }
    stage.flush();
    let sink = stage.sink("only", stage.pipeline(limited));
    until("the sink is paused", || sink.status.read().paused.as_ref().is_some_and(|p| p.reason == Reason::DeadLetterRateExceeded));
    assert!(sink.is_running());
    // What was taken is stored; the rest waits.
    stage.wait_for_rows(1);
    stage.produce(0, 500, 10);
    assert!(sink.stop().unwrap().drained);
    let stored = stage.stored();
    assert!(stored.processed.is_empty(), "nothing is taken after the pause");
    // With a higher limit a restart goes on where it stopped.
    let next = stage.sink("next", stage.pipeline(|_| {}));
    stage.wait_for_rows(510);
    assert!(next.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 510)]);
}

#[test]
fn dead_letters_wait_for_their_zone_like_everything_else() {
    use crate::faults::{Fault, Rule};
    let stage = Stage::new(1);
    stage.proxy.inject(Rule::new(Fault::Answer(403, "AccessDenied")).method("PUT").key("/dlq/"));
    stage.produce_payload(0, b"poison");
    stage.produce(0, 1, 20);
    let sink = stage.sink("only", stage.pipeline(|_| {}));
    until("the status says so", || sink.status.read().last_error.as_ref().is_some_and(|error| error.reason == Reason::AccessDenied));
    let durable = sink.status.read().sink.as_ref().and_then(|sink| sink.partitions.first().map(|partition| partition.durable));
    assert_eq!(durable, Some(0), "the offset waits for the dead letter");
    stage.proxy.heal();
    stage.wait_for_rows(21);
    assert!(sink.stop().unwrap().drained);
    stage.assert_exactly_once(&[(0, 21)]);
}
