use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use stockpipeline::schema::{Column, ColumnType, Rounding, Schema, TimeReading, Zone};
use stockpipeline::value::Value;

use super::*;

fn column(name: &str, from: &str, column_type: ColumnType, nullable: bool) -> Column {
    Column { name: name.to_owned(), from: from.to_owned(), column_type, nullable, comment: None }
}

fn ticks() -> Schema {
    let time = ColumnType::Timestamp { reading: TimeReading::Iso { time_zone: Zone::utc() } };
    let price = ColumnType::Decimal { precision: 18, scale: 4, rounding: Rounding::Reject };
    Schema {
        columns: vec![
            column("symbol", "symbol", ColumnType::String, false),
            column("ts", "ts", time, false),
            column("price", "Price", price, true),
            column("size", "size", ColumnType::Bigint, true),
        ],
        event_time: 1,
        max_future_seconds: 86_400,
    }
}

/// Kafka's timestamp of the records in these tests: 2013-03-01T12:00:00Z.
const TIMESTAMP_MILLIS: i64 = 1_362_139_200_000;

#[derive(Debug, PartialEq)]
enum Outcome {
    Row(Vec<Value<'static>>),
    Dead(&'static str, Option<usize>),
}

fn decode(decoder: &mut Decoder, schema: &Schema, payload: Option<&[u8]>) -> Outcome {
    let payload = decoder.scan(payload);
    let Payload::Object(object) = &payload else {
        let DeadLetter { class, column, .. } = payload.dead_letter().unwrap();
        return Outcome::Dead(class, column);
    };
    let mut values = Vec::new();
    match decoder.values(schema, object, Some(TIMESTAMP_MILLIS), &mut values) {
        Ok(()) => Outcome::Row(values.into_iter().map(owned).collect()),
        Err(DeadLetter { class, column, .. }) => Outcome::Dead(class, column),
    }
}

fn owned(value: Value<'_>) -> Value<'static> {
    match value {
        Value::Null => Value::Null,
        Value::String(text) => Value::String(text.into_owned().into()),
        Value::Int(value) => Value::Int(value),
        Value::Bigint(value) => Value::Bigint(value),
        Value::Double(value) => Value::Double(value),
        Value::Decimal(value) => Value::Decimal(value),
        Value::Boolean(value) => Value::Boolean(value),
        Value::Timestamp(value) => Value::Timestamp(value),
        Value::Date(value) => Value::Date(value),
    }
}

fn row(symbol: &str, price: Option<i128>, size: Option<i64>) -> Outcome {
    Outcome::Row(vec![
        Value::String(symbol.to_owned().into()),
        Value::Timestamp(1_362_132_000_000_000),
        price.map_or(Value::Null, Value::Decimal),
        size.map_or(Value::Null, Value::Bigint),
    ])
}

fn dead(class: &'static str) -> Outcome {
    Outcome::Dead(class, None)
}

#[test]
fn every_kind_of_record_becomes_its_row_or_its_class() {
    let deep = |levels: usize| format!(r#"{{"symbol":"A","ts":"2013-03-01T10:00:00Z","x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
    let (as_deep_as_taken, too_deep, far_too_deep) = (deep(127), deep(128), deep(10_000));
    let cases: &[(&[u8], Outcome)] = &[
        (br#"{"symbol":"A","ts":"2013-03-01T10:00:00Z","Price":1.5,"size":7}"#, row("A", Some(15_000), Some(7))),
        (br#" { "ts" : "2013-03-01T10:00:00Z" , "symbol" : "A" } "#, row("A", None, None)),
        (br#"{"symbol":"A","ts":"2013-03-01T10:00:00Z","pri\u0063e":1,"size":null}"#, row("A", Some(10_000), None)),
        (br#"{"symbol":"A","ts":"2013-03-01T10:00:00Z","PRICE":1,"other":{"Price":[9]}}"#, row("A", Some(10_000), None)),
        (br#"{"symbol":"A","ts":"2013-03-01T10:00:00Z","PRICE":1,"Price":2}"#, row("A", Some(20_000), None)),
        (br#"{"symbol":"A","ts":"2013-03-01T10:00:00Z","Price":2,"price":1,"PRICE":1}"#, row("A", Some(20_000), None)),
        ("{\"symbol\":\"\u{1F4C8} \\\"q\\\"\\n\",\"ts\":\"2013-03-01T10:00:00Z\"}".as_bytes(), row("\u{1F4C8} \"q\"\n", None, None)),
        (br#"{"symbol":"\ud83d\udcc8","ts":"2013-03-01T10:00:00Z"}"#, row("\u{1F4C8}", None, None)),
        (br#"{"symbol":"","ts":"2013-03-01T10:00:00Z"}"#, row("", None, None)),
        (br#"{"symbol":5,"ts":"2013-03-01T10:00:00Z"}"#, row("5", None, None)),
        (as_deep_as_taken.as_bytes(), row("A", None, None)),
        (too_deep.as_bytes(), dead(TOO_DEEP)),
        (far_too_deep.as_bytes(), dead(TOO_DEEP)),
        (b"", dead(INVALID_JSON)),
        (b"   ", dead(INVALID_JSON)),
        (b"{", dead(INVALID_JSON)),
        (br#"{"symbol":"A","ts":"2013"#, dead(INVALID_JSON)),
        (br#"{"symbol":"A"} x"#, dead(INVALID_JSON)),
        (br#"{"symbol":"A",}"#, dead(INVALID_JSON)),
        (br#"{"symbol":NaN}"#, dead(INVALID_JSON)),
        (br#"{"symbol":01}"#, dead(INVALID_JSON)),
        (b"\xEF\xBB\xBF{}", dead(INVALID_JSON)),
        (b"{\"symbol\":\"\xFF\"}", dead(INVALID_JSON)),
        (b"{\"symbol\":\"a\nb\"}", dead(INVALID_JSON)),
        (b"{\"symbol\":\"a\0b\"}", dead(INVALID_JSON)),
        (br#"{"symbol":"\ud83d"}"#, dead(INVALID_JSON)),
        (br#"{"symbol":"\udcc8\ud83d"}"#, dead(INVALID_JSON)),
        (b"[1,2]", dead(NOT_AN_OBJECT)),
        (b"7", dead(NOT_AN_OBJECT)),
        (b"null", dead(NOT_AN_OBJECT)),
        (b"\"text\"", dead(NOT_AN_OBJECT)),
        (b"[1,2", dead(INVALID_JSON)),
        (br#"{"ts":"2013-03-01T10:00:00Z"}"#, Outcome::Dead(MISSING_VALUE, Some(0))),
        (b"{}", Outcome::Dead(MISSING_VALUE, Some(0))),
        (br#"{"symbol":null,"ts":"2013-03-01T10:00:00Z"}"#, Outcome::Dead(MISSING_VALUE, Some(0))),
        (br#"{"symbol":"A","ts":"2013-03-01T10:00:00Z","Price":true}"#, Outcome::Dead(WRONG_TYPE, Some(2))),
        (br#"{"symbol":["A"],"ts":"2013-03-01T10:00:00Z"}"#, Outcome::Dead(WRONG_TYPE, Some(0))),
        (br#"{"symbol":"A","ts":"soon"}"#, Outcome::Dead(MALFORMED, Some(1))),
        (br#"{"symbol":"A","ts":"2013-03-01T10:00:00Z","Price":1e400}"#, Outcome::Dead(OUT_OF_RANGE, Some(2))),
        (br#"{"symbol":"A","ts":"2013-03-01T10:00:00Z","size":9223372036854775808}"#, Outcome::Dead(OUT_OF_RANGE, Some(3))),
        (br#"{"symbol":"A","ts":"2013-03-01T10:00:00Z","size":9007199254740993}"#, row("A", None, Some(9_007_199_254_740_993))),
        (br#"{"symbol":"A","ts":"2013-03-01T10:00:00Z","Price":-0.0}"#, row("A", Some(0), None)),
        (br#"{"symbol":"A","ts":"2013-03-01T10:00:00Z","Price":1.00001}"#, Outcome::Dead(TOO_PRECISE, Some(2))),
        (br#"{"symbol":"A","ts":"2013-03-01T10:00:00Z","symbol":"B"}"#, Outcome::Dead(DUPLICATE_FIELD, Some(0))),
        (br#"{"symbol":"A","ts":"2013-03-01T10:00:00Z","price":1,"PRICE":1}"#, Outcome::Dead(DUPLICATE_FIELD, Some(2))),
        (br#"{"symbol":"A","s\u0079mbol":"A","ts":"2013-03-01T10:00:00Z"}"#, Outcome::Dead(DUPLICATE_FIELD, Some(0))),
        (br#"{"symbol":"A","ts":"2013-03-02T12:00:00Z"}"#, {
            let Outcome::Row(mut values) = row("A", None, None) else { unreachable!() };
            values[1] = Value::Timestamp(1_362_225_600_000_000);
            Outcome::Row(values)
        }),
        (br#"{"symbol":"A","ts":"2013-03-02T12:00:00.000001Z"}"#, Outcome::Dead(FUTURE_EVENT_TIME, Some(1))),
    ];
    let schema = ticks();
    // One decoder for all and one for each: what it has seen before changes nothing.
    let mut decoder = Decoder::new(&schema);
    for _ in 0..2 {
        for (payload, expected) in cases {
            let shown = String::from_utf8_lossy(&payload[..payload.len().min(120)]);
            assert_eq!(&decode(&mut decoder, &schema, Some(payload)), expected, "{shown}");
            assert_eq!(&decode(&mut Decoder::new(&schema), &schema, Some(payload)), expected, "{shown}");
        }
    }
    assert_eq!(decode(&mut decoder, &schema, None), dead(TOMBSTONE));
}

#[test]
fn columns_that_differ_in_case_only_keep_apart() {
    let schema = Schema {
        columns: vec![
            column("kind", "e", ColumnType::String, true),
            column("at", "E", ColumnType::String, true),
            column("again", "e", ColumnType::String, true),
        ],
        event_time: 0,
        max_future_seconds: 0,
    };
    let text = |text: &'static str| Value::String(text.into());
    let mut decoder = Decoder::new(&schema);
    let cases: [(&[u8], [Value<'static>; 3]); 3] = [
        (br#"{"E":"1"}"#, [Value::Null, text("1"), Value::Null]),
        (br#"{"E":"1","e":"2"}"#, [text("2"), text("1"), text("2")]),
        (br#"{"e":"2"}"#, [text("2"), Value::Null, text("2")]),
    ];
    for (payload, expected) in cases {
        assert_eq!(decode(&mut decoder, &schema, Some(payload)), Outcome::Row(expected.to_vec()));
    }
}

#[test]
fn fields_that_no_column_takes_are_counted() {
    let schema = ticks();
    let mut decoder = Decoder::new(&schema);
    let cases: [(&[u8], u64, bool); 5] = [
        (br#"{"symbol":"A","x":1,"y":{"z":2}}"#, 2, false),
        (br#"{"symbol":"A","Price":1,"PRICE":1}"#, 1, false),
        (br#"{"symbol":"A","PRICE":1}"#, 0, false),
        (br#"{"_kafka_offset":1}"#, 1, true),
        (br#"{"_r\u0061w":1}"#, 1, true),
    ];
    for _ in 0..2 {
        for (payload, unknown, reserved) in &cases {
            let Payload::Object(object) = decoder.scan(Some(payload)) else { panic!("an object") };
            assert_eq!((object.unknown_fields, object.reserved_name), (*unknown, *reserved));
        }
    }
}

#[test]
fn messages_name_column_and_place_and_nothing_of_the_payload() {
    let schema = ticks();
    let cases: [(&[u8], &[&str]); 4] = [
        (br#"{"symbol":"A","ts":"2013-03-01T10:00:00Z","Price":"secret"}"#, &["column price", "\"Price\"", "byte 50"]),
        (br#"{"symbol":"secret","ts":}"#, &["byte 24"]),
        (br#"{"symbol":"secret","symbol":"secret"}"#, &["column symbol", "byte 28"]),
        (b"{\"symbol\":\"secret\xFF", &["UTF-8", "byte 17"]),
    ];
    for (payload, parts) in cases {
        let mut decoder = Decoder::new(&schema);
        let scanned = decoder.scan(Some(payload));
        let dead_letter = match &scanned {
            Payload::Object(object) => decoder.values(&schema, object, None, &mut Vec::new()).unwrap_err(),
            other => other.dead_letter().unwrap(),
        };
        for part in parts {
            assert!(dead_letter.message.contains(part), "{dead_letter:?} lacks {part:?}");
        }
        assert!(!dead_letter.message.contains("secret"), "{dead_letter:?}");
    }
}

/// JSON as serde_json reads it, every string resolved and every number as its text.
#[derive(Debug, PartialEq)]
enum Json {
    Scalar(String),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

fn reference(text: &str, depth: u32) -> Option<Json> {
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    let text = raw.get();
    match text.as_bytes()[0] {
        b'"' => serde_json::from_str(text).ok().map(Json::Text),
        b'[' | b'{' if depth == 0 => None,
        b'[' => serde_json::from_str::<Vec<&RawValue>>(text)
            .ok()?
            .iter()
            .map(|item| reference(item.get(), depth - 1))
            .collect::<Option<_>>()
            .map(Json::Array),
        b'{' => {
            let Members(members) = serde_json::from_str(text).ok()?;
            members
                .into_iter()
                .map(|(name, value)| Some((name, reference(value.get(), depth - 1)?)))
                .collect::<Option<_>>()
                .map(Json::Object)
        }
        _ => Some(Json::Scalar(text.to_owned())),
    }
}

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;
            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &'de RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
                Err(serde::de::Error::custom("not an object"))
            }
        }
        deserializer.deserialize_map(All)
    }
}

fn json_text() -> impl Strategy<Value = String> {
    let space = prop::sample::select(vec!["", "", "", " ", "\n", "\t \r"]);
    let string = prop::collection::vec(
        prop::sample::select(vec![
            "a",
            "Price",
            "\u{e9}",
            "\u{1F4C8}",
            "\\n",
            "\\u0041",
            "\\ud83d\\udcc8",
            "\\ud83d",
            "\\udcc8",
            "\\x",
            "\u{1}",
            "\\\"",
            "\\\\",
            "\\u12g4",
            "0123456789",
        ]),
        0..4,
    )
    .prop_map(|parts| format!("\"{}\"", parts.concat()));
    let number = prop::sample::select(vec![
        "0",
        "-0",
        "12.50",
        "1e400",
        "-1E+2",
        "01",
        "1.",
        ".5",
        "+1",
        "-",
        "1e",
        "123456789012345678901234567890",
    ]);
    let word = prop::sample::select(vec!["true", "false", "null", "nul", "True"]);
    let leaf = prop_oneof![string.clone(), number.prop_map(str::to_owned), word.prop_map(str::to_owned)];
    let member = string;
    leaf.prop_recursive(4, 24, 5, move |inner| {
        let array = (prop::collection::vec(inner.clone(), 0..4), space.clone())
            .prop_map(|(items, space)| format!("[{space}{}{space}]", items.join(&format!("{space},"))));
        let object = (prop::collection::vec((member.clone(), inner), 0..5), space.clone()).prop_map(|(members, space)| {
            let members: Vec<String> =
                members.into_iter().map(|(name, value)| format!("{space}{name}{space}:{space}{value}{space}")).collect();
            format!("{{{}}}{space}", members.join(","))
        });
        prop_oneof![array, object]
    })
}

fn check_against_reference(text: &str) {
    let schema = ticks();
    let mut decoder = Decoder::new(&schema);
    // The second time every name is where it was.
    for _ in 0..2 {
        let scanned = decoder.scan(Some(text.as_bytes()));
        let expected = reference(text, MAX_DEPTH);
        match (&scanned, &expected) {
            (Payload::Object(object), Some(Json::Object(members))) => {
                assert_eq!(object.is_empty, members.is_empty());
                let distinct: std::collections::BTreeSet<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(object.repeated_name, distinct.len() < members.len(), "{text:?}");
                let mut values: BTreeMap<&str, Vec<&Json>> = BTreeMap::new();
                for (name, value) in members {
                    values.entry(name).or_default().push(value);
                }
                for (column, field) in schema.columns.iter().zip(&decoder.fields) {
                    let slot = decoder.slots[*field];
                    let named = values.get(column.from.as_str());
                    match (slot, named) {
                        (Some(slot), Some(named)) => {
                            let token = &text[slot.token.start..slot.token.end];
                            assert_eq!(&reference(token, MAX_DEPTH).unwrap(), named[0], "{text:?}");
                            assert!(!slot.folded);
                        }
                        (Some(slot), None) => assert!(slot.folded, "{text:?}"),
                        (None, named) => assert_eq!(named, None, "{text:?}"),
                    }
                }
            }
            (Payload::Text { dead_letter, .. }, Some(Json::Object(_))) | (Payload::Text { dead_letter, .. }, None) => {
                assert!(expected.is_none(), "{text:?}: {dead_letter:?}");
                assert!([INVALID_JSON, TOO_DEEP].contains(&dead_letter.class), "{text:?}");
            }
            (Payload::Text { dead_letter, .. }, Some(_)) => assert_eq!(dead_letter.class, NOT_AN_OBJECT, "{text:?}"),
            (scanned, expected) => panic!("{text:?}: {scanned:?}, but serde_json says {expected:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn takes_exactly_the_json_that_serde_json_takes(text in json_text()) {
        check_against_reference(&text);
    }

    #[test]
    fn a_damaged_text_is_judged_as_serde_json_judges_it(text in json_text(), place in 0_usize..200, byte in prop::sample::select(b"\"\\{}[]:,0-.e tn\x00\x1f\x7f".to_vec())) {
        let mut bytes = text.into_bytes();
        if !bytes.is_empty() {
            let place = place % bytes.len();
            bytes[place] = byte;
        }
        if let Ok(text) = String::from_utf8(bytes) {
            check_against_reference(&text);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let schema = ticks();
        decode(&mut Decoder::new(&schema), &schema, Some(&bytes));
        let object = [b"{\"symbol\":\"", bytes.as_slice(), b"\",\"ts\":0}"].concat();
        decode(&mut Decoder::new(&schema), &schema, Some(&object));
    }

    #[test]
    fn escaped_text_is_read_back_as_it_was(text in any::<String>()) {
        let mut out = b"\"".to_vec();
        escape_into(&text, &mut out);
        out.push(b'"');
        let read: String = serde_json::from_slice(&out).unwrap();
        prop_assert_eq!(&read, &text);
        let mut unescaped = String::new();
        escape::unescape(std::str::from_utf8(&out[1..out.len() - 1]).unwrap(), &mut unescaped);
        prop_assert_eq!(&unescaped, &text);
    }
}
