//! The rendered page in headless Chromium, as its readers meet it: with mouse, keyboard, screen reader, phone and
//! printer, without JavaScript, and with names that attack it.

#![cfg(unix)]

#[path = "../report/fixture.rs"]
#[allow(dead_code, reason = "shared with the tests of the report")]
mod fixture;

mod accessibility;
mod charts;
mod chromium;
mod devtools;
mod hostile;
mod keyboard;
mod layout;
mod links;
mod live;
mod matrices;
mod narrow;
mod page;
mod pages;
mod print;
mod scripting;
mod shaders;
mod silence;
mod tables;
mod watch;

/// A fresh Chromium.
fn browser() -> devtools::Browser {
    devtools::Browser::start(&chromium::executable(), false)
}

/// One that computes by WebGPU, on the processor.
fn browser_with_webgpu() -> devtools::Browser {
    devtools::Browser::start(&chromium::executable(), true)
}
