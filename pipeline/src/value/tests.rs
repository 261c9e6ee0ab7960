use proptest::prelude::*;

use super::*;
use crate::schema::{EpochUnit, Zone};

fn column(column_type: ColumnType) -> Column {
    Column { name: "price".to_owned(), from: "Price".to_owned(), column_type, nullable: false, comment: None }
}

fn decimal(precision: u8, scale: u8, rounding: Rounding) -> Column {
    column(ColumnType::Decimal { precision, scale, rounding })
}

fn iso(zone: &str) -> Column {
    column(ColumnType::Timestamp { reading: TimeReading::Iso { time_zone: Zone::named(zone).unwrap() } })
}

fn formatted(format: &str, zone: &str) -> Column {
    column(ColumnType::Timestamp { reading: TimeReading::Format { format: format.to_owned(), time_zone: Zone::named(zone).unwrap() } })
}

fn epoch(unit: EpochUnit) -> Column {
    column(ColumnType::Timestamp { reading: TimeReading::Epoch { unit } })
}

fn date(format: Option<&str>) -> Column {
    column(ColumnType::Date { format: format.map(str::to_owned) })
}

fn text(text: &str) -> Field<'_> {
    Field::Text(Cow::Borrowed(text))
}

/// Checks a scalar as a JSON number and as text.
fn check_both(column: &Column, scalar: &str, expected: &Result<Value<'_>, Problem>) {
    assert_eq!(&parse(column, text(scalar)), expected, "text {scalar:?} as {}", column.column_type);
    assert_eq!(&parse(column, Field::Number(scalar)), expected, "number {scalar} as {}", column.column_type);
}

fn check_text(column: &Column, scalar: &str, expected: &Result<Value<'_>, Problem>) {
    assert_eq!(&parse(column, text(scalar)), expected, "text {scalar:?} as {}", column.column_type);
}

/// Microseconds of an instant as jiff reads it.
#[expect(clippy::unnecessary_wraps, reason = "it stands beside problems in the tables")]
fn at(instant: &str) -> Result<Value<'static>, Problem> {
    let timestamp: jiff::Timestamp = instant.parse().unwrap();
    let micros = timestamp.as_nanosecond().div_euclid(1_000);
    Ok(Value::Timestamp(i64::try_from(micros).unwrap()))
}

#[test]
fn strings_take_scalars_by_their_text_and_nothing_nested() {
    let string = column(ColumnType::String);
    for scalar in ["", "AAPL", "1e5", "-0.0", "中 \u{0} \n"] {
        check_both(&string, scalar, &Ok(Value::String(Cow::Borrowed(scalar))));
    }
    assert_eq!(parse(&string, Field::Boolean(true)), Ok(Value::String("true".into())));
    assert_eq!(parse(&string, Field::Nested("{}")), Err(Problem::WrongType));
}

#[test]
fn a_string_is_borrowed_where_the_field_is() {
    let Ok(Value::String(Cow::Borrowed(borrowed))) = parse(&column(ColumnType::String), text("AAPL")) else { panic!("copied") };
    assert_eq!(borrowed, "AAPL");
}

#[test]
fn nothing_is_null_only_where_the_column_is_nullable() {
    let types = [
        ColumnType::String,
        ColumnType::Int,
        ColumnType::Double,
        ColumnType::Boolean,
        ColumnType::Decimal { precision: 5, scale: 2, rounding: Rounding::Reject },
        ColumnType::Date { format: None },
    ];
    for column_type in types {
        let mut column = column(column_type);
        assert_eq!(parse(&column, Field::Null), Err(Problem::Missing));
        column.nullable = true;
        assert_eq!(parse(&column, Field::Null), Ok(Value::Null));
    }
}

#[test]
fn an_empty_text_is_malformed_also_where_null_is_allowed() {
    for mut column in [column(ColumnType::Int), column(ColumnType::Double), decimal(5, 2, Rounding::Reject), iso("UTC"), date(None)] {
        column.nullable = true;
        check_text(&column, "", &Err(Problem::Malformed));
    }
}

