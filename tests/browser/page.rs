//! One open page at a size and in a colour scheme: what it logs and loads, its text, keys and mouse.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::chromium;
use super::devtools::{Browser, Event};

/// How a page is looked at.
#[derive(Clone, Copy)]
pub struct View {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
    pub scripts: bool,
    /// As on paper.
    pub print: bool,
}

/// A common laptop, light.
pub const LAPTOP: View = View { width: 1440, height: 900, dark: false, scripts: true, print: false };

/// The widths that the page is made for: the smallest phone, a tablet, a laptop.
pub const WIDTHS: [u32; 3] = [320, 768, 1440];

impl View {
    /// "1440-light".
    pub fn name(self) -> String {
        format!("{}-{}", self.width, if self.dark { "dark" } else { "light" })
    }

    /// Every width in light and dark.
    pub fn all() -> impl Iterator<Item = Self> {
        WIDTHS.into_iter().flat_map(|width| [false, true].map(|dark| Self { width, dark, ..LAPTOP }))
    }
}

/// A key on the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    Tab,
    BackTab,
    Enter,
    Space,
    Escape,
    Left,
    Right,
    Home,
    End,
}

/// A tab of its own.
pub struct Page<'a> {
    browser: &'a Browser,
    session: String,
    target: String,
    address: String,
}

