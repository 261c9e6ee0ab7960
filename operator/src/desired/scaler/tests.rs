//! A table of cases for each way of scaling.

use jiff::civil::date;
use stockpipeline::check::cron::Cron;
use stockpipeline::schema::Zone;

use super::*;

const START: i64 = 1_700_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

fn by_lag(windows: Vec<Window>) -> LagScaling {
    LagScaling {
        min_replicas: 1,
        max_replicas: 8,
        target_lag_per_replica: 1_000,
        scale_down_stabilization: Duration::from_mins(10),
        windows,
    }
}

fn window(start: &str, end: &str, min_replicas: u32) -> Window {
    let time_zone = Zone::named("America/New_York").unwrap();
    Window { name: "w".to_owned(), time_zone, start: Cron::parse(start).unwrap(), end: Cron::parse(end).unwrap(), min_replicas }
}

#[test]
fn fixed_is_the_spec_and_external_no_more_than_partitions() {
    // mode, replicas, partitions, expected
    let cases = [
        (Scaling::Fixed, 3, Some(12), 3),
        (Scaling::Fixed, 3, Some(2), 3),
        (Scaling::Fixed, 0, None, 0),
        (Scaling::External, 5, Some(12), 5),
        (Scaling::External, 50, Some(12), 12),
        (Scaling::External, 50, None, 50),
        (Scaling::External, 0, Some(12), 0),
    ];
    for (scaling, replicas, partitions, expected) in cases {
        let observed = Observed { replicas, current: 1, partitions, lag: Some(1_000_000) };
        let mut history = History::starting(at(0), 7);
        assert_eq!(sinks(&scaling, observed, &mut history, at(0)), expected, "{scaling:?} {replicas} {partitions:?}");
    }
}

#[test]
fn lag_gives_as_many_as_it_is_worth_within_bounds() {
    // lag, partitions, current, expected
    let cases = [
        (Some(0), Some(12), 1, 1),
        (Some(1), Some(12), 1, 1),
        (Some(1_000), Some(12), 1, 1),
        (Some(1_001), Some(12), 1, 2),
        (Some(7_999), Some(12), 1, 8),
        (Some(u64::MAX), Some(12), 1, 8),
        (Some(u64::MAX), Some(3), 1, 3),
        (Some(u64::MAX), Some(0), 1, 1),
        (Some(u64::MAX), None, 1, 8),
        (None, Some(12), 4, 4),
        (None, Some(12), 0, 1),
        (None, Some(12), 20, 8),
    ];
    for (lag, partitions, current, expected) in cases {
        let observed = Observed { replicas: 99, current, partitions, lag };
        let mut history = History::starting(at(0), 0);
        assert_eq!(sinks(&Scaling::Lag(by_lag(Vec::new())), observed, &mut history, at(0)), expected, "{lag:?} {partitions:?} {current}");
    }
}

#[test]
fn sinks_come_at_once_and_go_only_after_the_whole_period() {
    let scaling = Scaling::Lag(by_lag(Vec::new()));
    let mut history = History::starting(at(0), 1);
    // seconds, lag, expected
    let course = [
        (0, 500, 1),
        (30, 5_000, 5),
        (60, 500, 5),
        (300, 3_000, 5),
        (629, 500, 5),
        (630, 500, 3),
        (700, 500, 3),
        (900, 500, 1),
        (930, 2_500, 3),
        (1_000, 0, 3),
        (1_529, 0, 3),
        (1_530, 0, 1),
    ];
    for (seconds, lag, expected) in course {
        let observed = Observed { replicas: 1, current: expected, partitions: Some(12), lag: Some(lag) };
        assert_eq!(sinks(&scaling, observed, &mut history, at(seconds)), expected, "at {seconds}");
    }
}

#[test]
fn an_operator_that_has_just_started_removes_nothing_for_one_period() {
    let scaling = Scaling::Lag(by_lag(Vec::new()));
    let observed = Observed { replicas: 1, current: 6, partitions: Some(12), lag: Some(0) };
    let mut history = History::starting(at(0), 6);
    assert_eq!(sinks(&scaling, observed, &mut history, at(1)), 6);
    assert_eq!(sinks(&scaling, observed, &mut history, at(599)), 6);
    assert_eq!(sinks(&scaling, observed, &mut history, at(600)), 1);
}

#[test]
fn a_clock_that_goes_back_removes_nothing() {
    let scaling = Scaling::Lag(by_lag(Vec::new()));
    let observed = Observed { replicas: 1, current: 6, partitions: Some(12), lag: Some(0) };
    let mut history = History::starting(at(0), 6);
    assert_eq!(sinks(&scaling, observed, &mut history, at(-5_000)), 6);
}

