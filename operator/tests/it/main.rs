//! The operator over real protocols in process. What needs a real API server is ignored, and says so.

mod api_server;
mod leader;
mod process;
