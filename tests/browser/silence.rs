//! Nothing in the console, nothing from the network; and the listener would hear it.

use super::page::{LAPTOP, Page};
use super::{browser, pages};

/// A page that does all that a report must not.
const NOISY: &str = r#"<!doctype html><html lang="en"><head><title>noisy</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'">
</head><body><img alt="" src="http://127.0.0.1:9/blocked-image"><iframe src="http://127.0.0.1:9/frame"></iframe>
<script>
console.error("said"); alert("dialog"); fetch("http://127.0.0.1:9/blocked-fetch").catch(() => {});
setTimeout(() => { throw new Error("thrown"); });
</script></body></html>"#;

const CARELESS: &str = r#"<!doctype html><html lang="en"><head><title>careless</title>
<link rel="stylesheet" href="beside.css"><style>p { background: url("http://127.0.0.1:9/background.png"); }</style>
</head><body><p>text</p></body></html>"#;

#[test]
fn pages_are_silent() {
    let browser = browser();
    for made in pages::all() {
        let page = Page::open(&browser, &made.file, "", LAPTOP);
        assert_eq!(page.complaints(), Vec::<String>::new(), "{}", made.name);
    }
}

#[test]
fn links_from_elsewhere_may_be_broken() {
    let browser = browser();
    let made = pages::bare();
    for fragment in ["#%", "#%zz", "#gone", "#<img src=x onerror=alert(1)>", "#:~:text=Data"] {
        let page = Page::open(&browser, &made.file, fragment, LAPTOP);
        assert_eq!(page.complaints(), Vec::<String>::new(), "{fragment}");
    }
}

#[test]
fn what_a_page_does_in_secret_is_noticed() {
    let browser = browser();
    let folder = tempfile::tempdir().expect("a folder");
    let heard = |html: &str| {
        let file = folder.path().join("page.html");
        std::fs::write(&file, html).expect("a page");
        Page::open(&browser, &file, "", LAPTOP).complaints().join("\n")
    };
    let noisy = heard(NOISY);
    for part in ["said", "dialog: \"dialog\"", "blocked-image", "blocked-fetch", "frame", "thrown"] {
        assert!(noisy.contains(part), "{part} in {noisy}");
    }
    let careless = heard(CARELESS);
    for part in ["request: file:", "beside.css", "request: http://127.0.0.1:9/background.png"] {
        assert!(careless.contains(part), "{part} in {careless}");
    }
    let clean = "<!doctype html><html lang=\"en\"><head><title>clean</title></head><body>text</body></html>";
    assert_eq!(heard(clean), "");
}
