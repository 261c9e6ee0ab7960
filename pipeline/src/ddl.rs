//! The Athena tables of a pipeline as SQL, for people who register them by hand.
//!
//! Athena's DDL is Hive's: identifiers in backquotes, text in single quotes with backslash escapes. Every name is checked and every
//! text is escaped, so nothing that a user wrote can end a literal.

use std::fmt::Write;

use thiserror::Error;

use crate::table::Table;

/// Longest name that Glue takes.
const MAX_NAME_BYTES: usize = 255;

/// Why a table has no DDL.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DdlError {
    /// A name that is no identifier.
    #[error("{what} {name:?} is no identifier: use at most 255 lower-case letters, digits and underscores, the first no digit")]
    InvalidName {
        /// What the name is of.
        what: &'static str,
        /// The name.
        name: String,
    },
}

/// Returns the `CREATE EXTERNAL TABLE IF NOT EXISTS` of a table, with a comment that says how partitions are loaded.
///
/// # Errors
/// [`DdlError`] for a name of the database, the table, a column or a partition key that is no identifier.
pub fn create_table(database: &str, name: &str, table: &Table) -> Result<String, DdlError> {
    check("database", database)?;
    check("table", name)?;
    let mut columns = Vec::with_capacity(table.columns.len());
    for column in &table.columns {
        check("column", &column.name)?;
        let comment = column.comment.as_ref().map(|comment| format!(" COMMENT {}", literal(comment))).unwrap_or_default();
        columns.push(format!("`{}` {}{comment}", column.name, column.glue_type));
    }
    let mut keys = Vec::with_capacity(table.partition_keys.len());
    for key in &table.partition_keys {
        check("partition key", key)?;
        keys.push(format!("`{key}` string"));
    }
    let property = |(name, value): (&String, &String)| format!("{} = {}", literal(name), literal(value));
    // Athena itself marks what CREATE EXTERNAL makes.
    let properties: Vec<_> = table.properties.iter().filter(|(name, _)| *name != "EXTERNAL").map(property).collect();
    let serde_properties: Vec<_> = table.serde_properties.iter().map(property).collect();

    let mut sql = format!(
        "-- Partitions that lie in the bucket but not in the catalogue are loaded by: MSCK REPAIR TABLE `{database}`.`{name}`\n\
         CREATE EXTERNAL TABLE IF NOT EXISTS `{database}`.`{name}`"
    );
    list(" ", &columns, &mut sql);
    if !keys.is_empty() {
        list("\nPARTITIONED BY ", &keys, &mut sql);
    }
    line(&mut sql, "ROW FORMAT SERDE", table.format.serde());
    list("\nWITH SERDEPROPERTIES ", &serde_properties, &mut sql);
    line(&mut sql, "STORED AS INPUTFORMAT", table.format.input_format());
    line(&mut sql, "OUTPUTFORMAT", table.format.output_format());
    line(&mut sql, "LOCATION", &table.location);
    list("\nTBLPROPERTIES ", &properties, &mut sql);
    sql.push_str(";\n");
    Ok(sql)
}

fn list(head: &str, items: &[String], sql: &mut String) {
    sql.push_str(head);
    sql.push_str("(\n  ");
    sql.push_str(&items.join(",\n  "));
    sql.push_str("\n)");
}

fn line(sql: &mut String, words: &str, text: &str) {
    write!(sql, "\n{words} {}", literal(text)).expect("writing to a String cannot fail");
}

fn check(what: &'static str, name: &str) -> Result<(), DdlError> {
    let starts = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if starts && plain && name.len() <= MAX_NAME_BYTES { Ok(()) } else { Err(DdlError::InvalidName { what, name: name.to_owned() }) }
}

/// Returns a text as a Hive string literal.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('\'');
    for character in text.chars() {
        match character {
            '\'' => out.push_str("\\'"),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if control.is_control() => {
                write!(out, "\\u{:04X}", u32::from(control)).expect("writing to a String cannot fail");
            }
            plain => out.push(plain),
        }
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{LineCompression, ProcessedFormat, example};

    #[test]
    fn parquet_rows_have_the_declared_types() {
        let table = example::rules().processed_table("my-bucket").unwrap();
        insta::assert_snapshot!(create_table("market_data", "us_equities", &table).unwrap());
    }

    #[test]
    fn json_rows_are_read_by_the_openx_serde() {
        let mut rules = example::rules();
        rules.processed.as_mut().unwrap().format = ProcessedFormat::JsonLines { compression: LineCompression::Gzip };
        let table = rules.processed_table("my-bucket").unwrap();
        insta::assert_snapshot!(create_table("market_data", "us_equities", &table).unwrap());
    }

    #[test]
    fn raw_fields_are_strings_under_the_sources_names() {
        let table = example::rules().raw_table("my-bucket").unwrap();
        insta::assert_snapshot!(create_table("market_data", "us_equities_raw", &table).unwrap());
    }

    #[test]
    fn dead_letters_hold_the_reason_and_the_record() {
        let table = example::rules().dead_letters_table("my-bucket");
        insta::assert_snapshot!(create_table("market_data", "us_equities_dlq", &table).unwrap());
    }

    #[test]
    fn zones_that_are_off_have_no_table() {
        let mut rules = example::rules();
        (rules.raw, rules.processed) = (None, None);
        assert_eq!((rules.raw_table("b"), rules.processed_table("b")), (None, None));
    }

    #[test]
    fn names_that_are_no_identifiers_are_refused() {
        let table = example::rules().dead_letters_table("my-bucket");
        let long = "a".repeat(256);
        for name in ["", "1a", "A", "a-b", "a`b", "a b", "é", "a;", long.as_str()] {
            let invalid = |what| Err(DdlError::InvalidName { what, name: name.to_owned() });
            assert_eq!(create_table(name, "t", &table), invalid("database"));
            assert_eq!(create_table("d", name, &table), invalid("table"));
            let mut broken = table.clone();
            name.clone_into(&mut broken.columns[1].name);
            assert_eq!(create_table("d", "t", &broken), invalid("column"));
            let mut broken = table.clone();
            broken.partition_keys = vec![name.to_owned()];
            assert_eq!(create_table("d", "t", &broken), invalid("partition key"));
        }
    }

    #[test]
    fn no_text_ends_its_literal() {
        let cases = [("a'; DROP", r"'a\'; DROP'"), (r"\'", r"'\\\''"), ("a\r\n\tb\0", r"'a\r\n\tb\u0000'"), ("贵", "'贵'")];
        for (text, expected) in cases {
            assert_eq!(literal(text), expected);
        }
    }
}
