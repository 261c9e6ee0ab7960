//! Which figures of a benchmark are measured.

use clap::{Args, ValueEnum};

/// The figures that were asked for.
#[derive(Debug, Args)]
pub(crate) struct Chosen<F: ValueEnum + Send + Sync + 'static> {
    /// Figures to measure; all of them without any.
    #[arg(value_enum)]
    figures: Vec<F>,
}

impl<F: ValueEnum + Send + Sync + 'static> Chosen<F> {
    /// Returns the figures in their order.
    pub(crate) fn figures(&self) -> Vec<F> {
        if self.figures.is_empty() { F::value_variants().to_vec() } else { self.figures.clone() }
    }
}
