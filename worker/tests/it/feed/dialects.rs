//! The dirt of CSV files as they are.

use proptest::prelude::*;
use stockpipeline::checked::{Location, Pace};
use stockpipeline_worker::feed::{Counts, Malformed};

use super::{Scene, column, key, open, places, rest, value};

#[tokio::test]
async fn values_are_objects_of_the_files_own_names_in_its_order() {
    let scene = Scene::new("Index,Date,Adj Close,Close,Volume\nNYA,1965-12-31,528.69,528.690002,0\n000001.SS,1997-07-02,1,null,4.4e10\n");
    let rows = scene.rows().await;
    assert_eq!(value(&rows[0]), r#"{"Index":"NYA","Date":"1965-12-31","Adj Close":"528.69","Close":528.690002,"Volume":0}"#);
    assert_eq!(value(&rows[1]), r#"{"Index":"000001.SS","Date":"1997-07-02","Adj Close":"1","Close":null,"Volume":4.4e10}"#);
    assert_eq!((key(&rows[1]), rows[1].number, rows[1].line, rows[1].byte_offset), ("000001.SS", 1, 3, 69));
    assert_eq!(rows.len(), 2);
}

#[tokio::test]
async fn dialects_give_the_rows_that_they_mean() {
    let plain = r#"{"Index":"GSPTSE","Date":"29/06/1979","Close":1614.699951,"Volume":0}"#;
    let bare = "Index,Date,Close,Volume\nGSPTSE,29/06/1979,1614.699951,0\n";
    for (dialect, file) in [
        ("LF", bare.as_bytes().to_vec()),
        ("CR LF", bare.replace('\n', "\r\n").into_bytes()),
        ("no final line end", bare.trim_end().as_bytes().to_vec()),
        ("byte order mark", [b"\xef\xbb\xbf", bare.as_bytes()].concat()),
        ("mojibake byte order mark", [b"\xc3\xaf\xc2\xbb\xc2\xbf", bare.replace('\n', "\r\n").as_bytes()].concat()),
        ("quoted fields", b"\"Index\",\"Date\",\"Close\",\"Volume\"\n\"GSPTSE\",\"29/06/1979\",\"1614.699951\",\"0\"\n".to_vec()),
        ("blank lines", b"\n\r\nIndex,Date,Close,Volume\n\n\r\nGSPTSE,29/06/1979,1614.699951,0\n\n".to_vec()),
    ] {
        let rows = Scene::new(file).rows().await;
        assert_eq!(rows.len(), 1, "{dialect}");
        assert_eq!((value(&rows[0]), key(&rows[0]), rows[0].malformed), (plain, "GSPTSE", None), "{dialect}");
    }
}

#[tokio::test]
async fn tabs_and_other_delimiters_are_taken() {
    for delimiter in [b'\t', b';', b'|'] {
        let file = "Index,Date,Close,Volume\r\nA,1,null,\r\n".replace(',', std::str::from_utf8(&[delimiter]).unwrap());
        let mut scene = Scene::new(file);
        scene.settings.delimiter = delimiter;
        assert_eq!(value(&scene.rows().await[0]), r#"{"Index":"A","Date":"1","Close":null,"Volume":null}"#);
    }
}

#[tokio::test]
async fn a_file_without_a_header_takes_the_given_names() {
    let mut scene = Scene::new("A,2020-01-01,1\nB,2020-01-02,2\n");
    scene.settings.header = Some(["Index", "Date", "Close"].map(str::to_owned).to_vec());
    let rows = scene.rows().await;
    assert_eq!(value(&rows[0]), r#"{"Index":"A","Date":"2020-01-01","Close":1}"#);
    assert_eq!((rows.len(), rows[0].line), (2, 1));
}

#[tokio::test]
async fn names_differ_in_case_only_where_none_matches_exactly() {
    let rows = Scene::new("DATE,index,CLOSE,close,Volume\n2020-01-01,A,1,2,3\n").rows().await;
    assert_eq!(value(&rows[0]), r#"{"DATE":"2020-01-01","index":"A","CLOSE":1,"close":"2","Volume":3}"#);
    assert_eq!(key(&rows[0]), "A");
}

#[tokio::test]
async fn malformed_rows_go_on_as_their_own_text() {
    let long = "x".repeat(stockpipeline_worker::feed::MAX_ROW_BYTES);
    for (label, row) in [
        ("EmptyRow", &b",,,"[..]),
        ("EmptyRow", b",,,,,,,,"),
        ("EmptyRow", b"\"\",,,"),
        ("WrongFieldCount", b"A,2020-01-01,1"),
        ("WrongFieldCount", b"A,2020-01-01,1,2,3"),
        ("WrongFieldCount", b"{\"Index\":1}"),
        ("InvalidUtf8", b"A\xff,2020-01-01,1,2"),
        ("TooLong", format!("{long},2020-01-01,1,2").as_bytes()),
    ] {
        let file = [b"Index,Date,Close,Volume\nA,2020-01-01,1,2\n", row, b"\nB,2020-01-02,3,4\n"].concat();
        let scene = Scene::new(file);
        let mut feed = scene.open().await.unwrap();
        let rows = rest(&mut feed);
        assert_eq!(value(&rows[0]), r#"{"Index":"A","Date":"2020-01-01","Close":1,"Volume":2}"#, "{label}");
        let (last, between) = rows[1..].split_last().unwrap();
        assert_eq!((key(last), last.malformed), ("B", None), "{label}");
        assert_eq!(between.iter().flat_map(|row| row.value.clone()).collect::<Vec<u8>>(), row, "{label}");
        assert!(between.iter().all(|row| row.malformed == Some(label) && row.key.is_empty() && row.line == 3), "{label}");
        let kind = Malformed::ALL.iter().position(|kind| kind.label() == label).unwrap();
        assert_eq!(feed.counts().malformed[kind], between.len() as u64, "{label}");
    }
}

#[tokio::test]
async fn a_row_whose_object_is_too_long_goes_on_as_its_text() {
    let text = "\u{1}".repeat(200_000);
    let rows = Scene::new(format!("Index,Date,Close,Volume\nA,{text},1,2\n")).rows().await;
    assert_eq!(rows[0].malformed, Some("TooLong"));
    assert_eq!(value(&rows[0]), format!("A,{text},1,2"));
}

#[tokio::test]
async fn an_open_quote_spoils_its_own_line_only() {
    let rows = Scene::new("Index,Date,Close,Volume\nA,1,1,1\n\"B,2,2,2\nC,3,3,3\n").rows().await;
    assert_eq!(rows.iter().map(|row| row.malformed).collect::<Vec<_>>(), [None, Some("UnbalancedQuote"), None]);
    assert_eq!((value(&rows[1]), rows[1].line), ("\"B,2,2,2", 3));
}

#[tokio::test]
async fn a_quoted_line_end_is_one_row_of_two_lines() {
    let rows = Scene::new("Index,Date,Close,Volume\n\"A\nB\",\"x \"\"y\"\"\",1,1\nC,3,3,3\n").rows().await;
    assert_eq!(value(&rows[0]), r#"{"Index":"A\nB","Date":"x \"y\"","Close":1,"Volume":1}"#);
    assert_eq!((rows[0].line, rows[1].line), (2, 4));
}

#[tokio::test]
async fn headers_that_cannot_be_used_are_refused_before_the_first_row() {
    for (file, part) in [
        ("", "no line at all"),
        ("\n\n", "no line at all"),
        ("Ticker,Date,Close,Volume\nA,1,1,1\n", r#"it lacks ["Index"]; the file has ["Ticker", "Date", "Close", "Volume"]"#),
        ("Index,Close,Volume\n", r#"it lacks ["Date"]"#),
        ("Index,Date,Close,Close\n", r#"names the column "Close" twice"#),
        ("Index,Date,Close,\u{fffd}", ""),
        ("Index\rA\r", "carriage return alone"),
    ] {
        if part.is_empty() {
            Scene::new(file).open().await.unwrap();
        } else {
            let refusal = Scene::new(file).refusal().await;
            assert!(refusal.contains(part), "{file:?}: {refusal}");
        }
    }
    let refusal = Scene::new(b"Index,Date,Close,\xff\n").refusal().await;
    assert!(refusal.contains("not UTF-8"), "{refusal}");
}

#[tokio::test]
async fn a_missing_column_that_may_be_null_is_no_error() {
    let rows = Scene::new("Index,Date\nA,2020-01-01\n").rows().await;
    assert_eq!(value(&rows[0]), r#"{"Index":"A","Date":"2020-01-01"}"#);
}

#[tokio::test]
async fn a_header_alone_is_a_source_without_rows() {
    for repeat in [false, true] {
        let mut scene = Scene::new("Index,Date,Close,Volume\n");
        scene.settings.repeat = repeat;
        let mut feed = scene.open().await.unwrap();
        assert!(feed.advance().unwrap().is_none());
        assert_eq!(feed.rows_total(), Some(0));
        assert!(feed.seek(0).unwrap());
        assert!(!feed.seek(1).unwrap());
        assert!(feed.advance().unwrap().is_none());
    }
}

#[tokio::test]
async fn a_field_of_two_columns_is_a_string_unless_both_are_numbers() {
    let mut scene = Scene::new("Index,Date,Close,Volume\nA,2020,1,true\n");
    scene.schema.columns.push(column("code", "Close", stockpipeline::schema::ColumnType::String, true));
    scene.schema.columns[3].column_type = stockpipeline::schema::ColumnType::Boolean;
    assert_eq!(value(&scene.rows().await[0]), r#"{"Index":"A","Date":"2020","Close":"1","Volume":true}"#);
}

#[tokio::test]
async fn event_times_are_read_only_where_the_pace_needs_them() {
    let mut scene = Scene::new("Index,Date,Close,Volume\nA,1970-01-02,1,1\nB,yesterday,1,1\n,,,\nC,null,1,1\n");
    assert!(scene.rows().await.iter().all(|row| row.event_time_micros.is_none()));
    scene.settings.pace = Pace::SpeedMillis(1000);
    let times: Vec<_> = scene.rows().await.iter().map(|row| row.event_time_micros).collect();
    assert_eq!(times, [Some(86_400_000_000), None, None, None]);
}

#[tokio::test]
async fn blank_lines_are_counted_and_are_no_rows() {
    let scene = Scene::new("Index,Date,Close,Volume\n\nA,1,1,1\n\r\n\n,,,\n");
    let mut feed = scene.open().await.unwrap();
    assert_eq!(rest(&mut feed).len(), 2);
    assert_eq!(feed.counts(), Counts { rows: 2, malformed: [1, 0, 0, 0, 0], blank_lines: 3 });
}

#[tokio::test]
async fn the_fingerprint_is_the_sha_256_of_the_stored_file() {
    let feed = Scene::new("Index,Date\n").open().await.unwrap();
    assert_eq!(feed.fingerprint(), "d8f2cecc6eddc68ccdbc8df3f8647715f20062434073d8a40a6f9a0569f8eb68");
    let other = Scene::new("Index,Date\n\n").open().await.unwrap();
    assert_ne!(feed.fingerprint(), other.fingerprint());
}

#[tokio::test]
async fn a_key_of_a_mounted_config_map_is_a_file() {
    let mut scene = Scene::new("");
    let folder = scene.folder.path().join("maps/ticks");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("ticks.csv"), "Index,Date\nA,1\n").unwrap();
    scene.settings.location = Location::ConfigMap { name: "ticks".to_owned(), key: "ticks.csv".to_owned() };
    assert_eq!(scene.rows().await.len(), 1);
    scene.settings.location = Location::ConfigMap { name: "ticks".to_owned(), key: "other.csv".to_owned() };
    assert_eq!(scene.refusal().await, "failed to read \"configMap ticks/other.csv\"");
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_read_is_noticed() {
    let mut scene = Scene::new("Index,Date\nA,1\n");
    scene.settings.repeat = true;
    let mut feed = scene.open().await.unwrap();
    assert!(feed.advance().unwrap().is_some());
    std::fs::write(scene.folder.path().join("data.csv"), "Index,Date\nB,1\nC,2\n").unwrap();
    assert!(feed.advance().unwrap_err().to_string().contains("changed while it was being read"));
}

#[tokio::test]
async fn a_folder_or_a_missing_file_is_refused() {
    let mut scene = Scene::new("");
    scene.settings.location = Location::Path(".".to_owned());
    assert!(scene.refusal().await.contains("no regular file"));
    scene.settings.location = Location::Path("nothing.csv".to_owned());
    assert_eq!(scene.refusal().await, "failed to read \"nothing.csv\"");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_bytes_give_rows_that_account_for_every_byte(
        body in proptest::collection::vec(prop_oneof![
            4 => Just(b'\n'), 2 => Just(b'\r'), 3 => Just(b'"'), 6 => Just(b','), 4 => Just(b'a'), 2 => any::<u8>(),
        ], 0..300),
        order in prop_oneof![Just(stockpipeline::checked::Order::File), Just(stockpipeline::checked::Order::EventTime)],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let file = [b"Index,Date\n", &body[..]].concat();
            let mut scene = Scene::new(&file);
            scene.settings.order = order;
            scene.settings.null_values.clear();
            let mut feed = open(&scene.settings, &scene.schema, &places(scene.folder.path())).await.unwrap();
            let mut rows = rest(&mut feed);
            rows.sort_by_key(|row| row.byte_offset);
            let counts = feed.counts();
            assert_eq!(counts.rows, rows.len() as u64);
            assert_eq!(counts.malformed.iter().sum::<u64>(), rows.iter().filter(|row| row.malformed.is_some()).count() as u64);
            // Between two rows nothing but line ends stands; within one, its text.
            let mut at = 11;
            let mut blank = 0;
            for (index, row) in rows.iter().enumerate() {
                let start = usize::try_from(row.byte_offset).unwrap();
                blank += line_ends(&file[at..start]) - usize::from(index > 0);
                if row.malformed.is_some() {
                    assert!(file[start..].starts_with(&row.value));
                    at = start + row.value.len();
                } else {
                    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&row.value).unwrap();
                    let fields: Vec<&str> = object.values().map(|field| field.as_str().unwrap()).collect();
                    at = start + text_bytes(&file[start..], &fields);
                }
            }
            blank += line_ends(&file[at..]);
            blank -= usize::from(!rows.is_empty() && file[at..].contains(&b'\n'));
            assert_eq!(counts.blank_lines, blank as u64);
        });
    }
}

/// Counts line ends in what must be nothing else.
fn line_ends(bytes: &[u8]) -> usize {
    let text = std::str::from_utf8(bytes).unwrap();
    assert_eq!(text.replace("\r\n", "").replace('\n', ""), "", "bytes that are in no row");
    text.matches('\n').count()
}

/// Returns the length of the text of a good row, found by reading it with the csv crate.
fn text_bytes(file: &[u8], fields: &[&str]) -> usize {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).terminator(csv::Terminator::Any(b'\n')).from_reader(file);
    let mut record = csv::ByteRecord::new();
    reader.read_byte_record(&mut record).unwrap();
    let end = usize::try_from(reader.position().byte()).unwrap();
    let text = &file[..end];
    let text = text.strip_suffix(b"\n").map_or(text, |text| text.strip_suffix(b"\r").unwrap_or(text));
    // The crate takes the CR of a line end for text.
    let found: Vec<String> = record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect();
    assert!(found.iter().map(|field| field.trim_end_matches('\r')).eq(fields.iter().map(|field| field.trim_end_matches('\r'))));
    text.len()
}
