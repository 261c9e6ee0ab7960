//! How a file for `kubectl apply` is read.
