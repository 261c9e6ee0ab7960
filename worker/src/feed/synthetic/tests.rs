use stockpipeline::schema::{Rounding, Zone};
use stockpipeline::value::{Field, Value, parse};

use super::*;

fn column(name: &str, column_type: ColumnType) -> Column {
    Column { name: name.to_owned(), from: name.to_owned(), column_type, nullable: false, comment: None }
}

fn decimal(precision: u8, scale: u8) -> ColumnType {
    ColumnType::Decimal { precision, scale, rounding: Rounding::Reject }
}

fn timestamp(reading: TimeReading) -> ColumnType {
    ColumnType::Timestamp { reading }
}

/// One column of every kind.
fn schema() -> Schema {
    let new_york = Zone::named("America/New_York").unwrap();
    Schema {
        columns: vec![
            column("symbol", ColumnType::String),
            column("ts", timestamp(TimeReading::Iso { time_zone: Zone::utc() })),
            column("price", decimal(10, 2)),
            column("bid", decimal(18, 6)),
            column("ask", decimal(18, 4)),
            column("tiny", decimal(3, 3)),
            column("whole", decimal(38, 0)),
            column("deep", decimal(38, 38)),
            column("mid", ColumnType::Double),
            column("volume", ColumnType::Bigint),
            column("size", ColumnType::Int),
            column("trade_id", ColumnType::Bigint),
            column("open", ColumnType::Boolean),
            column("side", ColumnType::String),
            column("condition", ColumnType::String),
            column("day", ColumnType::Date { format: None }),
            column("german_day", ColumnType::Date { format: Some("%d.%m.%Y".to_owned()) }),
            column("local", timestamp(TimeReading::Format { format: "%Y-%m-%d %H:%M:%S%.6f".to_owned(), time_zone: new_york })),
            column("seconds", timestamp(TimeReading::Epoch { unit: EpochUnit::Seconds })),
            column("millis", timestamp(TimeReading::Epoch { unit: EpochUnit::Milliseconds })),
            column("micros", timestamp(TimeReading::Epoch { unit: EpochUnit::Microseconds })),
            column("nanos", timestamp(TimeReading::Epoch { unit: EpochUnit::Nanoseconds })),
        ],
        event_time: 1,
        max_future_seconds: 0,
    }
}

fn settings() -> Synthetic {
    let symbols = ["AAPL", "MSFT", "BRK.B"].map(str::to_owned).to_vec();
    Synthetic { symbols, rows_per_second: Some(1000), seed: 7, rows: Some(1000), start_micros: 1_381_152_600_000_000 }
}

fn ticks(settings: &Synthetic) -> Ticks {
    Ticks::new(settings, &schema(), 0)
}

fn rows(ticks: &mut Ticks) -> Vec<String> {
    let mut rows = Vec::new();
    while ticks.advance().is_some() {
        let mut value = Vec::new();
        ticks.encode(&mut value);
        rows.push(String::from_utf8(value).unwrap());
    }
    rows
}

#[test]
fn every_value_is_one_of_its_column() {
    let schema = schema();
    for (number, row) in (0i64..).zip(rows(&mut ticks(&settings()))) {
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&row).unwrap();
        let micros = 1_381_152_600_000_000 + number * 1000;
        for (column, value) in schema.columns.iter().zip(object.values()) {
            let raw = value.to_string();
            let field = match value {
                serde_json::Value::String(text) => Field::Text(text.into()),
                serde_json::Value::Bool(value) => Field::Boolean(*value),
                _ => Field::Number(raw_number(&row, &column.name)),
            };
            let parsed = parse(column, field).unwrap_or_else(|problem| panic!("{}: {problem:?} of {raw}", column.name));
            match parsed {
                Value::Timestamp(time) if column.name == "millis" => assert_eq!(time, micros / 1000 * 1000),
                Value::Timestamp(time) => assert_eq!(time, micros, "{}", column.name),
                Value::Date(day) => assert_eq!(i64::from(day), micros / 86_400_000_000),
                _ => {}
            }
        }
        assert_eq!(object["symbol"], ["AAPL", "MSFT", "BRK.B"][usize::try_from(number).unwrap() % 3]);
        assert_eq!(object["trade_id"], number);
        assert!(object["bid"].as_f64() < object["ask"].as_f64());
    }
}

