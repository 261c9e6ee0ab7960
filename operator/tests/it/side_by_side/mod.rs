//! Claims about a real API server that need not be alone: each has a namespace, or an API server, of its own. `e2e/run` runs several at a time.

mod clock;
mod crash;
mod own_cluster;
mod tenants;
mod trouble;