impl<'a> Page<'a> {
    /// Opens `file` and waits until it has loaded; `fragment` is empty or begins with `#`.
    pub fn open(browser: &'a Browser, file: &Path, fragment: &str, view: View) -> Self {
        let file = file.canonicalize().expect("the page");
        let address = format!("file://{}", file.to_str().expect("a path in UTF-8"));
        let target = text(&browser.call("", "Target.createTarget", json!({ "url": "about:blank" })), "targetId");
        let attach = json!({ "targetId": target, "flatten": true });
        let session = text(&browser.call("", "Target.attachToTarget", attach), "sessionId");
        let page = Self { browser, session, target, address };
        for domain in ["Page", "Runtime", "Network", "Log", "Audits"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page.look(view);
        page.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": true }));
        page.call("Emulation.setScriptExecutionDisabled", json!({ "value": !view.scripts }));
        page.go(fragment);
        page
    }

    /// Loads the page, anew where it is open.
    pub fn go(&self, fragment: &str) {
        let answer = self.call("Page.navigate", json!({ "url": format!("{}{fragment}", self.address) }));
        assert!(answer.get("errorText").is_none(), "{answer}");
        if answer.get("loaderId").is_some() {
            self.wait_for_load();
        }
    }

    /// Until the next load has ended.
    pub fn wait_for_load(&self) {
        let loaded = self.browser.wait(&self.session, |e| e.method == "Page.loadEventFired");
        assert!(loaded.is_some(), "{} does not load", self.address);
    }

    /// Changes size, colours and medium without loading anew. Motion is always reduced.
    pub fn look(&self, view: View) {
        let size = json!({ "width": view.width, "height": view.height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!([
            { "name": "prefers-color-scheme", "value": if view.dark { "dark" } else { "light" } },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        let media = if view.print { "print" } else { "screen" };
        self.call("Emulation.setEmulatedMedia", json!({ "media": media, "features": features }));
    }

    /// A command to this page.
    pub fn call(&self, method: &str, params: Value) -> Value {
        self.browser.call(&self.session, method, params)
    }

    /// The value of an expression, awaited where it is a promise. It runs beside the page's own scripts, which neither
    /// its policy nor disabled scripts forbid.
    pub fn eval(&self, expression: &str) -> Value {
        let params = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", params);
        assert!(answer.get("exceptionDetails").is_none(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// A list of texts.
    pub fn texts(&self, expression: &str) -> Vec<String> {
        serde_json::from_value(self.eval(expression)).unwrap_or_else(|e| panic!("{expression}: {e}"))
    }

    /// What [`Page::complaints`] would be silent about on a good page: errors and warnings in the console, anything
    /// loaded or tried beside the page, what the policy stopped, and dialogs. They are gone afterwards.
    pub fn complaints(&self) -> Vec<String> {
        self.settle();
        self.browser.take_events(&self.session).iter().filter_map(|e| complaint(e, &self.address)).collect()
    }

    /// Presses a key and lets it go.
    pub fn press(&self, key: Key) {
        let (name, code, number, typed) = match key {
            Key::Tab | Key::BackTab => ("Tab", "Tab", 9, ""),
            Key::Enter => ("Enter", "Enter", 13, "\r"),
            Key::Space => (" ", "Space", 32, " "),
            Key::Escape => ("Escape", "Escape", 27, ""),
            Key::Left => ("ArrowLeft", "ArrowLeft", 37, ""),
            Key::Right => ("ArrowRight", "ArrowRight", 39, ""),
            Key::Home => ("Home", "Home", 36, ""),
            Key::End => ("End", "End", 35, ""),
        };
        let mut event = json!({ "type": "keyDown", "key": name, "code": code, "windowsVirtualKeyCode": number });
        event["modifiers"] = if key == Key::BackTab { 8 } else { 0 }.into();
        if !typed.is_empty() {
            event["text"] = typed.into();
        }
        self.call("Input.dispatchKeyEvent", event.clone());
        event["type"] = "keyUp".into();
        self.call("Input.dispatchKeyEvent", event);
    }

    /// Types over what is selected, or deletes it.
    pub fn type_text(&self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Moves the mouse to a place in the viewport.
    pub fn hover(&self, (x, y): (f64, f64)) {
        self.call("Input.dispatchMouseEvent", json!({ "type": "mouseMoved", "x": x, "y": y }));
    }

    /// Presses the left button there and lets it go.
    pub fn click(&self, (x, y): (f64, f64)) {
        self.hover((x, y));
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": x, "y": y, "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    /// The middle of the element that `expression` gives, scrolled into the middle of the viewport.
    pub fn middle(&self, expression: &str) -> (f64, f64) {
        let place = self.eval(&format!(
            "(() => {{ const e = {expression}; e.scrollIntoView({{ block: 'center', inline: 'center' }});
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        ));
        serde_json::from_value(place).unwrap_or_else(|e| panic!("{expression}: {e}"))
    }

    /// Lets what was asked for happen: a page without scripts has no timer of its own to wait for.
    fn settle(&self) {
        std::thread::sleep(Duration::from_millis(60));
        self.eval("document.body.getBoundingClientRect().height");
    }

    /// Opens every folded part.
    pub fn unfold(&self) {
        self.eval("for (const part of document.querySelectorAll('details')) part.open = true");
    }

    /// Whether the element comes to be in the viewport, begins there, and is not folded away: a page without scripts says
    /// nothing of when it has scrolled, so it is looked at until it has, for up to 20 s.
    pub fn shows(&self, id: &str) -> bool {
        let in_sight = format!(
            "(() => {{ const e = document.getElementById({id:?}), r = e.getBoundingClientRect();
             return e.checkVisibility({{ contentVisibilityAuto: true, visibilityProperty: true }}) &&
             r.top >= -1 && r.top < innerHeight && r.bottom >= 0; }})()"
        );
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            self.settle();
            let seen = self.eval(&in_sight) == true;
            if seen || Instant::now() > deadline {
                return seen;
            }
        }
    }

    /// A PNG of the whole page in target/screenshots.
    pub fn screenshot(&self, name: &str) {
        let folder = chromium::target().join("screenshots");
        std::fs::create_dir_all(&folder).expect("a folder for screenshots");
        self.eval("for (const image of document.images) image.loading = 'eager'");
        self.call("Emulation.setScrollbarsHidden", json!({ "hidden": true }));
        self.settle();
        let clip =
            self.eval("({ x: 0, y: 0, width: innerWidth, height: document.documentElement.scrollHeight, scale: 1 })");
        let picture = self.call("Page.captureScreenshot", json!({ "captureBeyondViewport": true, "clip": clip }));
        std::fs::write(folder.join(format!("{name}.png")), decode(&picture)).expect("a screenshot");
    }
}

impl Drop for Page<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.browser.call("", "Target.closeTarget", json!({ "targetId": self.target }));
        }
    }
}

/// The `data` of an answer, from base64.
pub fn decode(answer: &Value) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text(answer, "data")).expect("base64")
}

fn text(answer: &Value, key: &str) -> String {
    answer[key].as_str().unwrap_or_else(|| panic!("no {key} in {answer}")).to_owned()
}

fn complaint(event: &Event, address: &str) -> Option<String> {
    let p = &event.params;
    match event.method.as_str() {
        "Runtime.consoleAPICalled" => Some(format!("console.{}: {}", p["type"], p["args"])),
        "Runtime.exceptionThrown" => Some(format!("exception: {}", p["exceptionDetails"])),
        "Log.entryAdded" => Some(format!("log: {}", p["entry"])),
        // Said of every change of the address that no click asked for.
        "Audits.issueAdded" if p.to_string().contains("NavigationEntryMarkedSkippable") => None,
        "Audits.issueAdded" => Some(format!("issue: {}", p["issue"])),
        "Page.javascriptDialogOpening" => Some(format!("dialog: {}", p["message"])),
        "Page.windowOpen" | "Page.downloadWillBegin" => Some(format!("{}: {}", event.method, p["url"])),
        "Network.requestWillBeSent" | "Network.webSocketCreated" | "Network.webTransportCreated" => {
            let url = p["request"]["url"].as_str().or(p["url"].as_str()).unwrap_or_default();
            let own = url.split('#').next() == Some(address) && p["type"] == "Document";
            (!own && !url.starts_with("data:")).then(|| format!("request: {url}"))
        }
        _ => None,
    }
}
