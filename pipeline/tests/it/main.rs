//! The contract from outside: documents in, pipelines or errors out.

mod documents;
