//! Shows how far a local run is: a bar on a terminal, a line every ten seconds elsewhere. Reads progress, changes nothing.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::audit::thousands;
use crate::progress::Progress;

/// How often a bar is drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(150);
/// How often a line is written where there is no terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Where progress is shown.
#[derive(Debug, Clone)]
pub enum Screen {
    /// A terminal; log lines have to go through it, or they tear the bar.
    Terminal(MultiProgress),
    /// A file, a pipe or a log collector.
    Lines,
}

/// Shows progress until `ended`; leaves a terminal clean.
pub(super) async fn watch(screen: Screen, progress: &Progress, ended: CancellationToken) {
    let started = Instant::now();
    let bar = match &screen {
        Screen::Terminal(screen) => Some(screen.add(ProgressBar::no_length())),
        Screen::Lines => None,
    };
    let interval = if bar.is_some() { DRAW_INTERVAL } else { LINE_INTERVAL };
    while tokio::time::timeout(interval, ended.cancelled()).await.is_err() {
        let view = View::of(progress);
        match &bar {
            Some(bar) => draw(bar, &view),
            None => tracing::info!("{}", view.line(started.elapsed())),
        }
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
}

/// One look at the progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct View {
    read: u64,
    total: Option<u64>,
    stored: u64,
    is_storing: bool,
}

impl View {
    fn of(progress: &Progress) -> Self {
        let stored: i64 = progress.partitions.iter().map(|partition| partition.durable.load(Ordering::Relaxed)).sum();
        let total = progress.rows_total.load(Ordering::Relaxed);
        Self {
            read: progress.rows_read.load(Ordering::Relaxed),
            total: (total > 0).then_some(total),
            stored: u64::try_from(stored).unwrap_or(0),
            is_storing: progress.produced_all.load(Ordering::Acquire),
        }
    }

    fn line(&self, elapsed: Duration) -> String {
        let rate = per_second(self.read, elapsed);
        let read = thousands(self.read);
        let stored = thousands(self.stored);
        match (self.is_storing, self.total) {
            (true, _) => format!("storing: {stored} of {read} rows"),
            (false, Some(total)) => {
                let left =
                    (total.saturating_sub(self.read)).checked_div(rate).map_or_else(|| "unknown".to_owned(), |left| format!("{left} s"));
                format!("{read} of {} rows, {stored} stored, {} rows/s, {left} left", thousands(total), thousands(rate))
            }
            (false, None) => format!("{read} rows, {stored} stored, {} rows/s", thousands(rate)),
        }
    }
}

/// Returns whole rows a second; of less than a millisecond, those of one.
pub(super) fn per_second(rows: u64, elapsed: Duration) -> u64 {
    let milliseconds = elapsed.as_millis().max(1);
    u64::try_from(u128::from(rows) * 1000 / milliseconds).unwrap_or(u64::MAX)
}

fn draw(bar: &ProgressBar, view: &View) {
    let (template, position, length) = match (view.is_storing, view.total) {
        (true, _) => ("storing   {wide_bar} {human_pos}/{human_len} rows", view.stored, Some(view.read)),
        (false, Some(total)) => ("producing {wide_bar} {human_pos}/{human_len} rows  {per_sec}  ETA {eta}", view.read, Some(total)),
        (false, None) => ("producing {spinner} {human_pos} rows  {per_sec}", view.read, None),
    };
    bar.set_style(ProgressStyle::with_template(template).expect("the template is a constant that is well formed"));
    match length {
        Some(length) => bar.set_length(length),
        None => bar.unset_length(),
    }
    bar.set_position(position);
    bar.tick();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(view: View, expected: &str) {
        assert_eq!(view.line(Duration::from_secs(2)), expected);
    }

    #[test]
    fn a_line_says_what_is_known() {
        let view = View { read: 4000, total: None, stored: 1000, is_storing: false };
        check(view, "4,000 rows, 1,000 stored, 2,000 rows/s");
        check(View { total: Some(10_000), ..view }, "4,000 of 10,000 rows, 1,000 stored, 2,000 rows/s, 3 s left");
        check(View { read: 0, stored: 0, total: Some(5), ..view }, "0 of 5 rows, 0 stored, 0 rows/s, unknown left");
        check(View { is_storing: true, ..view }, "storing: 1,000 of 4,000 rows");
    }

    #[test]
    fn every_template_is_well_formed() {
        let bar = ProgressBar::hidden();
        for is_storing in [false, true] {
            for total in [None, Some(5)] {
                draw(&bar, &View { read: 1, total, stored: 0, is_storing });
            }
        }
    }
}
