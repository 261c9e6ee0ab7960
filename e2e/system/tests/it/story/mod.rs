//! The product as its user meets it: README's quick start, and a longer life.

mod life;
mod manifests;
mod quick_start;
mod readme;
