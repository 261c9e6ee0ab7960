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
        if let Some(bar) = &bar {
            draw(bar, &view);
        } else {
            tracing::info!("{}", view.line(started.elapsed()));
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
    /// Thousandths of the file, while the rows in all are not known.
    thousandths: Option<u64>,
    stored: u64,
    is_storing: bool,
    /// Whether all is stored, and read back to be proven.
    is_proving: bool,
}

impl View {
    fn of(progress: &Progress) -> Self {
        let stored: i64 = progress.partitions.iter().map(|partition| partition.durable.load(Ordering::Relaxed)).sum();
        let total = progress.rows_total.load(Ordering::Relaxed);
        let bytes_total = progress.bytes_total.load(Ordering::Relaxed);
        Self {
            thousandths: (progress.bytes_read.load(Ordering::Relaxed).min(bytes_total) * 1000).checked_div(bytes_total),
            read: progress.rows_read.load(Ordering::Relaxed),
            total: (total > 0).then_some(total),
            stored: u64::try_from(stored).unwrap_or(0),
            is_storing: progress.produced_all.load(Ordering::Acquire),
            is_proving: progress.drained(),
        }
    }

    fn line(&self, elapsed: Duration) -> String {
        let (read, stored) = (thousands(self.read), thousands(self.stored));
        if self.is_proving {
            return format!("proving: all {read} rows are stored, and read back");
        }
        if self.is_storing {
            return format!("storing: {stored} of {read} rows");
        }
        let rate = per_second(self.read, elapsed);
        let of = match (self.total, self.thousandths) {
            (Some(total), _) => format!(" of {} rows", thousands(total)),
            (None, Some(done)) => format!(" rows, {} % of the file", done / 10),
            (None, None) => " rows".to_owned(),
        };
        let left = self.seconds_left(rate, elapsed).map(|left| format!(", {left} s left")).unwrap_or_default();
        format!("{read}{of}, {stored} stored, {} rows/s{left}", thousands(rate))
    }

    fn seconds_left(&self, rate: u64, elapsed: Duration) -> Option<u64> {
        match (self.total, self.thousandths) {
            (Some(total), _) => total.saturating_sub(self.read).checked_div(rate),
            (None, Some(done)) => (elapsed.as_secs() * (1000 - done)).checked_div(done),
            (None, None) => None,
        }
    }
}

/// Returns whole rows a second; of less than a millisecond, those of one.
pub(super) fn per_second(rows: u64, elapsed: Duration) -> u64 {
    let milliseconds = elapsed.as_millis().max(1);
    u64::try_from(u128::from(rows) * 1000 / milliseconds).unwrap_or(u64::MAX)
}

fn draw(bar: &ProgressBar, view: &View) {
    let (template, position, length) = match (view.is_storing, view.total, view.thousandths) {
        _ if view.is_proving => ("proving   {spinner} all {human_pos} rows are stored, and read back", view.read, None),
        (true, ..) => ("storing   {wide_bar} {human_pos}/{human_len} rows", view.stored, Some(view.read)),
        (false, Some(total), _) => ("producing {wide_bar} {human_pos}/{human_len} rows  {msg}  ETA {eta}", view.read, Some(total)),
        (false, None, Some(done)) => ("producing {wide_bar} {percent} %  {msg}  ETA {eta}", done, Some(1000)),
        (false, None, None) => ("producing {spinner} {msg}", view.read, None),
    };
    let rate = thousands(per_second(view.read, bar.elapsed()));
    bar.set_message(if view.total.is_some() { format!("{rate} rows/s") } else { format!("{} rows  {rate} rows/s", thousands(view.read)) });
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
        let view = View { read: 4000, total: None, thousandths: None, stored: 1000, is_storing: false, is_proving: false };
        check(view, "4,000 rows, 1,000 stored, 2,000 rows/s");
        check(View { total: Some(10_000), ..view }, "4,000 of 10,000 rows, 1,000 stored, 2,000 rows/s, 3 s left");
        check(View { thousandths: Some(250), ..view }, "4,000 rows, 25 % of the file, 1,000 stored, 2,000 rows/s, 6 s left");
        check(View { read: 0, stored: 0, total: Some(5), ..view }, "0 of 5 rows, 0 stored, 0 rows/s");
        check(View { is_storing: true, ..view }, "storing: 1,000 of 4,000 rows");
        check(View { is_storing: true, is_proving: true, stored: 4000, ..view }, "proving: all 4,000 rows are stored, and read back");
    }

    #[test]
    fn every_template_is_well_formed() {
        let bar = ProgressBar::hidden();
        for (is_storing, is_proving) in [(false, false), (true, false), (true, true)] {
            for (total, thousandths) in [(None, None), (None, Some(500)), (Some(5), Some(500))] {
                draw(&bar, &View { read: 1, total, thousandths, stored: 0, is_storing, is_proving });
            }
        }
    }
}
