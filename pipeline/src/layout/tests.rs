use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::rules::Transform;
use crate::schema::{Column, ColumnType, Rounding, TimeReading, Zone};
use crate::value::Value;

fn column(column_type: ColumnType) -> Column {
    Column { name: "symbol".to_owned(), from: "symbol".to_owned(), column_type, nullable: true, comment: None }
}

fn field(transform: Transform) -> PartitionField {
    PartitionField { name: "key".to_owned(), column: 0, transform }
}

fn zone(name: &str) -> Zone {
    Zone::named(name).unwrap()
}

fn text(text: &str) -> Value<'_> {
    Value::String(Cow::Borrowed(text))
}

fn at(instant: &str) -> Value<'static> {
    Value::Timestamp(instant.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn hive(transform: Transform, column_type: ColumnType, value: &Value<'_>) -> String {
    let mut out = "before/".to_owned();
    hive_value(&field(transform), &column(column_type), value, &mut out);
    out.strip_prefix("before/").unwrap().to_owned()
}

fn identity(value: &str) -> String {
    hive(Transform::Identity, ColumnType::String, &text(value))
}

#[test]
fn symbols_become_safe_path_values() {
    let long = "A".repeat(300);
    let cut = format!("{}~4daeb9ac8be20328", "A".repeat(183));
    let cases = [
        ("AAPL", "AAPL"),
        ("BRK.B", "BRK.B"),
        ("BF/B", "BF%2FB"),
        ("../../x", "..%2F..%2Fx"),
        ("..", ".."),
        ("", NULL_PARTITION),
        (&long, &cut),
        ("🚀", "🚀"),
        ("a=b", "a%3Db"),
        ("%2F", "%252F"),
        ("贵州茅台", "贵州茅台"),
        ("^GSPC", "%5EGSPC"),
        ("EUR/USD:spot", "EUR%2FUSD%3Aspot"),
        ("a b+c&d", "a b+c&d"),
        ("\u{0}\n\u{1f}\u{7f}", "%00%0A%1F%7F"),
        ("\"#%'*/:=?\\{[]^", "%22%23%25%27%2A%2F%3A%3D%3F%5C%7B%5B%5D%5E"),
        ("}~<>|`", "}~<>|`"),
        ("\u{ffff}", "%EF%BF%BF"),
    ];
    for (value, expected) in cases {
        let value = identity(value);
        assert_eq!(escape(&value), expected);
        assert_eq!(unescape(expected), Some(value));
    }
}

#[test]
fn text_that_no_escape_made_is_refused() {
    for text in ["%", "%4", "%zz", "%2f", "%41", "a/b", "a=b", "%FF", "\u{7f}", ""] {
        assert_eq!(unescape(text), None, "{text:?}");
    }
}

#[test]
fn long_values_are_cut_at_a_character_and_stay_apart() {
    // 22 characters of 9 escaped bytes are 198, 23 are 207.
    let whole = "\u{ffff}".repeat(22);
    assert_eq!(identity(&whole), whole);
    let cut = identity(&"\u{ffff}".repeat(23));
    assert!(cut.starts_with(&"\u{ffff}".repeat(20)) && cut.len() == 20 * 3 + 17, "{cut}");
    assert_eq!(escape(&cut).len(), 180 + 17);
    let (one, two) = (identity(&format!("{}1", "A".repeat(300))), identity(&format!("{}2", "A".repeat(300))));
    assert_ne!(one, two);
    assert_eq!(identity(&"A".repeat(200)), "A".repeat(200));
    assert_eq!(identity(&"A".repeat(201)).len(), 200);
}

#[test]
fn times_are_taken_in_the_fields_zone() {
    let timestamp = || ColumnType::Timestamp { reading: TimeReading::Iso { time_zone: Zone::utc() } };
    let cases = [
        ("2013-03-01T00:30:00Z", "UTC", ["2013", "2013-03", "2013-03-01", "00"]),
        ("2013-03-01T00:30:00Z", "America/New_York", ["2013", "2013-02", "2013-02-28", "19"]),
        ("2013-01-01T00:30:00Z", "America/New_York", ["2012", "2012-12", "2012-12-31", "19"]),
        ("2013-07-01T20:30:00Z", "Asia/Kolkata", ["2013", "2013-07", "2013-07-02", "02"]),
        ("1965-12-31T23:59:59.999999Z", "UTC", ["1965", "1965-12", "1965-12-31", "23"]),
        ("0987-01-02T03:04:05Z", "UTC", ["0987", "0987-01", "0987-01-02", "03"]),
        ("0001-01-01T00:00:00Z", "America/New_York", ["0000", "0000-12", "0000-12-31", "19"]),
    ];
    for (instant, name, expected) in cases {
        let transforms = [
            Transform::Year { time_zone: zone(name) },
            Transform::Month { time_zone: zone(name) },
            Transform::Day { time_zone: zone(name) },
            Transform::Hour { time_zone: zone(name) },
        ];
        for (transform, expected) in transforms.into_iter().zip(expected) {
            assert_eq!(hive(transform, timestamp(), &at(instant)), expected, "{instant} in {name}");
        }
    }
    let last = Value::Timestamp(crate::civil::LAST_MICROS);
    assert_eq!(hive(Transform::Day { time_zone: zone("UTC") }, timestamp(), &last), "9999-12-31");
    assert_eq!(hive(Transform::Day { time_zone: zone("Asia/Tokyo") }, timestamp(), &last), "10000-01-01");
}

#[test]
fn dates_are_days_in_every_zone() {
    let day = hive(Transform::Day { time_zone: zone("Asia/Tokyo") }, ColumnType::Date { format: None }, &Value::Date(-1));
    assert_eq!(day, "1969-12-31");
}

#[test]
fn values_without_a_place_are_hives_null() {
    let transforms = [
        Transform::Year { time_zone: Zone::utc() },
        Transform::Month { time_zone: Zone::utc() },
        Transform::Day { time_zone: Zone::utc() },
        Transform::Hour { time_zone: Zone::utc() },
        Transform::Identity,
        Transform::Bucket { count: 12 },
        Transform::Truncate { width: 3 },
    ];
    for transform in transforms {
        assert_eq!(hive(transform.clone(), ColumnType::String, &Value::Null), NULL_PARTITION, "{transform:?}");
    }
    let day = Transform::Day { time_zone: Zone::utc() };
    assert_eq!(hive(day, ColumnType::String, &text("2013-03-01")), NULL_PARTITION);
}

#[test]
fn identities_are_the_values_text() {
    let decimal = |scale| ColumnType::Decimal { precision: 12, scale, rounding: Rounding::Reject };
    let cases = [
        (ColumnType::Int, Value::Int(-7), "-7"),
        (ColumnType::Bigint, Value::Bigint(i64::MIN), "-9223372036854775808"),
        (ColumnType::Double, Value::Double(0.1), "0.1"),
        (decimal(4), Value::Decimal(5_286_900), "528.6900"),
        (decimal(4), Value::Decimal(-5), "-0.0005"),
        (decimal(0), Value::Decimal(0), "0"),
        (ColumnType::Boolean, Value::Boolean(true), "true"),
        (ColumnType::Date { format: None }, Value::Date(0), "1970-01-01"),
    ];
    for (column_type, value, expected) in cases {
        assert_eq!(hive(Transform::Identity, column_type, &value), expected);
    }
    let timestamp = ColumnType::Timestamp { reading: TimeReading::Iso { time_zone: Zone::utc() } };
    let value = hive(Transform::Identity, timestamp.clone(), &at("2013-03-01T12:30:00Z"));
    assert_eq!(value, "2013-03-01 12:30:00");
    let value = hive(Transform::Identity, timestamp, &at("1965-03-01T12:30:00.000001Z"));
    assert_eq!((value.as_str(), escape(&value).as_str()), ("1965-03-01 12:30:00.000001", "1965-03-01 12%3A30%3A00.000001"));
}

#[test]
fn buckets_are_those_of_kafkas_partitioner() {
    assert_eq!(hive(Transform::Bucket { count: 12 }, ColumnType::String, &text("abc")), (479_470_107 % 12).to_string());
    let number = hive(Transform::Bucket { count: 12 }, ColumnType::Int, &Value::Int(21));
    assert_eq!(number, hive(Transform::Bucket { count: 12 }, ColumnType::String, &text("21")));
    assert_eq!(hive(Transform::Bucket { count: 1 }, ColumnType::String, &text("")), "0");
}

#[test]
fn truncation_counts_characters_and_multiples() {
    let cases = [
        (ColumnType::String, text("贵州茅台"), 2, "贵州"),
        (ColumnType::String, text("A"), 2, "A"),
        (ColumnType::Int, Value::Int(-7), 10, "-10"),
        (ColumnType::Bigint, Value::Bigint(1_234), 100, "1200"),
        (ColumnType::Bigint, Value::Bigint(i64::MIN), 10, "-9223372036854775810"),
    ];
    for (column_type, value, width, expected) in cases {
        assert_eq!(hive(Transform::Truncate { width }, column_type, &value), expected);
    }
}

#[test]
fn sealed_days_are_in_utc() {
    assert_eq!(sealed_day(0), "1970-01-01");
    assert_eq!(sealed_day(1_372_685_400_123_456), "2013-07-01");
    assert_eq!(sealed_day(-1), "1969-12-31");
}

#[test]
fn keys_are_as_documented() {
    let epoch = Epoch::of("cluster/topic");
    let keys = LedgerKeys::new("_stockpipeline", "stockpipeline-nyse", &epoch);
    let hive = [("dt".to_owned(), "2013-03-01".to_owned()), ("symbol".to_owned(), "BF/B".to_owned())];
    let range = Range { epoch: &epoch, partition: 7, first: 42, last: 1_041 };
    let lines = [
        keys.group().to_owned(),
        keys.root(),
        keys.partition(7),
        keys.plan(7, 42),
        keys.done(7, 42),
        object_key("processed/us", &hive, &range, "parquet"),
        object_key("raw/us", &hive[..1], &range, "jsonl.zst"),
    ];
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn consumer_groups_of_any_characters_are_one_path_segment() {
    let epoch = Epoch::of("incarnation");
    let cases = [("a/b", "_s/a%2Fb/"), ("..", "_s/%2E%2E/"), (".", "_s/%2E/"), ("...", "_s/.../"), ("Grüße 1", "_s/Grüße 1/")];
    for (group, expected) in cases {
        assert_eq!(LedgerKeys::new("_s", group, &epoch).group(), expected);
    }
}

#[test]
fn foreign_keys_name_no_range() {
    let good = "p/dt=2013-03-01/0123abcd-p00007-00000000000000000042-00000000000000001041.parquet";
    assert_eq!(parse_object_key(good), Some(("0123abcd".to_owned(), 7, 42, 1_041)));
    let bad = [
        "",
        "p/part-00000-0000.parquet",
        "p/0123abcd-p00007-00000000000000000042-00000000000000001041",
        "p/0123abcd-p00007-00000000000000000042-00000000000000001041.",
        "p/0123abcd-p7-00000000000000000042-00000000000000001041.parquet",
        "p/0123abcd-p000007-00000000000000000042-00000000000000001041.parquet",
        "p/0123abcd-p+0007-00000000000000000042-00000000000000001041.parquet",
        "p/0123ABCD-p00007-00000000000000000042-00000000000000001041.parquet",
        "p/0123abcd-p00007-42-1041.parquet",
        "p/0123abcd-p00007-00000000000000001042-00000000000000001041.parquet",
        "p/0123abcd-p00007-00000000000000000042-00000000000000001041-1.parquet",
        "p/0123abcd-p99999999999-00000000000000000042-00000000000000001041.parquet",
        "p/0123abcd-p00007-99999999999999999999-99999999999999999999.parquet",
    ];
    for key in bad {
        assert_eq!(parse_object_key(key), None, "{key}");
    }
    for key in ["x/root.json", "x/+0000000000000000042.plan.json", "x/42.plan.json", "x/00000000000000000042.done.tmp"] {
        assert_eq!((LedgerKeys::parse_plan(key), LedgerKeys::parse_done(key)), (None, None), "{key}");
    }
}

#[test]
fn epochs_are_sixteen_digits_also_when_read() {
    let epoch = Epoch::of("cluster/topic");
    assert_eq!(Epoch::parse(epoch.as_str()), Some(epoch.clone()));
    assert_eq!(serde_json::from_str::<Epoch>(&serde_json::to_string(&epoch).unwrap()).unwrap(), epoch);
    for text in ["", "0123", "0123456789ABCDEF", "0123456789abcdef0", "../../../../../.."] {
        assert_eq!(Epoch::parse(text), None);
        assert!(serde_json::from_str::<Epoch>(&format!("{text:?}")).is_err());
    }
}

proptest! {
    #[test]
    fn escaping_is_undone_and_leaves_no_separator(value in ".*") {
        let escaped = escape(&value);
        prop_assert!(!escaped.contains(['/', '=', '\\']) && !escaped.is_empty());
        prop_assert_eq!(unescape(&escaped), Some(if value.is_empty() { NULL_PARTITION.to_owned() } else { value }));
    }

    #[test]
    fn no_key_is_longer_than_the_longest(values in prop::collection::vec(".{0,400}", 8), last: i64, partition in 0..i32::MAX) {
        let transforms = [
            Transform::Identity,
            Transform::Year { time_zone: Zone::utc() },
            Transform::Identity,
            Transform::Hour { time_zone: Zone::utc() },
            Transform::Bucket { count: u32::MAX },
            Transform::Day { time_zone: Zone::utc() },
            Transform::Truncate { width: 500 },
            Transform::Month { time_zone: Zone::utc() },
        ];
        let fields: Vec<_> = transforms.into_iter().map(field).collect();
        let longest = longest_key("processed/us-equities", &fields);
        prop_assert!(longest <= MAX_KEY_BYTES);
        let hive: Vec<_> = fields.iter().zip(&values).map(|(field, value)| {
            let mut out = String::new();
            let (column, value) = match &field.transform {
                Transform::Identity | Transform::Truncate { .. } | Transform::Bucket { .. } => (column(ColumnType::String), text(value)),
                Transform::Year { .. } | Transform::Month { .. } | Transform::Day { .. } | Transform::Hour { .. } => {
                    (column(ColumnType::Date { format: None }), if value.len() % 2 == 0 { Value::Null } else { Value::Date(0) })
                }
            };
            hive_value(field, &column, &value, &mut out);
            (field.name.clone(), out)
        }).collect();
        let epoch = Epoch::of("incarnation");
        let last = last.unsigned_abs().cast_signed().max(0);
        let range = Range { epoch: &epoch, partition, first: 0, last };
        let key = object_key("processed/us-equities", &hive, &range, "jsonl.zst");
        prop_assert!(key.len() <= longest);
        prop_assert_eq!(key.matches('/').count(), 2 + 8);
        prop_assert_eq!(parse_object_key(&key), Some((epoch.short().to_owned(), partition, 0, last)));
    }

    #[test]
    fn ledger_keys_come_back(group in ".{1,40}", partition in 0..i32::MAX, first in 0..i64::MAX) {
        let keys = LedgerKeys::new("_stockpipeline", &group, &Epoch::of("incarnation"));
        let (plan, done) = (keys.plan(partition, first), keys.done(partition, first));
        prop_assert_eq!((LedgerKeys::parse_plan(&plan), LedgerKeys::parse_done(&plan)), (Some(first), None));
        prop_assert_eq!((LedgerKeys::parse_plan(&done), LedgerKeys::parse_done(&done)), (None, Some(first)));
        prop_assert!(plan.starts_with(&keys.partition(partition)) && keys.partition(partition).starts_with(keys.group()));
        prop_assert_eq!(plan.matches('/').count(), 4);
    }
}
