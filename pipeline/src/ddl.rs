//! The Athena tables of a pipeline as SQL.
