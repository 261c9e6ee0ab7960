//! Ticks to fill the broker and the CSV file with: the same ones every time.

use std::fmt::Write as _;

/// How many different ticks there are: far more than any compressed batch holds, so that nothing in it repeats.
pub(crate) const DISTINCT: usize = 100_003;

const SYMBOLS: [&str; 10] = ["HSI", "NYA", "IXIC", "000001.SS", "N225", "N100", "399001.SZ", "GSPTSE", "NSEI", "GDAXI"];
/// One day: a live stream's plan rarely holds two.
const DATE: &str = "2021-05-27";

/// One tick.
pub(crate) struct Tick {
    /// The key column's value.
    pub(crate) symbol: &'static str,
    /// The message: a JSON object of about 155 bytes.
    pub(crate) json: String,
    /// The same as a line of CSV.
    pub(crate) csv: String,
}

/// The header of [`Tick::csv`].
pub(crate) const CSV_HEADER: &str = "index,date,open,high,low,close,adj_close,volume,close_usd";

/// Returns the ticks: a random walk of each symbol.
pub(crate) fn ticks() -> Vec<Tick> {
    let mut random = Random(1);
    let mut prices: Vec<f64> = SYMBOLS.iter().map(|_| 500.0 + random.fraction() * 29_500.0).collect();
    (0..DISTINCT)
        .map(|number| {
            let walker = number % SYMBOLS.len();
            let open = prices[walker];
            let close = (open * (1.0 + (random.fraction() - 0.5) * 0.004)).max(1.0);
            prices[walker] = close;
            let volume = random.next() % 1_000_000;
            tick(SYMBOLS[walker], DATE, [open, close], volume)
        })
        .collect()
}

fn tick(symbol: &'static str, date: &str, [open, close]: [f64; 2], volume: u64) -> Tick {
    let (high, low, usd) = (open.max(close) * 1.001, open.min(close) * 0.999, close * 0.13);
    let (mut json, mut csv) = (String::new(), String::new());
    let written = write!(
        json,
        r#"{{"index":"{symbol}","date":"{date}","open":{open:.2},"high":{high:.2},"low":{low:.2},"close":{close:.2},"adj_close":{close:.2},"volume":{volume},"close_usd":{usd:.2}}}"#
    )
    .and_then(|()| write!(csv, "{symbol},{date},{open:.2},{high:.2},{low:.2},{close:.2},{close:.2},{volume},{usd:.2}"));
    assert!(written.is_ok(), "writing to a string cannot fail");
    Tick { symbol, json, csv }
}

/// A split-mix generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
