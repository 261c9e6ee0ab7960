//! Compressed files, whole and damaged.

use std::io::Write;

use stockpipeline::checked::Order;
use stockpipeline_worker::feed::{FeedError, Row};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

use super::{Scene, gzip, rest};

const ROWS: usize = 20_000;

fn text() -> String {
    let mut text = "Index,Date,Close,Volume\n".to_owned();
    for number in 0..ROWS {
        std::fmt::Write::write_fmt(&mut text, format_args!("S{},2020-01-01,{number}.{},{number}\n", number % 7, number * 7919 % 1000))
            .unwrap();
    }
    text
}

fn zipped(files: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, content) in files {
        let options = SimpleFileOptions::default().compression_method(method);
        if name.ends_with('/') {
            writer.add_directory(*name, options).unwrap();
        } else {
            writer.start_file(*name, options).unwrap();
            writer.write_all(content).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

#[tokio::test]
async fn every_packing_gives_the_same_rows() {
    let text = text();
    let expected = Scene::new(&text).rows().await;
    assert_eq!(expected.len(), ROWS);
    let (first, second) = text.as_bytes().split_at(100_003);
    for (packing, stored) in [
        ("gzip", gzip(text.as_bytes())),
        ("gzip of two members", [gzip(first), gzip(second)].concat()),
        ("deflated zip", zipped(&[("data.csv", text.as_bytes())], CompressionMethod::Deflated)),
        ("stored zip", zipped(&[("data.csv", text.as_bytes())], CompressionMethod::Stored)),
        ("zip with folders", zipped(&[("a/", b""), ("__MACOSX/._x", b"x"), ("a/data.csv", text.as_bytes())], CompressionMethod::Deflated)),
    ] {
        for order in [Order::File, Order::Random] {
            let mut scene = Scene::new(&stored);
            scene.settings.order = order;
            let mut feed = scene.open().await.unwrap();
            let mut rows = rest(&mut feed);
            rows.sort_by_key(|row| row.byte_offset);
            assert!(rows.iter().map(|row| &row.value).eq(expected.iter().map(|row| &row.value)), "{packing}");
            assert!(feed.seek(17).unwrap(), "{packing}");
        }
    }
}

#[tokio::test]
async fn a_gzip_that_is_cut_off_gives_its_rows_and_then_where_it_ends() {
    let text = text();
    let whole = gzip(text.as_bytes());
    for cut in [whole.len() / 2, whole.len() - 9, whole.len() - 1] {
        let scene = Scene::new(&whole[..cut]);
        let mut feed = scene.open().await.unwrap();
        let mut row = Row::default();
        let mut rows = 0;
        let error = loop {
            match feed.next(&mut row) {
                Ok(true) => rows += 1,
                Ok(false) => panic!("a file that is cut off has no end"),
                Err(error) => break error,
            }
        };
        let FeedError::Damaged { stored_offset, text_offset, .. } = &error else { panic!("{error}") };
        assert_eq!(*stored_offset, cut as u64, "{error}");
        let before = &text.as_bytes()[..usize::try_from(*text_offset).unwrap()];
        assert_eq!(memchr::memchr_iter(b'\n', before).count(), rows + 1);
        assert!(rows > ROWS / 4, "{rows}");
        assert!(feed.next(&mut row).is_err(), "the end of a damaged file is no end");
    }
}

#[tokio::test]
async fn damage_is_found_by_the_checksums() {
    let text = text();
    let mut gz = gzip(text.as_bytes());
    let crc = gz.len() - 8;
    gz[crc] ^= 1;
    let mut stored = zipped(&[("data.csv", text.as_bytes())], CompressionMethod::Stored);
    let middle = stored.len() / 2;
    stored[middle] = stored[middle].wrapping_add(1) & 0x7f;
    for (packing, file) in [("gzip", gz), ("zip", stored)] {
        let mut feed = Scene::new(&file).open().await.unwrap();
        let mut row = Row::default();
        let error = loop {
            match feed.next(&mut row) {
                Ok(true) => {}
                Ok(false) => panic!("{packing}: damage went unnoticed"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, FeedError::Damaged { .. }), "{packing}: {error}");
        let mut scene = Scene::new(&file);
        scene.settings.order = Order::EventTime;
        assert!(matches!(scene.open().await, Err(FeedError::Damaged { .. })), "{packing}");
    }
}

#[tokio::test]
async fn packings_that_cannot_be_read_are_refused_with_the_remedy() {
    for (file, part) in [
        (zipped(&[], CompressionMethod::Stored), "the zip holds 0 files; it must hold exactly one"),
        (zipped(&[("a.csv", b"x"), ("b.csv", b"y")], CompressionMethod::Stored), "the zip holds 2 files; it must hold exactly one"),
        (zipped(&[("a.csv", &[b'x'; 5000])], CompressionMethod::Stored)[..3000].to_vec(), "it is no whole zip"),
        (vec![0x28, 0xb5, 0x2f, 0xfd, 0, 0], "compressed with zstd; use gzip, zip or plain text"),
        (b"\xfd7zXZ\0 ".to_vec(), "compressed with xz"),
        (b"BZh91AY&SY".to_vec(), "compressed with bzip2"),
    ] {
        let refusal = Scene::new(file).refusal().await;
        assert!(refusal.contains(part), "{refusal}");
    }
}