/// The exact text of a number, which a parsed value does not keep.
fn raw_number<'a>(row: &'a str, name: &str) -> &'a str {
    let start = row.find(&format!("\"{name}\":")).unwrap() + name.len() + 3;
    row[start..].split([',', '}']).next().unwrap()
}

#[test]
fn any_row_is_the_same_from_any_position() {
    let all = rows(&mut ticks(&settings()));
    assert_eq!(all.len(), 1000);
    let mut sought = ticks(&settings());
    for number in [999, 0, 500, 501, 3] {
        assert!(sought.seek(number));
        assert_eq!(sought.advance().unwrap().number, number);
        let mut value = Vec::new();
        sought.encode(&mut value);
        assert_eq!(value, all[usize::try_from(number).unwrap()].as_bytes());
    }
}

#[test]
fn a_finite_source_ends_and_an_endless_one_does_not() {
    let mut finite = ticks(&settings());
    assert!(finite.seek(1000) && finite.advance().is_none());
    assert!(!finite.seek(1001) && finite.advance().is_none());
    let mut endless = ticks(&Synthetic { rows: None, ..settings() });
    assert_eq!(endless.rows_total(), None);
    assert!(endless.seek(u64::MAX / 2));
    let mut value = Vec::new();
    assert!(endless.advance().is_some());
    endless.encode(&mut value);
    serde_json::from_slice::<serde_json::Value>(&value).unwrap();
}

#[test]
fn prices_walk_in_small_steps_within_bounds() {
    let ticks = ticks(&Synthetic { rows: None, ..settings() });
    for symbol in 0..3 {
        let prices: Vec<i64> = (0..200_000).map(|tick| ticks.price(tick * 3 + symbol)).collect();
        let base = prices[0];
        assert!(prices.iter().all(|price| (base / 3..base * 3).contains(price)));
        assert!(prices.windows(2).all(|pair| (pair[0] - pair[1]).abs() <= pair[0] / 500));
        assert!(prices.iter().collect::<std::collections::BTreeSet<_>>().len() > 1000);
    }
}

/// A producer goes on from a position: the rows of a released version must never change.
#[test]
fn rows_are_those_that_were_released() {
    let mut ticks = ticks(&settings());
    ticks.seek(500);
    assert_eq!(ticks.advance().unwrap().key, b"BRK.B");
    let mut value = Vec::new();
    ticks.encode(&mut value);
    insta::assert_snapshot!(String::from_utf8(value).unwrap(), @r#"{"symbol":"BRK.B","ts":"2013-10-07T13:30:00.500000Z","price":392.22,"bid":392.051300,"ask":392.3858,"tiny":0.221,"whole":392,"deep":0.22150000000000000000000000000000000000,"mid":392.2215,"volume":11,"size":4700,"trade_id":500,"open":true,"side":"buy","condition":"D","day":"2013-10-07","german_day":"07.10.2013","local":"2013-10-07 09:30:00.500000","seconds":1381152600.500000,"millis":1381152600500,"micros":1381152600500000,"nanos":1381152600500000000}"#);
}

#[test]
fn the_fingerprint_follows_what_decides_about_the_rows() {
    let own = ticks(&settings()).fingerprint;
    for (same, other) in [
        (false, Synthetic { seed: 8, ..settings() }),
        (false, Synthetic { rows_per_second: Some(1), ..settings() }),
        (false, Synthetic { start_micros: 0, ..settings() }),
        (false, Synthetic { symbols: vec!["AAPL".to_owned()], ..settings() }),
        (true, Synthetic { rows: None, ..settings() }),
    ] {
        assert_eq!(ticks(&other).fingerprint == own, same, "{other:?}");
    }
}
