//! Memory of a process that no file backs, as `RssAnon` in Linux' /proc/PID/status tells it; elsewhere it is not known.
//! Buffers of a GPU are not in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between two looks; `benches/pytorch.py` has the same.
const INTERVAL: Duration = Duration::from_millis(20);

/// Anonymous memory of a process now, in bytes; `process` is its number or `self`.
#[allow(clippy::disallowed_methods, reason = "no file of anybody's")]
pub fn anonymous(process: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Watches this process until it is asked for the peak.
pub struct Watch {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Option<u64>>,
}

impl Watch {
    /// Begins to look.
    pub fn begin() -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ended);
        let thread = thread::spawn(move || {
            let mut peak = None;
            loop {
                // Looks once more after the end, so that the shortest watch has looked.
                let last = seen.load(Ordering::Relaxed);
                peak = peak.max(anonymous("self"));
                if last {
                    return peak;
                }
                thread::park_timeout(INTERVAL);
            }
        });
        Self { ended, thread }
    }

    /// The most there was, in bytes; `None` where the system does not tell.
    pub fn peak(self) -> Option<u64> {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        self.thread.join().unwrap_or_default()
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn a_watch_sees_what_was_given_back_before_its_end() {
        let size = 256 << 20;
        let before = anonymous("self").expect("Linux tells");
        let watch = Watch::begin();
        let memory = std::hint::black_box(vec![1_u8; size]);
        thread::sleep(5 * INTERVAL);
        drop(memory);
        let peak = watch.peak().expect("Linux tells");
        assert!(peak >= before + size as u64 / 2, "{before} {peak}");
        assert_eq!(anonymous("no process"), None);
    }
}