#[test]
fn integers_are_whole_numbers_in_range() {
    let int = column(ColumnType::Int);
    let cases = [
        ("5", Ok(5)),
        ("-5", Ok(-5)),
        ("+5", Ok(5)),
        ("-0", Ok(0)),
        ("5.0", Ok(5)),
        ("5.", Ok(5)),
        ("5e0", Ok(5)),
        ("5.0E+1", Ok(50)),
        ("50e-1", Ok(5)),
        ("0007", Ok(7)),
        ("0e999999999999999999999", Ok(0)),
        ("2147483647", Ok(i32::MAX)),
        ("-2147483648", Ok(i32::MIN)),
        ("2147483648", Err(Problem::OutOfRange)),
        ("-2147483649", Err(Problem::OutOfRange)),
        ("1e400", Err(Problem::OutOfRange)),
        ("99999999999999999999999999999999999999999999", Err(Problem::OutOfRange)),
        ("5.5", Err(Problem::TooPrecise)),
        ("1e-400", Err(Problem::TooPrecise)),
        ("NaN", Err(Problem::Malformed)),
        ("abc", Err(Problem::Malformed)),
        (" 5", Err(Problem::Malformed)),
        ("5 ", Err(Problem::Malformed)),
        ("1,000", Err(Problem::Malformed)),
        ("0x10", Err(Problem::Malformed)),
        ("-", Err(Problem::Malformed)),
        (".", Err(Problem::Malformed)),
        ("1.2.3", Err(Problem::Malformed)),
        ("e5", Err(Problem::Malformed)),
        ("5e", Err(Problem::Malformed)),
        ("5e+", Err(Problem::Malformed)),
        ("--5", Err(Problem::Malformed)),
        ("٥", Err(Problem::Malformed)),
    ];
    for (scalar, expected) in cases {
        check_both(&int, scalar, &expected.map(Value::Int));
    }
    assert_eq!(parse(&int, Field::Boolean(true)), Err(Problem::WrongType));
    assert_eq!(parse(&int, Field::Nested("[5]")), Err(Problem::WrongType));
}

#[test]
fn bigints_are_exact_beyond_the_doubles() {
    let bigint = column(ColumnType::Bigint);
    let cases = [
        ("9007199254740993", Ok(9_007_199_254_740_993)),
        ("9007199254740993.000", Ok(9_007_199_254_740_993)),
        ("9223372036854775807", Ok(i64::MAX)),
        ("-9223372036854775808", Ok(i64::MIN)),
        ("9.223372036854775807e18", Ok(i64::MAX)),
        ("9223372036854775808", Err(Problem::OutOfRange)),
        ("-9223372036854775809", Err(Problem::OutOfRange)),
        ("9999999999999999999", Err(Problem::OutOfRange)),
        ("99999999999999999999", Err(Problem::OutOfRange)),
    ];
    for (scalar, expected) in cases {
        check_both(&bigint, scalar, &expected.map(Value::Bigint));
    }
}

#[test]
fn doubles_are_the_nearest_and_finite() {
    let mut double = column(ColumnType::Double);
    let cases =
        [("0.1", 0.1), ("1e5", 100_000.0), ("-12.5", -12.5), ("1e-400", 0.0), ("9007199254740993", 9_007_199_254_740_992.0), (".5", 0.5)];
    for (scalar, expected) in cases {
        check_both(&double, scalar, &Ok(Value::Double(expected)));
    }
    for scalar in ["1e400", "-1e400"] {
        check_both(&double, scalar, &Err(Problem::OutOfRange));
    }
    for scalar in ["abc", "1,5", "1e", "0x1p3", " 1", "infinit"] {
        check_both(&double, scalar, &Err(Problem::Malformed));
    }
    let Ok(Value::Double(zero)) = parse(&double, Field::Number("-0.0")) else { panic!("-0.0 is a double") };
    assert!(zero.is_sign_negative());
    for scalar in ["NaN", "nan", "-nan", "Infinity", "-Infinity", "inf", "+INF"] {
        double.nullable = false;
        check_both(&double, scalar, &Err(Problem::OutOfRange));
        double.nullable = true;
        check_both(&double, scalar, &Ok(Value::Null));
    }
    check_both(&double, "1e400", &Err(Problem::OutOfRange));
}