#[test]
fn the_history_stays_small() {
    let mut history = History::starting(at(0), 1);
    for second in 0..100_000 {
        let recommendation = u32::try_from((second * 7_919) % 1_000).unwrap();
        history.stabilize(at(second), recommendation, Duration::from_hours(24));
    }
    assert!(history.recommended.len() <= 1_000, "{}", history.recommended.len());
}

#[test]
fn windows_follow_the_clock_of_their_zone() {
    let hours = window("25 9 * * 1-5", "5 16 * * 1-5", 6);
    let new_york =
        |day: i8, hour: i8, minute: i8| date(2024, 1, day).at(hour, minute, 59, 0).in_tz("America/New_York").unwrap().timestamp();
    // 2024-01-08 is a Monday.
    for (moment, expected) in [
        (new_york(8, 9, 24), false),
        (new_york(8, 9, 25), true),
        (new_york(8, 16, 4), true),
        (new_york(8, 16, 5), false),
        (new_york(12, 12, 0), true),
        (new_york(13, 12, 0), false),
        (new_york(14, 23, 59), false),
        (new_york(15, 9, 25), true),
    ] {
        assert_eq!(is_open(&hours, moment), expected, "{moment}");
    }
}

#[test]
fn a_start_in_the_hour_that_summer_time_skips_still_counts() {
    let night = window("30 2 * * *", "0 5 * * *", 2);
    let after_the_gap = date(2024, 3, 10).at(3, 10, 0, 0).in_tz("America/New_York").unwrap().timestamp();
    assert!(is_open(&night, after_the_gap));
}

#[test]
fn windows_over_midnight_months_and_for_ever_are_read_right() {
    let moment = date(2024, 1, 10).at(1, 0, 0, 0).in_tz("America/New_York").unwrap().timestamp();
    for (start, end, expected) in [
        ("0 22 * * *", "0 4 * * *", true),
        ("0 0 1 * *", "0 0 20 * *", true),
        ("0 0 1 * *", "0 0 5 * *", false),
        ("0 0 31 2 *", "0 0 31 2 *", false),
        ("0 0 * * *", "0 0 * * *", true),
    ] {
        assert_eq!(is_open(&window(start, end, 2), moment), expected, "{start} to {end}");
    }
}

#[test]
fn an_open_window_lifts_the_least_number_and_no_more_than_the_greatest() {
    let moment = date(2024, 1, 8).at(12, 0, 0, 0).in_tz("America/New_York").unwrap().timestamp();
    let windows = vec![window("25 9 * * 1-5", "5 16 * * 1-5", 6), window("0 0 * * *", "0 1 * * *", 7)];
    for (partitions, expected) in [(Some(12), 6), (Some(4), 4), (None, 6)] {
        let observed = Observed { replicas: 1, current: 1, partitions, lag: Some(0) };
        let mut history = History::starting(moment, 0);
        assert_eq!(sinks(&Scaling::Lag(by_lag(windows.clone())), observed, &mut history, moment), expected, "{partitions:?}");
    }
}

#[test]
fn a_drain_ends_when_nothing_is_left_or_the_time_is_over() {
    let running = Counts { producers: 2, sinks: 3 };
    let lifecycle = |desired_state| Lifecycle { desired_state, drain_timeout: Duration::from_mins(10), restart_nonce: 0 };
    let drain = |minutes, producers, lag, ended| Drain { elapsed: Duration::from_mins(minutes), producers, lag, ended };
    let none = Counts::default();
    let sinks_only = Counts { producers: 0, sinks: 3 };
    let cases = [
        (DesiredState::Running, drain(0, 2, Some(0), false), running),
        (DesiredState::Stopped, drain(0, 2, Some(9), false), none),
        (DesiredState::Drained, drain(0, 2, Some(0), false), sinks_only),
        (DesiredState::Drained, drain(1, 0, Some(9), false), sinks_only),
        (DesiredState::Drained, drain(1, 0, None, false), sinks_only),
        (DesiredState::Drained, drain(1, 0, Some(0), false), none),
        (DesiredState::Drained, drain(1, 0, None, true), none),
        (DesiredState::Drained, drain(10, 1, Some(9), false), none),
    ];
    for (state, drain, expected) in cases {
        assert_eq!(counts(lifecycle(state), running, drain), expected, "{state:?} {drain:?}");
    }
    let scaled_to_zero = counts(lifecycle(DesiredState::Drained), Counts { producers: 2, sinks: 0 }, drain(0, 0, None, false));
    assert_eq!(scaled_to_zero, Counts { producers: 0, sinks: 1 }, "somebody has to write what is left");
}
