//! The operator of StockPipeline: the pure core from which it keeps workers, Glue tables and Athena objects.
//!
//! Everything here takes values and the time and gives values: no client, no clock, no environment.
//!
//! | module | what it decides |
//! |---|---|
//! | [`crd`] | the custom resource: its schema, columns and status |

pub mod crd;
