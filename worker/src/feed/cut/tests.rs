use proptest::prelude::*;

use super::*;

/// Rows of a whole file: text, flaw and line on which it starts. Blank lines are rows without a byte.
fn rows(file: &[u8]) -> Vec<(Vec<u8>, Option<Malformed>, u64)> {
    rows_in_steps(file, file.len().max(1))
}

/// Shows the cutter `step` bytes more whenever it asks for more.
fn rows_in_steps(file: &[u8], step: usize) -> Vec<(Vec<u8>, Option<Malformed>, u64)> {
    let mut cutter = Cutter::new(b',');
    let (mut rows, mut at, mut shown, mut line) = (Vec::new(), 0, 0, 1);
    while at < file.len() {
        let cut = if shown > at { cutter.cut(at as u64, &file[at..shown], shown == file.len()) } else { None };
        let Some(cut) = cut else {
            assert!(shown < file.len(), "the cutter asks for more than there is");
            shown = (shown + step).min(file.len());
            continue;
        };
        assert!(cut.next > 0 && cut.end <= MAX_ROW_BYTES);
        if !cut.leftover {
            rows.push((file[at..at + cut.end].to_vec(), cut.flaw, line));
        }
        at += cut.next;
        line += cut.lines;
    }
    rows
}

fn texts(file: &[u8]) -> Vec<String> {
    rows(file).into_iter().map(|(text, _, _)| String::from_utf8(text).unwrap()).collect()
}

fn fields(row: &[u8]) -> Vec<String> {
    let (mut fields, mut scratch) = (Vec::new(), Vec::new());
    split(row, b',', &mut fields);
    fields.iter().map(|field| String::from_utf8_lossy(field.text(row, &mut scratch)).into_owned()).collect()
}

#[test]
fn rows_end_with_lf_or_cr_lf_and_the_last_one_with_the_file() {
    for (file, expected) in [
        ("a,b\nc,d\n", vec!["a,b", "c,d"]),
        ("a,b\r\nc,d\r\n", vec!["a,b", "c,d"]),
        ("a,b\r\nc,d", vec!["a,b", "c,d"]),
        ("a\n\n\r\nb\n", vec!["a", "", "", "b"]),
        ("a\rb\n", vec!["a\rb"]),
        ("a\r\r\nb", vec!["a\r", "b"]),
        ("\n", vec![""]),
        ("", vec![]),
        (",,\r\n,,\r\n", vec![",,", ",,"]),
    ] {
        assert_eq!(texts(file.as_bytes()), expected, "{file:?}");
    }
}

#[test]
fn a_quoted_field_may_hold_line_ends_delimiters_and_quotes() {
    for (file, expected) in [
        ("\"a\nb\",c\nd\n", vec!["\"a\nb\",c", "d"]),
        ("a,\"b\r\n\r\nc\"\r\nd", vec!["a,\"b\r\n\r\nc\"", "d"]),
        ("\"a\"\"\nb\"\nc", vec!["\"a\"\"\nb\"", "c"]),
        ("\"a\"\"\"\nc", vec!["\"a\"\"\"", "c"]),
        ("a\"b\nc\"d\n", vec!["a\"b", "c\"d"]),
        ("\"a\"b\"\nc\n", vec!["\"a\"b\"", "c"]),
    ] {
        assert_eq!(texts(file.as_bytes()), expected, "{file:?}");
        assert!(rows(file.as_bytes()).iter().all(|(_, flaw, _)| flaw.is_none()), "{file:?}");
    }
}

#[test]
fn fields_are_resolved_as_rfc_4180_says() {
    for (row, expected) in [
        ("a,b,c", vec!["a", "b", "c"]),
        ("", vec![""]),
        (",", vec!["", ""]),
        ("\"a,b\",c", vec!["a,b", "c"]),
        ("\"\",\"\"", vec!["", ""]),
        ("\"a\"\"b\",c", vec!["a\"b", "c"]),
        ("\"\"\"\"", vec!["\""]),
        ("\"a\"\"\",\"\"\"b\"", vec!["a\"", "\"b"]),
        ("\"a\"b,c", vec!["ab", "c"]),
        ("\"a\"\"b\"c\"d,e", vec!["a\"bc\"d", "e"]),
        ("a\"b,\"c\nd\"", vec!["a\"b", "c\nd"]),
    ] {
        assert_eq!(fields(row.as_bytes()), expected, "{row:?}");
    }
}

#[test]
fn an_open_quote_spoils_its_own_line_only() {
    let file = b"a,1\n\"b,2\nc,3\nd,4";
    let flawed = Some(Malformed::UnbalancedQuote);
    let expected = [(b"a,1".to_vec(), None, 1), (b"\"b,2".to_vec(), flawed, 2), (b"c,3".to_vec(), None, 3), (b"d,4".to_vec(), None, 4)];
    assert_eq!(rows(file), expected);
}

#[test]
fn lines_are_counted_through_quoted_line_ends() {
    let starts: Vec<u64> = rows(b"h\n\"a\n\nb\"\nc\n\nd\n").into_iter().map(|(_, _, line)| line).collect();
    assert_eq!(starts, [1, 2, 5, 6, 7]);
}