#[test]
fn decimals_are_exact_and_refuse_what_does_not_fit() {
    let cases = [
        ("1", Ok(10_000)),
        ("-1.5", Ok(-15_000)),
        ("528.690002", Err(Problem::TooPrecise)),
        ("528.69", Ok(5_286_900)),
        ("528.690000000000000000000000000000000000000000", Ok(5_286_900)),
        ("1.5e3", Ok(15_000_000)),
        ("15e-1", Ok(15_000)),
        ("1e-4", Ok(1)),
        ("1e-5", Err(Problem::TooPrecise)),
        (".5", Ok(5_000)),
        ("5.", Ok(50_000)),
        ("-0.0", Ok(0)),
        ("0e999999999", Ok(0)),
        ("99999999.9999", Ok(999_999_999_999)),
        ("-99999999.9999", Ok(-999_999_999_999)),
        ("100000000", Err(Problem::OutOfRange)),
        ("1e8", Err(Problem::OutOfRange)),
        ("1e400", Err(Problem::OutOfRange)),
        ("0000000000000000000000000000000000000000000000001", Ok(10_000)),
        ("NaN", Err(Problem::Malformed)),
        ("1.2.3", Err(Problem::Malformed)),
        ("12a", Err(Problem::Malformed)),
    ];
    for (scalar, expected) in cases {
        check_both(&decimal(12, 4, Rounding::Reject), scalar, &expected.map(Value::Decimal));
    }
}

#[test]
fn decimals_reach_38_digits() {
    let nines = "9".repeat(38);
    let all: i128 = nines.parse().unwrap();
    check_both(&decimal(38, 0, Rounding::Reject), &nines, &Ok(Value::Decimal(all)));
    check_both(&decimal(38, 38, Rounding::Reject), &format!("-0.{nines}"), &Ok(Value::Decimal(-all)));
    check_both(&decimal(38, 38, Rounding::Reject), "1", &Err(Problem::OutOfRange));
    check_both(&decimal(38, 0, Rounding::Reject), &format!("{nines}0"), &Err(Problem::OutOfRange));
    check_both(&decimal(38, 0, Rounding::HalfUp), &format!("{nines}.5"), &Err(Problem::OutOfRange));
    check_both(&decimal(38, 0, Rounding::Truncate), &format!("{nines}.5"), &Ok(Value::Decimal(all)));
}

#[test]
fn rounding_is_what_the_column_says() {
    // Text, then half to even, half away from zero, towards zero, at two digits.
    let cases = [
        ("1.005", 100, 101, 100),
        ("1.015", 102, 102, 101),
        ("1.0050000000000000000000001", 101, 101, 100),
        ("1.004999", 100, 100, 100),
        ("-1.005", -100, -101, -100),
        ("-1.006", -101, -101, -100),
        ("0.005", 0, 1, 0),
        ("0.0005", 0, 0, 0),
        ("5e-3", 0, 1, 0),
        ("999.995", 100_000, 100_000, 99_999),
    ];
    for (scalar, even, up, zero) in cases {
        for (rounding, expected) in [(Rounding::HalfEven, even), (Rounding::HalfUp, up), (Rounding::Truncate, zero)] {
            check_both(&decimal(6, 2, rounding), scalar, &Ok(Value::Decimal(expected)));
        }
    }
    check_both(&decimal(5, 2, Rounding::HalfUp), "999.995", &Err(Problem::OutOfRange));
}

#[test]
fn booleans_are_true_and_false() {
    let boolean = column(ColumnType::Boolean);
    assert_eq!(parse(&boolean, Field::Boolean(true)), Ok(Value::Boolean(true)));
    check_text(&boolean, "true", &Ok(Value::Boolean(true)));
    check_text(&boolean, "false", &Ok(Value::Boolean(false)));
    check_text(&boolean, "yes", &Err(Problem::Malformed));
    assert_eq!(parse(&boolean, Field::Number("1")), Err(Problem::WrongType));
}

