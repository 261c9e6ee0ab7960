//! A figure's line: the value, its ratio to the goal and to the peers, and what else was counted.

use serde_json::json;

/// One figure.
pub(crate) struct Line {
    /// What was measured.
    pub(crate) figure: &'static str,
    /// Of what.
    pub(crate) name: String,
    /// The value.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// What it compares with.
    pub(crate) ratios: Vec<Ratio>,
    /// What else was counted.
    pub(crate) more: Vec<(String, f64)>,
}

/// A comparison.
pub(crate) struct Ratio {
    to: String,
    ratio: f64,
}

impl Line {
    /// Returns a line that compares with nothing yet.
    pub(crate) fn new(figure: &'static str, name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { figure, name: name.into(), value, unit, ratios: Vec::new(), more: Vec::new() }
    }

    /// Adds a goal that the value should reach.
    #[must_use]
    pub(crate) fn at_least(self, goal: Option<f64>) -> Self {
        match goal {
            Some(goal) => {
                let ratio = self.value / goal;
                self.beside(format!("the goal of {}", number(goal)), ratio)
            }
            None => self,
        }
    }

    /// Adds a limit that the value should stay below.
    #[must_use]
    pub(crate) fn at_most(self, limit: f64) -> Self {
        let ratio = self.value / limit;
        self.beside(format!("the limit of {}", number(limit)), ratio)
    }

    /// Adds a ratio.
    #[must_use]
    pub(crate) fn beside(mut self, to: impl Into<String>, ratio: f64) -> Self {
        self.ratios.push(Ratio { to: to.into(), ratio });
        self
    }

    /// Adds something that was counted.
    #[must_use]
    pub(crate) fn and(mut self, what: impl Into<String>, value: f64) -> Self {
        self.more.push((what.into(), value));
        self
    }

    fn text(&self) -> String {
        let mut parts = vec![format!("{:<9} {:<22} {:>11} {}", self.figure, self.name, number(self.value), self.unit)];
        parts.extend(self.ratios.iter().map(|Ratio { to, ratio }| format!("= {} x {to}", number(*ratio))));
        parts.extend(self.more.iter().map(|(what, value)| format!("| {} {what}", number(*value))));
        parts.join(" ")
    }

    fn json(&self) -> String {
        let ratios: Vec<_> = self.ratios.iter().map(|Ratio { to, ratio }| json!({ "to": to, "ratio": ratio })).collect();
        let more: serde_json::Map<_, _> = self.more.iter().map(|(what, value)| (what.clone(), json!(value))).collect();
        json!({ "figure": self.figure, "name": self.name, "value": self.value, "unit": self.unit, "ratios": ratios, "more": more })
            .to_string()
    }
}

/// Prints a line.
#[expect(clippy::print_stdout, reason = "the lines are the program's product")]
pub(crate) fn print(line: &Line, as_json: bool) {
    println!("{}", if as_json { line.json() } else { line.text() });
}

/// Returns a number with its thousands apart, and with decimals only where they say something.
fn number(value: f64) -> String {
    let plain = if value.abs() >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") };
    let (whole, rest) = plain.split_once('.').map_or((plain.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut text = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) && digit.is_ascii_digit() && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    rest.map_or(text.clone(), |rest| format!("{text}.{rest}"))
}

/// Returns the value below which a share of the sorted values lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "an index below the length")]
    let index = (last as f64 * share).round() as usize;
    sorted[index]
}
