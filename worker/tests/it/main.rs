//! Tests with real protocols, in one binary.

mod topics;