#[test]
fn iso_instants_are_exact_to_the_microsecond() {
    let cases = [
        ("1970-01-01T00:00:00Z", at("1970-01-01T00:00:00Z")),
        ("1965-12-31", at("1965-12-31T00:00:00Z")),
        ("2013-03-01 12:30:00", at("2013-03-01T12:30:00Z")),
        ("2013-03-01T12:30", at("2013-03-01T12:30:00Z")),
        ("2013-03-01t12:30:00z", at("2013-03-01T12:30:00Z")),
        ("2013-03-01T12:30:00.123456789Z", at("2013-03-01T12:30:00.123456789Z")),
        ("2013-03-01T12:30:00.1Z", at("2013-03-01T12:30:00.1Z")),
        ("1969-12-31T23:59:59.9999999Z", at("1969-12-31T23:59:59.999999Z")),
        ("2013-03-01T12:30:00+05:30", at("2013-03-01T07:00:00Z")),
        ("2013-03-01 12:30:00.5-0500", at("2013-03-01T17:30:00.5Z")),
        ("2013-03-01T12:30:00-00:00", at("2013-03-01T12:30:00Z")),
        ("2013-03-01 12:30:00+00", at("2013-03-01T12:30:00Z")),
        ("2016-12-31T23:59:60Z", at("2016-12-31T23:59:59Z")),
        ("2024-02-29T00:00:00Z", at("2024-02-29T00:00:00Z")),
        ("0001-01-01T00:00:00Z", at("0001-01-01T00:00:00Z")),
        ("9999-12-31T23:59:59.999999Z", Ok(Value::Timestamp(253_402_300_799_999_999))),
        ("0001-01-01T00:00:00+00:01", Err(Problem::OutOfRange)),
        ("9999-12-31T23:59:59-00:01", Err(Problem::OutOfRange)),
        ("0000-01-01T00:00:00Z", Err(Problem::OutOfRange)),
        ("2023-02-29T00:00:00Z", Err(Problem::Malformed)),
        ("2013-13-01", Err(Problem::Malformed)),
        ("2013-00-01", Err(Problem::Malformed)),
        ("2013-01-00", Err(Problem::Malformed)),
        ("2013-01-32", Err(Problem::Malformed)),
        ("2013-1-1", Err(Problem::Malformed)),
        ("20130301", Err(Problem::Malformed)),
        ("2013-03-01T24:00:00Z", Err(Problem::Malformed)),
        ("2013-03-01T12:60:00Z", Err(Problem::Malformed)),
        ("2013-03-01T12:30:61Z", Err(Problem::Malformed)),
        ("2013-03-01T12:30:00.Z", Err(Problem::Malformed)),
        ("2013-03-01T12:30:00.1234567890Z", Err(Problem::Malformed)),
        ("2013-03-01T12:30:00,5Z", Err(Problem::Malformed)),
        ("2013-03-01T12:30:00+24:00", Err(Problem::Malformed)),
        ("2013-03-01T12:30:00+5", Err(Problem::Malformed)),
        ("2013-03-01T12:30:00 Z", Err(Problem::Malformed)),
        ("2013-03-01T", Err(Problem::Malformed)),
        ("2013-03-01Z", Err(Problem::Malformed)),
        ("+2013-03-01", Err(Problem::Malformed)),
        ("2013-03-0é", Err(Problem::Malformed)),
    ];
    for (scalar, expected) in cases {
        check_text(&iso("UTC"), scalar, &expected);
    }
    assert_eq!(parse(&iso("UTC"), Field::Number("20130301")), Err(Problem::WrongType));
    assert_eq!(parse(&iso("UTC"), Field::Boolean(false)), Err(Problem::WrongType));
}

#[test]
fn a_text_without_a_zone_is_in_the_declared_one() {
    let cases = [
        ("2013-07-01", at("2013-07-01T04:00:00Z")),
        ("2013-01-01T09:30:00.5", at("2013-01-01T14:30:00.5Z")),
        ("2013-07-01T09:30:00Z", at("2013-07-01T09:30:00Z")),
        // 02:30 does not exist: one hour after 01:30 in standard time.
        ("2013-03-10T02:30:00", at("2013-03-10T07:30:00Z")),
        // 01:30 happens twice: the first one.
        ("2013-11-03T01:30:00", at("2013-11-03T05:30:00Z")),
        ("9999-12-31T23:59:59", Err(Problem::OutOfRange)),
        ("0001-01-01T00:00:00", Ok(Value::Timestamp(crate::civil::FIRST_MICROS + 17_762_000_000))),
    ];
    for (scalar, expected) in cases {
        check_text(&iso("America/New_York"), scalar, &expected);
    }
}

#[test]
fn patterns_read_text_and_numbers() {
    let cases = [
        ("%d/%m/%Y", "UTC", "31/12/1965", at("1965-12-31T00:00:00Z")),
        ("%Y%m%d", "UTC", "20130301", at("2013-03-01T00:00:00Z")),
        ("%m/%d/%Y %I:%M %p", "America/New_York", "07/01/2013 9:30 AM", at("2013-07-01T13:30:00Z")),
        ("%Y-%m-%d %H:%M:%S%.f", "UTC", "1969-12-31 23:59:59.9999999", at("1969-12-31T23:59:59.999999Z")),
        ("%Y-%m-%dT%H:%M:%S%z", "America/New_York", "2013-07-01T09:30:00+0200", at("2013-07-01T07:30:00Z")),
        ("%Y-%m-%d %H:%M %Q", "UTC", "2013-07-01 09:30 America/New_York", at("2013-07-01T13:30:00Z")),
        ("%s", "UTC", "1372685400", at("2013-07-01T13:30:00Z")),
        ("%d/%m/%Y", "UTC", "31/02/1965", Err(Problem::Malformed)),
        ("%d/%m/%Y", "UTC", "31/12/1965 ", Err(Problem::Malformed)),
        ("%H:%M", "UTC", "12:30", Err(Problem::Malformed)),
        ("%Y-%m-%d %Q", "UTC", "2013-07-01 Mars/Olympus", Err(Problem::Malformed)),
    ];
    for (format, zone, scalar, expected) in cases {
        check_both(&formatted(format, zone), scalar, &expected);
    }
}

