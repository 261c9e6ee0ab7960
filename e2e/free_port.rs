//! A port for a program that a test starts; the suites of several crates share this file.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ports that the kernel gives to connections: one of theirs may be taken again before the program listens.
const FIRST: u16 = 20_000;
/// How many there are, up to those of Kubernetes' node ports.
const COUNT: u16 = 10_000;

/// Returns a port that nothing listens on and that no other call returns, here or, most likely, in another process.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).expect("a remainder is less than what it is of");
    let mut ports = (0..COUNT).map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT);
    ports.find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok()).expect("one of ten thousand ports is free")
}
