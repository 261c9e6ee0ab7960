//! What `/status` says.
