//! The one loop that owns all state of a sink.
