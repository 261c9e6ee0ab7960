//! The contract from outside: documents in, pipelines or errors out.

#![expect(clippy::unwrap_used, reason = "a test ends where something is not as it must be")]

mod documents;
mod errors;
mod properties;
