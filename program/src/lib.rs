//! What the operator's and the worker's program have in common as programs, whatever they do.
//!
//! | module | what it does |
//! |---|---|
//! | [`clock`] | the clocks of this machine, and whether the wall clock was set back |
//! | [`ending`] | signals, panics, and the last words for the kubelet |
//! | [`http`] | serves read-only endpoints to clients that may be slow or hostile |
//! | [`lookup`] | which machines clients connect to |

pub mod clock;
pub mod ending;
pub mod http;
pub mod lookup;
