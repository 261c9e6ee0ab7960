//! Prints what reading a value and making its Hive value costs: `cargo run --release -p stockpipeline --example speed`.

use std::borrow::Cow;
use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

use stockpipeline::layout::hive_value;
use stockpipeline::rules::{PartitionField, Transform};
use stockpipeline::schema::{Column, ColumnType, EpochUnit, Rounding, TimeReading, Zone};
use stockpipeline::value::{Field, Value, parse};

const ROUNDS: u32 = 50_000;
/// The best of many short runs, because the machine may be shared.
const RUNS: usize = 60;

fn column(column_type: ColumnType) -> Column {
    Column { name: "value".to_owned(), from: "value".to_owned(), column_type, nullable: true, comment: None }
}

fn nanoseconds(mut work: impl FnMut()) -> f64 {
    let run = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            work();
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
    };
    (0..RUNS).map(|_| run(&mut work)).fold(f64::INFINITY, f64::min)
}

fn main() -> std::io::Result<()> {
    let zone = |name| Zone::named(name).unwrap_or_else(Zone::utc);
    let iso = |name| ColumnType::Timestamp { reading: TimeReading::Iso { time_zone: zone(name) } };
    let decimal = || ColumnType::Decimal { precision: 18, scale: 6, rounding: Rounding::HalfEven };
    let epoch = ColumnType::Timestamp { reading: TimeReading::Epoch { unit: EpochUnit::Nanoseconds } };
    let format = TimeReading::Format { format: "%d/%m/%Y %H:%M:%S".to_owned(), time_zone: Zone::utc() };
    let readings = [
        ("decimal", decimal(), "528.690002"),
        ("decimal, long", decimal(), "528.690002441406251"),
        ("decimal, exponent", decimal(), "5.2869e2"),
        ("double", ColumnType::Double, "528.690002"),
        ("bigint", ColumnType::Bigint, "1234567890"),
        ("timestamp, RFC 3339", iso("UTC"), "2013-03-01T12:30:00.123456Z"),
        ("timestamp, day", iso("UTC"), "1965-12-31"),
        ("timestamp, New York", iso("America/New_York"), "2013-03-01 12:30:00"),
        ("timestamp, epoch", epoch, "1372685400123456789"),
        ("timestamp, pattern", ColumnType::Timestamp { reading: format }, "31/12/1965 12:30:00"),
        ("date", ColumnType::Date { format: None }, "1965-12-31"),
    ];
    let mut out = std::io::stdout().lock();
    for (name, column_type, text) in readings {
        let column = column(column_type);
        let cost = nanoseconds(|| {
            let read = parse(black_box(&column), Field::Text(Cow::Borrowed(black_box(text))));
            assert!(black_box(read).is_ok());
        });
        writeln!(out, "parse {name:24} {cost:7.1} ns")?;
    }
    let transforms = [
        ("day", Transform::Day { time_zone: zone("UTC") }),
        ("day, New York", Transform::Day { time_zone: zone("America/New_York") }),
        ("hour", Transform::Hour { time_zone: zone("UTC") }),
        ("identity", Transform::Identity),
        ("bucket", Transform::Bucket { count: 12 }),
    ];
    for (name, transform) in transforms {
        let time = matches!(transform, Transform::Day { .. } | Transform::Hour { .. });
        let (column, value) = if time {
            (column(iso("UTC")), Value::Timestamp(1_372_685_400_123_456))
        } else {
            (column(ColumnType::String), Value::String(Cow::Borrowed("BRK.B")))
        };
        let field = PartitionField { name: "key".to_owned(), column: 0, transform };
        let mut hive = String::with_capacity(64);
        let cost = nanoseconds(|| {
            hive.clear();
            hive_value(black_box(&field), &column, black_box(&value), &mut hive);
            black_box(&hive);
        });
        writeln!(out, "hive  {name:24} {cost:7.1} ns")?;
    }
    Ok(())
}
