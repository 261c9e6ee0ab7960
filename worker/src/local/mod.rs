//! The whole data path in one process.

mod bar;
mod summary;