#[test]
fn a_line_that_is_too_long_goes_on_in_pieces() {
    let mut file = b"a,1\n".to_vec();
    file.extend(std::iter::repeat_n(b'x', 2 * MAX_ROW_BYTES + 3));
    file.extend_from_slice(b"\r\nb,2\n");
    let found = rows(&file);
    let lengths: Vec<_> = found.iter().map(|(text, flaw, line)| (text.len(), *flaw, *line)).collect();
    let long = Some(Malformed::TooLong);
    assert_eq!(lengths, [(3, None, 1), (MAX_ROW_BYTES, long, 2), (MAX_ROW_BYTES, long, 2), (3, long, 2), (3, None, 3)]);
    assert_eq!(rows_in_steps(&file, 70_001), found);
}

#[test]
fn a_line_of_whole_pieces_leaves_no_empty_row() {
    let mut file = vec![b'x'; 2 * MAX_ROW_BYTES];
    file.extend_from_slice(b"\nb\n");
    let lengths: Vec<_> = rows(&file).iter().map(|(text, _, line)| (text.len(), *line)).collect();
    assert_eq!(lengths, [(MAX_ROW_BYTES, 1), (MAX_ROW_BYTES, 1), (1, 2)]);
}

#[test]
fn the_longest_row_is_whole_with_either_line_end() {
    for line_end in ["\n", "\r\n", ""] {
        for text in [vec![b'x'; MAX_ROW_BYTES], [b"\"".to_vec(), vec![b'\n'; MAX_ROW_BYTES - 2], b"\"".to_vec()].concat()] {
            let file = [&text, line_end.as_bytes()].concat();
            let found = rows(&file);
            assert_eq!(found.len(), 1, "{line_end:?}");
            assert_eq!((found[0].0.len(), found[0].1), (MAX_ROW_BYTES, None));
        }
    }
}

#[test]
fn a_quote_that_is_open_for_too_long_spoils_its_own_line_only() {
    let mut file = b"\"a,1\n".to_vec();
    for _ in 0..MAX_ROW_BYTES / 4 + 10 {
        file.extend_from_slice(b"b,2\n");
    }
    file.extend_from_slice(b"\"c\n3\"\n");
    let found = rows(&file);
    assert_eq!(found[0], (b"\"a,1".to_vec(), Some(Malformed::UnbalancedQuote), 1));
    assert_eq!(found.len(), MAX_ROW_BYTES / 4 + 10 + 2);
    assert!(found[1..].iter().all(|(_, flaw, _)| flaw.is_none()));
    assert_eq!(found.last().unwrap().0, b"\"c\n3\"");
}

#[test]
fn a_file_of_open_quotes_is_searched_once() {
    // Each line leaves a quote open, and opens it anew after the one before: searching from every line would take hours.
    let file = b"a\",\"b\n".repeat(500_000);
    let found = rows(&file);
    assert_eq!(found.len(), 500_000);
    assert!(found.iter().all(|(text, flaw, _)| text == b"a\",\"b" && *flaw == Some(Malformed::UnbalancedQuote)));
}

/// Text of the bytes that matter, and of any others.
fn file_bytes() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        3 => Just(b'\n'),
        2 => Just(b'\r'),
        4 => Just(b'"'),
        4 => Just(b','),
        4 => Just(b'a'),
        1 => any::<u8>(),
    ];
    proptest::collection::vec(byte, 0..200)
}

proptest! {
    #[test]
    fn every_byte_is_in_one_row_or_line_end(file in file_bytes()) {
        let mut cutter = Cutter::new(b',');
        let mut at = 0;
        let mut lines = 1;
        while at < file.len() {
            let cut = cutter.cut(at as u64, &file[at..], true).unwrap();
            let line_end = &file[at + cut.end..at + cut.next];
            prop_assert!([&b"\n"[..], b"\r\n", b""].contains(&line_end));
            prop_assert!(!line_end.is_empty() || at + cut.next == file.len());
            at += cut.next;
            lines += cut.lines;
        }
        prop_assert_eq!(at, file.len());
        prop_assert_eq!(lines, 1 + memchr_iter(b'\n', &file).count() as u64);
    }

    #[test]
    fn rows_do_not_depend_on_how_much_is_seen_at_once(file in file_bytes(), step in 1usize..20) {
        prop_assert_eq!(rows_in_steps(&file, step), rows(&file));
    }

    #[test]
    fn rows_and_fields_are_those_of_the_csv_crate(file in "[a\",\n]{0,120}") {
        let ours = rows(file.as_bytes());
        // The crate lets an open quote run to the end of the file.
        prop_assume!(ours.iter().all(|(_, flaw, _)| flaw.is_none()));
        let ours: Vec<Vec<String>> = ours.iter().filter(|(text, _, _)| !text.is_empty()).map(|(text, _, _)| fields(text)).collect();
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .terminator(csv::Terminator::Any(b'\n'))
            .from_reader(file.as_bytes());
        let theirs: Vec<Vec<String>> =
            reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect();
        prop_assert_eq!(ours, theirs);
    }
}