#[test]
fn epochs_are_numbers_of_their_unit() {
    let cases = [
        (EpochUnit::Seconds, "1372685400", at("2013-07-01T13:30:00Z")),
        (EpochUnit::Seconds, "1372685400.1234567", at("2013-07-01T13:30:00.123456Z")),
        (EpochUnit::Seconds, "-0.0000001", at("1969-12-31T23:59:59.999999Z")),
        (EpochUnit::Seconds, "1.3726854e9", at("2013-07-01T13:30:00Z")),
        (EpochUnit::Seconds, "253402300800", Err(Problem::OutOfRange)),
        (EpochUnit::Seconds, "1e30", Err(Problem::OutOfRange)),
        (EpochUnit::Milliseconds, "1372685400123", at("2013-07-01T13:30:00.123Z")),
        (EpochUnit::Milliseconds, "-1", at("1969-12-31T23:59:59.999Z")),
        (EpochUnit::Microseconds, "1372685400123456", at("2013-07-01T13:30:00.123456Z")),
        (EpochUnit::Nanoseconds, "1372685400123456789", at("2013-07-01T13:30:00.123456Z")),
        (EpochUnit::Nanoseconds, "-1", at("1969-12-31T23:59:59.999999Z")),
        (EpochUnit::Nanoseconds, "-1000", at("1969-12-31T23:59:59.999999Z")),
        (EpochUnit::Nanoseconds, "999", at("1970-01-01T00:00:00Z")),
        (EpochUnit::Seconds, "2013-07-01", Err(Problem::Malformed)),
    ];
    for (unit, scalar, expected) in cases {
        check_both(&epoch(unit), scalar, &expected);
    }
}

#[test]
fn dates_are_days() {
    let day = |days| Ok(Value::Date(days));
    let cases = [
        (None, "1970-01-01", day(0)),
        (None, "1969-12-31", day(-1)),
        (None, "2024-02-29", day(19_782)),
        (None, "0000-12-31", Err(Problem::OutOfRange)),
        (None, "2023-02-29", Err(Problem::Malformed)),
        (None, "2024-02-29T00:00:00Z", Err(Problem::Malformed)),
        (Some("%d.%m.%Y"), "02.01.1970", day(1)),
        (Some("%Y%m%d"), "19700103", day(2)),
        (Some("%Y%m%d"), "19700199", Err(Problem::Malformed)),
    ];
    for (format, scalar, expected) in cases {
        check_text(&date(format), scalar, &expected);
    }
    assert_eq!(parse(&date(Some("%Y%m%d")), Field::Number("19700103")), day(2));
    assert_eq!(parse(&date(None), Field::Number("19700103")), Err(Problem::WrongType));
}

#[test]
fn event_times_are_instants_and_midnights() {
    assert_eq!(Value::Timestamp(5).event_time_micros(), Some(5));
    assert_eq!(Value::Date(-1).event_time_micros(), Some(-MICROS_PER_DAY));
    assert_eq!(Value::Null.event_time_micros(), None);
}

#[test]
fn problems_are_told_with_column_and_type_and_without_the_value() {
    let lines = [
        (Problem::Missing, column(ColumnType::String)),
        (Problem::WrongType, column(ColumnType::Boolean)),
        (Problem::Malformed, iso("UTC")),
        (Problem::Malformed, formatted("%d/%m/%Y", "UTC")),
        (Problem::Malformed, epoch(EpochUnit::Nanoseconds)),
        (Problem::Malformed, date(None)),
        (Problem::OutOfRange, column(ColumnType::Double)),
        (Problem::OutOfRange, column(ColumnType::Bigint)),
        (Problem::OutOfRange, decimal(12, 4, Rounding::Reject)),
        (Problem::TooPrecise, decimal(12, 4, Rounding::Reject)),
        (Problem::TooPrecise, column(ColumnType::Int)),
    ]
    .map(|(problem, column)| format!("{}: {}", problem.label(), problem.describe(&column)));
    insta::assert_snapshot!(lines.join("\n"));
}

