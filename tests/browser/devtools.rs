//! Chromium's DevTools protocol over a pair of pipes: commands, their answers, and the events between.
//!
//! Pipes (`--remote-debugging-pipe`) instead of a WebSocket: no port is open to others, nothing waits for a port to
//! open, and Chromium ends by itself when its pipe closes, even where a test was killed. The client is written here
//! since the crates that know the protocol cost more than these lines: headless_chrome 1.0.22 would add 56 crates to
//! build, chromiumoxide 0.9.1 another 68 with an async runtime and 111,000 lines of generated types; this adds none. It
//! refuses to wait for ever.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// For any one answer: a loaded machine may take seconds to paint a long page.
const PATIENCE: Duration = Duration::from_secs(60);

/// A message that nobody asked for.
pub struct Event {
    pub session: String,
    pub method: String,
    pub params: Value,
}

/// A Chromium of one test, with a profile of its own that vanishes with it.
pub struct Browser {
    process: Child,
    commands: Option<ChildStdin>,
    messages: Receiver<Value>,
    next: Cell<u64>,
    events: RefCell<VecDeque<Event>>,
    profile: tempfile::TempDir,
}

impl Browser {
    /// Starts `chromium`, with WebGPU on the processor where `webgpu`. Panics with what it printed where it does not answer.
    pub fn start(chromium: &Path, webgpu: bool) -> Self {
        let profile = tempfile::Builder::new().prefix("vggkit-chromium-").tempdir().expect("a folder for the profile");
        let log = std::fs::File::create(profile.path().join("stderr")).expect("a file for what Chromium prints");
        // Chromium reads commands from descriptor 3 and writes answers to 4: the shell moves our pipes there.
        let mut process = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null >&2"#])
            .arg(chromium)
            .args(flags(profile.path(), webgpu))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("a shell");
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("a pipe"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("Chromium sends JSON");
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let browser = Self { process, commands, messages, next: Cell::new(0), events: RefCell::default(), profile };
        browser.call("", "Browser.getVersion", json!({}));
        browser
    }

    /// The answer to a command; `session` is empty for the browser itself. Panics where it is refused.
    pub fn call(&self, session: &str, method: &str, params: Value) -> Value {
        let id = self.send(session, method, params);
        let end = Instant::now() + PATIENCE;
        loop {
            let mut message = self.receive(end).unwrap_or_else(|| panic!("no answer to {method}: {}", self.printed()));
            if message["id"] == id {
                assert!(message.get("error").is_none(), "{method}: {}", message["error"]);
                return message["result"].take();
            }
            self.keep(message);
        }
    }

    /// Waits for an event of `session` that `wanted` accepts; events that came before it stay.
    pub fn wait(&self, session: &str, wanted: impl Fn(&Event) -> bool) -> Option<Value> {
        let end = Instant::now() + PATIENCE;
        loop {
            let mut events = self.events.borrow_mut();
            if let Some(at) = events.iter().position(|e| e.session == session && wanted(e)) {
                return events.remove(at).map(|e| e.params);
            }
            drop(events);
            self.keep(self.receive(end)?);
        }
    }

    /// The events of `session` so far, in order; they are gone afterwards.
    pub fn take_events(&self, session: &str) -> Vec<Event> {
        let mut events = self.events.borrow_mut();
        let (taken, kept) = std::mem::take(&mut *events).into_iter().partition(|e| e.session == session);
        *events = kept;
        Vec::from(taken)
    }

    fn send(&self, session: &str, method: &str, params: Value) -> u64 {
        let id = self.next.get() + 1;
        self.next.set(id);
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !session.is_empty() {
            message["sessionId"] = session.into();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        let mut pipe = self.commands.as_ref().expect("an open pipe");
        if let Err(e) = pipe.write_all(&bytes) {
            panic!("Chromium is gone ({e}): {}", self.printed());
        }
        id
    }

    fn receive(&self, end: Instant) -> Option<Value> {
        match self.messages.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(message) => Some(message),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("Chromium ended: {}", self.printed()),
        }
    }

    fn keep(&self, mut message: Value) {
        let Some(method) = message["method"].as_str().map(str::to_owned) else { return };
        let session = message["sessionId"].as_str().unwrap_or_default().to_owned();
        if method == "Page.javascriptDialogOpening" {
            // An open dialog stops the page, and so every later command.
            self.send(&session, "Page.handleJavaScriptDialog", json!({ "accept": false }));
        }
        self.events.borrow_mut().push_back(Event { session, method, params: message["params"].take() });
    }

    fn printed(&self) -> String {
        let printed = std::fs::read_to_string(self.profile.path().join("stderr")).unwrap_or_default();
        // A machine without a desktop has no message bus, which Chromium says many times.
        printed.lines().filter(|line| !line.contains("dbus")).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Browser {
    /// A closed pipe ends it with all its processes.
    fn drop(&mut self) {
        drop(self.commands.take());
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn flags(profile: &Path, webgpu: bool) -> Vec<OsString> {
    let mut profile_flag = OsString::from("--user-data-dir=");
    profile_flag.push(profile);
    let mut flags = vec![profile_flag];
    flags.extend(
        [
            "--headless",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-dev-shm-usage", // a container's /dev/shm is too small for a long page
            "--disable-extensions",
            "--force-color-profile=srgb",
            "--lang=en",
            // Chromium's own business with the network.
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-default-apps",
            "--disable-sync",
            "--disable-quic",
        ]
        .map(OsString::from),
    );
    // SwiftShader, which Chromium brings along and takes only where it is told to.
    let device: &[&str] =
        if webgpu { &["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"] } else { &["--disable-gpu"] };
    flags.extend(device.iter().map(OsString::from));
    if std::fs::metadata(profile).expect("the profile").uid() == 0 {
        flags.push("--no-sandbox".into()); // its sandbox refuses to run as root
    }
    flags
}
