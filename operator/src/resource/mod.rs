//! The custom resource: what it looks like, and whose everything is that is made for one.

pub mod crd;
pub mod identity;
