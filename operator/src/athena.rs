//! Athena's API.
