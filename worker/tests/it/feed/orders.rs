//! Orders, passes and positions.

use std::fmt::Write;

use stockpipeline::checked::{Order, Pace};
use stockpipeline_worker::feed::{FeedError, Row, Sought};

use super::{Scene, key, open_within, places, rest, take};

fn keys(rows: &[Row]) -> String {
    rows.iter().map(|row| if row.malformed.is_some() { "!" } else { key(row) }).collect()
}

/// Rows A to J, out of order in time.
fn scene(order: Order) -> Scene {
    let times = [5, 3, 9, 3, 1, 7, 7, 2, 8, 4];
    let mut file = "Index,Date,Close,Volume\n".to_owned();
    for (symbol, day) in ('A'..).zip(times) {
        writeln!(file, "{symbol},2020-01-{day:02},1,1").unwrap();
    }
    let mut scene = Scene::new(file);
    scene.settings.order = order;
    scene
}

#[tokio::test]
async fn event_time_order_keeps_the_files_order_among_equals() {
    let rows = scene(Order::EventTime).rows().await;
    assert_eq!(keys(&rows), "EHBDJAFGIC");
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [6, 9, 3, 5, 11, 2, 7, 8, 10, 4]);
    assert!(rows.is_sorted_by_key(|row| row.event_time_micros));
}

#[tokio::test]
async fn rows_without_a_readable_time_come_first_in_the_files_order() {
    let mut scene = Scene::new("Index,Date,Close,Volume\nA,2020-01-02,1,1\n,,,\nB,,1,1\nC,soon,1,1\nD,1\nE,2020-01-01,1,1\n");
    scene.settings.order = Order::EventTime;
    assert_eq!(keys(&scene.rows().await), "!BC!EA");
}

#[tokio::test]
async fn random_order_is_another_permutation_each_pass_and_seed() {
    let mut scene = scene(Order::Random);
    scene.settings.repeat = true;
    let rows = take(&mut scene.open().await.unwrap(), 30);
    let passes: Vec<String> = rows.chunks(10).map(keys).collect();
    for pass in &passes {
        let mut letters: Vec<char> = pass.chars().collect();
        letters.sort_unstable();
        assert_eq!(letters.iter().collect::<String>(), "ABCDEFGHIJ");
        assert_ne!(pass, "ABCDEFGHIJ");
    }
    assert!(passes[0] != passes[1] && passes[1] != passes[2]);
    assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), (0..30).collect::<Vec<_>>());
    assert_eq!(take(&mut scene.open().await.unwrap(), 30), rows);
    scene.settings.seed = 2;
    assert_ne!(take(&mut scene.open().await.unwrap(), 30), rows);
}

#[tokio::test]
async fn any_row_can_be_sought_in_any_order_and_pass() {
    for order in [Order::File, Order::EventTime, Order::Random] {
        for repeat in [false, true] {
            let mut scene = scene(order);
            scene.settings.repeat = repeat;
            scene.settings.pace = Pace::SpeedMillis(1000);
            let count = if repeat { 35 } else { 10 };
            let all = take(&mut scene.open().await.unwrap(), count);
            let mut walked = scene.open().await.unwrap();
            for target in [3, 0, 9, 4, 5, 34, 2, 20, 19, 21, 10, 1, 30, 8] {
                let (mut fresh, mut stepped) = (scene.open().await.unwrap(), scene.open().await.unwrap());
                let mut steps = 0;
                while stepped.seek_within(target, 4).unwrap() == Sought::Underway {
                    steps += 1;
                }
                // What lies in memory needs none, and passes behind the first are not walked through.
                let expected_steps = if order == Order::File { (target.min(10).saturating_sub(1) / 4)..=5 } else { 0..=0 };
                assert!(expected_steps.contains(&steps), "{order:?} {repeat} {target}: {steps}");
                for feed in [&mut walked, &mut fresh, &mut stepped] {
                    let found = feed.seek(target).unwrap();
                    assert_eq!(found, repeat || target <= 10, "{order:?} {repeat} {target}");
                    let mut row = Row::default();
                    let expected = all.get(usize::try_from(target).unwrap());
                    assert_eq!(feed.next(&mut row).unwrap().then_some(&row), expected, "{order:?} {repeat} {target}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_position_at_the_end_is_one_and_behind_it_is_none() {
    for order in [Order::File, Order::EventTime, Order::Random] {
        let mut feed = scene(order).open().await.unwrap();
        assert!(feed.seek(10).unwrap());
        assert!(feed.advance().unwrap().is_none());
        assert!(!feed.seek(11).unwrap());
        assert!(feed.advance().unwrap().is_none());
        assert_eq!(feed.rows_total(), Some(10));
        assert!(feed.seek(9).unwrap());
        assert_eq!(keys(&rest(&mut feed)).len(), 1);
    }
}

#[tokio::test]
async fn rows_in_all_are_known_in_memory_or_after_one_pass() {
    let mut feed = scene(Order::File).open().await.unwrap();
    assert_eq!(feed.rows_total(), None);
    rest(&mut feed);
    assert_eq!(feed.rows_total(), Some(10));
    let read = feed.bytes_read().unwrap();
    assert_eq!(read.read, read.total);
    assert_eq!(scene(Order::Random).open().await.unwrap().rows_total(), Some(10));
}

#[tokio::test]
async fn a_file_beyond_the_memory_budget_is_refused_with_the_sizes() {
    let file = format!("Index,Date,Close,Volume\n{}", "A,2020-01-01,1,1\n".repeat(20_000));
    for order in [Order::EventTime, Order::Random] {
        let mut scene = Scene::new(&file);
        scene.settings.order = order;
        let error = open_within(&scene.settings, &scene.schema, &places(scene.folder.path()), 500_000).await.unwrap_err();
        let FeedError::MemoryBudget { bytes, budget, .. } = &error else { panic!("{error}") };
        assert!(*bytes > *budget && *budget == 500_000, "{error}");
        assert!(error.to_string().contains(&format!("order {order:?}")), "{error}");
        let budget = file.len() as u64 + 20_000 * 48;
        open_within(&scene.settings, &scene.schema, &places(scene.folder.path()), budget).await.unwrap();
    }
}

#[tokio::test]
async fn the_value_of_no_row_is_empty() {
    let mut feed = scene(Order::File).open().await.unwrap();
    let mut value = Vec::new();
    feed.encode(&mut value);
    assert!(feed.advance().unwrap().is_some());
    feed.seek(5).unwrap();
    feed.encode(&mut value);
    rest(&mut feed);
    feed.encode(&mut value);
    assert_eq!(value, b"");
}
