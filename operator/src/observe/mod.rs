//! What there is of a pipeline: in the cluster, read from caches that watches keep, and in the words of its workers.
//!
//! | module | what it does |
//! |---|---|
//! | `cache` | finds objects by their pipeline |
//! | `pack` | keeps objects small |
//! | `watch` | keeps the caches |
//! | `stored` | a pipeline as the cache keeps it |
//! | [`workers`] | asks workers how they are |
//! | `said` | what a worker has said last |
//! | `seen` | puts together what there is of one pipeline |

mod cache;
mod pack;
mod said;
mod seen;
mod stored;
mod watch;
pub mod workers;

pub(crate) use cache::Key;
pub(crate) use pack::Pattern;
pub(crate) use said::Said;
pub(crate) use seen::Seen;
pub(crate) use stored::Stored;
pub(crate) use watch::{Cached, Caches, Watches};