proptest! {
    #[test]
    fn any_text_is_a_value_or_a_problem(scalar in "\\PC*") {
        for column in [
            column(ColumnType::Int),
            column(ColumnType::Bigint),
            column(ColumnType::Double),
            decimal(38, 10, Rounding::HalfEven),
            iso("UTC"),
            iso("Europe/Berlin"),
            formatted("%Y-%m-%d %H:%M:%S%.f %Q", "UTC"),
            epoch(EpochUnit::Nanoseconds),
            date(None),
        ] {
            prop_assert!(!matches!(parse(&column, text(&scalar)), Err(Problem::Missing | Problem::WrongType)));
        }
    }

    #[test]
    fn number_like_text_is_a_value_or_a_problem(scalar in "[-+]?[0-9]{0,45}(\\.[0-9]{0,45})?([eE][-+]?[0-9]{1,25})?") {
        for rounding in [Rounding::Reject, Rounding::HalfEven, Rounding::HalfUp, Rounding::Truncate] {
            if let Ok(Value::Decimal(value)) = parse(&decimal(38, 10, rounding), text(&scalar)) {
                prop_assert!(value.unsigned_abs() < 10_u128.pow(38));
            }
        }
        prop_assert!(!matches!(parse(&epoch(EpochUnit::Seconds), text(&scalar)), Err(Problem::TooPrecise)));
        // The grammar of doubles and decimals is one.
        prop_assert_eq!(
            matches!(parse(&column(ColumnType::Double), text(&scalar)), Err(Problem::Malformed)),
            matches!(parse(&decimal(38, 0, Rounding::Truncate), text(&scalar)), Err(Problem::Malformed))
        );
    }

    #[test]
    fn short_numbers_are_read_like_long_ones(scalar in "[-+]?[0-9]{0,12}(\\.[0-9]{0,12})?", scale in -3..20_i32, digits in 1..=38_u32) {
        for rounding in [Rounding::Reject, Rounding::HalfEven, Rounding::HalfUp, Rounding::Truncate].map(Excess::Round).into_iter().chain([Excess::Floor]) {
            let long = format!("{scalar}e0");
            prop_assert_eq!(number::decimal(&scalar, scale, digits, rounding), number::decimal(&long, scale, digits, rounding));
        }
        prop_assert_eq!(number::integer(&scalar), number::integer(&format!("{scalar}e0")));
    }

    #[test]
    fn decimals_come_back_from_their_text(value in -(10_i128.pow(38) - 1)..10_i128.pow(38), scale in 0_u8..=38) {
        let scaled = format!("{value}e-{scale}");
        prop_assert_eq!(parse(&decimal(38, scale, Rounding::Reject), text(&scaled)), Ok(Value::Decimal(value)));
    }

    #[test]
    fn integers_come_back_from_their_text(value: i64) {
        let digits = value.to_string();
        prop_assert_eq!(parse(&column(ColumnType::Bigint), text(&digits)), Ok(Value::Bigint(value)));
    }

    #[test]
    fn instants_agree_with_jiff(micros in -62_135_596_800_000_000_i64..253_402_207_200_000_000, zone in prop::sample::select(vec!["UTC", "America/New_York", "Australia/Lord_Howe", "Africa/Monrovia"])) {
        let instant = jiff::Timestamp::from_microsecond(micros).unwrap();
        let written = instant.to_string();
        prop_assert_eq!(parse(&iso(zone), text(&written)), Ok(Value::Timestamp(micros)));
        let rules = Zone::named(zone).unwrap();
        let local = instant.to_zoned(rules.rules().clone()).datetime();
        prop_assert_eq!(rules.local(micros), i64::try_from(local.duration_since(jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0)).as_micros()).unwrap());
        if (1..=9999).contains(&local.year()) {
            let expected = rules.rules().to_timestamp(local).map(jiff::Timestamp::as_microsecond);
            let written = local.to_string();
            let read = parse(&iso(zone), text(&written));
            match (read, expected) {
                (Ok(Value::Timestamp(read)), Ok(expected)) => prop_assert_eq!(read, expected),
                (Err(Problem::OutOfRange), _) => prop_assert!(!(1..=9999).contains(&instant.to_zoned(jiff::tz::TimeZone::UTC).year())),
                (read, expected) => prop_assert!(false, "{read:?} {expected:?}"),
            }
        }
    }
}
