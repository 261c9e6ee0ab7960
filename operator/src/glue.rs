//! Glue's API.
