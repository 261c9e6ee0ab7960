//! How a program ends: at the first signal in order and at the second at once, at a panic anywhere, and with its reason left for the kubelet.

use std::io::{self, Write};

use stockpipeline::launch::{Exit, TERMINATION_MESSAGE_PATH};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Longest message that the kubelet takes.
const TERMINATION_MESSAGE_BYTES: usize = 4096;

/// Ends the process at a panic anywhere, which is a bug: no thread goes on beside a broken one.
pub fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        leave_message(&format!("bug: {panic}"));
        std::process::exit(i32::from(Exit::Bug.code()));
    }));
}

/// Leaves the reason of a fatal end, or what a command has left, for the kubelet, where there is one to read it.
pub fn leave_message(message: &str) {
    let end = message.floor_char_boundary(TERMINATION_MESSAGE_BYTES);
    let file = std::fs::OpenOptions::new().write(true).truncate(true).open(TERMINATION_MESSAGE_PATH);
    // Outside of a pod there is no such file, and nobody to tell.
    drop(file.and_then(|mut file| file.write_all(&message.as_bytes()[..end])));
}

/// The signals that ask a process to end.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Returns the signals from now on.
    ///
    /// # Errors
    /// The system's, when it takes no handler.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Asks for a stop at the first signal, which `log` tells of, and ends the process at the second.
    pub async fn cancel(mut self, shutdown: CancellationToken, log: impl FnOnce()) {
        self.next().await;
        log();
        shutdown.cancel();
        let number = self.next().await;
        std::process::exit(128 + number);
    }

    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
        }
    }
}
