//! What a training does and when, as a file of trace events in JSON, which <https://ui.perfetto.dev> and Chrome's
//! `chrome://tracing` draw as one row a thread.
//!
//! Without a file, a span costs a look at a flag. A file that cannot be written ends no training: [`Recording::finish`]
//! says so. What a killed process leaves can be opened too, since the format does without its closing bracket.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::files::fs;

static ON: AtomicBool = AtomicBool::new(false);
static SINK: Mutex<Option<Sink>> = Mutex::new(None);

/// How long events wait in memory at most while others come.
const FLUSH_AFTER: Duration = Duration::from_secs(1);

/// Where events go.
struct Sink {
    path: PathBuf,
    file: BufWriter<File>,
    started: Instant,
    flushed: Instant,
    /// Their places are the numbers by which events name them.
    threads: Vec<ThreadId>,
    /// The first failure, after which nothing is written.
    failed: Option<std::io::Error>,
}

/// A trace that is being recorded, by all threads of the process.
#[derive(Debug)]
pub struct Recording(());

/// Begins to record to `path`. Errors: it cannot be created, a trace is being recorded already.
pub fn record(path: &Path) -> Result<Recording> {
    let mut place = SINK.lock().unwrap_or_else(PoisonError::into_inner);
    if place.is_some() {
        return Err(Error::new(Kind::Usage, "a trace is being recorded already"));
    }
    let file = fs::open_with(OpenOptions::new().write(true).create(true).truncate(true), path);
    let file = file.map_err(|e| Error::io("cannot write", path, e))?;
    let now = Instant::now();
    let mut sink = Sink {
        path: path.to_owned(),
        file: BufWriter::new(file),
        started: now,
        flushed: now,
        threads: Vec::new(),
        failed: None,
    };
    sink.put(b"[\n");
    let process = json!({ "name": "process_name", "ph": "M", "pid": 1, "tid": 0, "args": { "name": "vggkit" } });
    sink.put(process.to_string().as_bytes()); // without a comma, so that all others can begin with one
    *place = Some(sink);
    ON.store(true, Ordering::Relaxed);
    Ok(Recording(()))
}

impl Recording {
    /// Ends the file. Errors: it could not be written as a whole, which the disk may have been too full for.
    pub fn finish(self) -> Result<()> {
        end()
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = end(); // after `finish` nothing is left to do
    }
}

fn end() -> Result<()> {
    ON.store(false, Ordering::Relaxed);
    let Some(mut sink) = SINK.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(()) };
    sink.put(b"\n]\n");
    let flushed = sink.file.flush();
    match sink.failed.map_or(flushed, Err) {
        Ok(()) => Ok(()),
        Err(e) => Err(Error::io("cannot write", &sink.path, e)),
    }
}

impl Sink {
    fn put(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.failed = self.file.write_all(bytes).err();
        }
    }

    /// Writes one event of the calling thread, which is named ahead of its first one.
    fn event(&mut self, mut event: Value) {
        let current = thread::current();
        let known = self.threads.iter().position(|thread| *thread == current.id());
        let number = known.unwrap_or(self.threads.len());
        if known.is_none() {
            self.threads.push(current.id());
            let name = current.name().unwrap_or("a thread");
            let name = json!({ "name": "thread_name", "ph": "M", "pid": 1, "tid": number, "args": { "name": name } });
            self.put(format!(",\n{name}").as_bytes());
        }
        event["tid"] = number.into();
        self.put(format!(",\n{event}").as_bytes());
        if self.failed.is_none() && self.flushed.elapsed() >= FLUSH_AFTER {
            self.failed = self.file.flush().err();
            self.flushed = Instant::now();
        }
    }
}

/// Something that takes time: from [`span`] until it is dropped.
#[must_use = "a span lasts until it is dropped"]
#[derive(Debug)]
pub struct Span {
    name: &'static str,
    started: Option<Instant>,
    detail: Option<(&'static str, u64)>,
}

/// Begins a span of the calling thread. Spans of a thread lie within each other.
pub fn span(name: &'static str) -> Span {
    let started = ON.load(Ordering::Relaxed).then(Instant::now);
    Span { name, started, detail: None }
}

impl Span {
    /// Adds a number by which to tell it from others of its name.
    pub fn with(mut self, what: &'static str, number: u64) -> Self {
        self.detail = Some((what, number)); // not a new one made of it: the old one would be written too
        self
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(started) = self.started else { return };
        let ended = Instant::now();
        if let Some(sink) = SINK.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            let microseconds = |d: Duration| d.as_nanos() as f64 / 1e3;
            let mut event = json!({
                "name": self.name,
                "cat": "vggkit",
                "ph": "X",
                "pid": 1,
                "ts": microseconds(started.saturating_duration_since(sink.started)),
                "dur": microseconds(ended - started),
            });
            if let Some((what, number)) = self.detail {
                event["args"] = json!({ what: number });
            }
            sink.event(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, since a process has one trace.
    #[test]
    fn spans_of_all_threads_are_written_while_a_trace_is_recorded_and_only_then() -> Result<()> {
        let folder = tempfile::tempdir().map_err(|e| Error::io("cannot create", "a folder", e))?;
        let path = folder.path().join("trace.json");
        drop(span("before"));
        assert_eq!(record(folder.path()).expect_err("a folder").kind(), Kind::Io);
        let recording = record(&path)?;
        assert!(record(&folder.path().join("second")).is_err(), "two at once");
        {
            let _outer = span("outer").with("step", 7); // one span
            thread::Builder::new()
                .name("other".into())
                .spawn(|| drop(span("inner")))
                .expect("a thread")
                .join()
                .expect("ends");
        }
        recording.finish()?;
        drop(span("after"));
        let text = std::fs::read_to_string(&path).expect("a trace");
        let events: Vec<Value> = serde_json::from_str(&text).expect("JSON");
        let ours =
            |e: &&Value| e["ph"] == "X" && ["before", "inner", "outer", "after"].map(Value::from).contains(&e["name"]);
        let spans: Vec<_> = events.iter().filter(ours).collect(); // other tests of this process may have some too
        assert_eq!(spans.iter().map(|e| e["name"].as_str()).collect::<Vec<_>>(), [Some("inner"), Some("outer")]);
        let [inner, outer] = [spans[0], spans[1]];
        assert_eq!((&outer["args"]["step"], inner.get("args")), (&json!(7), None));
        let range = |e: &Value| (e["ts"].as_f64().expect("a time"), e["dur"].as_f64().expect("a duration"));
        let ((from, dur), (begin, length)) = (range(inner), range(outer));
        assert!(begin <= from && from + dur <= begin + length, "{inner} within {outer}");
        let named = events.iter().find(|e| e["name"] == "thread_name" && e["tid"] == inner["tid"]).expect("a name");
        assert!(named["args"]["name"] == "other" && inner["tid"] != outer["tid"], "{text}");

        #[cfg(target_os = "linux")]
        {
            let full = record(Path::new("/dev/full"))?;
            drop(span("lost"));
            assert!(full.finish().expect_err("no room").to_string().contains("/dev/full"));
        }
        Ok(())
    }
}
