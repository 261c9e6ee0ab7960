//! The operator as a process: its command line, its life in a cluster, which of several processes writes, and what it says of itself.
//!
//! | module | what it does |
//! |---|---|
//! | [`arguments`] | the command line |
//! | [`run`] | the process in a cluster: endpoints, election, controller, stop |
//! | [`leader`] | which of several processes writes |
//! | `client` | the clients of the API server |
//! | [`fence`] | whether this one still may |
//! | [`http`] | `/livez`, `/readyz` and `/metrics` |
//! | [`telemetry`] | log lines |

pub mod arguments;
mod client;
pub mod fence;
pub mod http;
pub mod leader;
pub mod run;
pub mod telemetry;
