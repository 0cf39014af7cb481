//! Downloads from a server on this machine that redirects, cuts, stalls, lies and comes back.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use md5::{Digest, Md5};
use predicates::prelude::*;
use predicates::str::contains;
use vggkit::dataset::Manifest;
use vggkit::dataset::download::{Expected, Patience, download};

use super::archive;

/// How the server treats one request; the last way stays for all further ones.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// The file, or the part of it that is asked for.
    Whole,
    /// So many bytes of it, then the connection ends.
    Cut(usize),
    /// So many bytes of it, then silence.
    Stall(usize),
    /// The whole file, whatever part is asked for.
    IgnoreRange,
    /// To `/elsewhere`.
    Redirect,
    /// To an address with https.
    RedirectToHttps,
    /// An answer without the file.
    Status(&'static str),
    /// Bytes that are not the file's, of the same length.
    Wrong,
    /// So many bytes, then ten a moment.
    Slow(usize),
}

struct Server {
    address: String,
    /// First line and Range header of each request.
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(content: Vec<u8>, ways: &[Way]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (log, ways, content) = (Arc::clone(&requests), ways.to_vec(), Arc::new(content));
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let way = ways[number.min(ways.len() - 1)];
                let (log, content) = (Arc::clone(&log), Arc::clone(&content));
                std::thread::spawn(move || {
                    let _ = answer(stream.unwrap(), way, &content, &log);
                });
            }
        });
        Self { address, requests }
    }

    fn url(&self) -> String {
        format!("{}/tiny.zip", self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, way: Way, content: &[u8], log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let Some(request) = lines.next() else { return Ok(()) }; // whoever speaks TLS says nothing here
    let mut request = request?;
    let mut start = None;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            start = range.strip_suffix('-').and_then(|start| start.parse::<usize>().ok());
            request += &format!(" from {}", start.unwrap());
        }
    }
    log.lock().unwrap().push(request);
    let start = start.filter(|_| !matches!(way, Way::IgnoreRange));
    let range = start.map_or_else(String::new, |start| {
        format!("Content-Range: bytes {start}-{}/{}\r\n", content.len() - 1, content.len())
    });
    let body = &content[start.unwrap_or(0)..];
    let head = |status: &str, more: &str| {
        format!(
            "HTTP/1.1 {status}\r\nETag: \"one\"\r\nConnection: close\r\nContent-Length: {}\r\n{more}\r\n",
            body.len()
        )
    };
    let status = if start.is_some() { "206 Partial Content" } else { "200 OK" };
    let empty =
        |status: &str, more: &str| format!("HTTP/1.1 {status}\r\n{more}Connection: close\r\nContent-Length: 0\r\n\r\n");
    match way {
        Way::Redirect => stream.write_all(empty("302 Found", "Location: /elsewhere\r\n").as_bytes())?,
        Way::RedirectToHttps => {
            let to = format!("Location: https://{}/x.zip\r\n", stream.local_addr()?);
            stream.write_all(empty("301 Moved Permanently", &to).as_bytes())?;
        }
        Way::Status(status) => stream.write_all(empty(status, "").as_bytes())?,
        way => {
            stream.write_all(head(status, &range).as_bytes())?;
            match way {
                Way::Cut(bytes) => stream.write_all(&body[..bytes.min(body.len())])?,
                Way::Stall(bytes) => {
                    stream.write_all(&body[..bytes])?;
                    stream.flush()?;
                    std::thread::sleep(Duration::from_secs(20));
                }
                Way::Slow(bytes) => {
                    stream.write_all(&body[..bytes])?;
                    for piece in body[bytes..].chunks(10) {
                        stream.write_all(piece)?;
                        std::thread::sleep(Duration::from_millis(2));
                    }
                }
                Way::Wrong => stream.write_all(&vec![b'x'; body.len()])?,
                _ => stream.write_all(body)?,
            }
        }
    }
    stream.flush()
}

fn content() -> Vec<u8> {
    (0..700_000_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 51) as u8).collect()
}

fn md5(bytes: &[u8]) -> String {
    vggkit::files::hex(&Md5::digest(bytes))
}

/// Short waits between attempts, and long ones for bytes: a busy machine is no stall where requests are counted.
const QUICK: Patience = Patience { attempts: 4, wait: Duration::from_millis(10), stall: Duration::from_secs(10) };

/// Downloads from a server with these ways: the result, what it was asked, and the file's place.
fn fetch(ways: &[Way], patience: &Patience) -> (Result<(), String>, Vec<String>, tempfile::TempDir, PathBuf) {
    let work = tempfile::tempdir().unwrap();
    let path = work.path().join("data/a.zip");
    let server = Server::start(content(), ways);
    let sum = md5(&content());
    let expected = Expected { bytes: Some(content().len() as u64), md5: &sum };
    let result = download(&server.url(), &path, &expected, patience, true);
    (result.map_err(|e| e.to_string()), server.requests(), work, path)
}

#[track_caller]
fn arrives(ways: &[Way], requests: &[&str]) {
    let (result, asked, _work, path) = fetch(ways, &QUICK);
    result.unwrap_or_else(|e| panic!("{ways:?}: {e}"));
    assert_eq!(asked, requests, "{ways:?}");
    assert!(fs::read(&path).unwrap() == content(), "{ways:?}");
    let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["a.zip"]);
}

const GET: &str = "GET /tiny.zip HTTP/1.1";

#[test]
fn a_download_arrives_whole_through_all_that_passes() {
    arrives(&[Way::Whole], &[GET]);
    arrives(&[Way::Redirect, Way::Whole], &[GET, "GET /elsewhere HTTP/1.1"]);
    // A cut, a stall and an overloaded server: it goes on where it stopped.
    let from = |n: usize| format!("{GET} from {n}");
    arrives(
        &[Way::Cut(300_000), Way::Status("503 Service Unavailable"), Way::Stall(100_000), Way::Whole],
        &[GET, &from(300_000), &from(300_000), &from(400_000)],
    );
    // A server that cannot continue sends all of it again.
    arrives(&[Way::Cut(300_000), Way::IgnoreRange], &[GET, &from(300_000)]);
    // Progress is what counts, not the number of cuts.
    let ways = [Way::Cut(100_000); 7];
    let asked: Vec<String> = (0..7).map(|i| if i == 0 { GET.into() } else { from(i * 100_000) }).collect();
    arrives(&ways, &asked.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn what_does_not_pass_is_an_error_that_says_so() {
    let fails = |ways: &[Way], text: &str, requests: usize| {
        let (result, asked, _work, path) = fetch(ways, &QUICK);
        let said = result.unwrap_err();
        assert!(said.contains(text), "{ways:?}: {said}");
        assert_eq!(asked.len(), requests, "{ways:?}: {asked:?}");
        assert!(!path.exists());
    };
    fails(&[Way::Status("404 Not Found")], "answers 404 Not Found", 1);
    fails(&[Way::Status("500 Oops")], "answers 500", 4);
    // With the feature, servers that speak TLS and those that do not are asked in `https`.
    if cfg!(not(feature = "https")) {
        fails(&[Way::RedirectToHttps], "https, which this vggkit was built without", 1);
    }
    fails(&[Way::Cut(0)], "cannot download", 4);
    // Here every attempt stalls, so that nothing is lost by little patience.
    let (result, ..) = fetch(&[Way::Stall(0)], &Patience { stall: Duration::from_secs(1), ..QUICK });
    assert!(result.is_err_and(|said| said.contains("nothing arrived for") || said.contains("no answer")));
    // A wrong file: once more from the start, since a part may have been damaged earlier.
    fails(&[Way::Wrong], "instead of", 2);
    arrives(&[Way::Wrong, Way::Whole], &[GET, GET]);
    fails(&[Way::Redirect], "cannot download", 11);
}

#[test]
fn another_length_is_refused_at_once() {
    let work = tempfile::tempdir().unwrap();
    let server = Server::start(content(), &[Way::Whole]);
    let expected = Expected { bytes: Some(5), md5: &md5(&content()) };
    let error = download(&server.url(), &work.path().join("a.zip"), &expected, &QUICK, true).unwrap_err();
    assert!(error.to_string().contains("has 700000 bytes instead of 5"), "{error}");
    assert!(error.help().is_some_and(|help| help.contains("--url")));
}

fn vggkit(folder: &Path) -> Command {
    let mut command = super::vggkit(folder);
    command.env_remove("http_proxy").env_remove("HTTP_PROXY").env_remove("ALL_PROXY");
    command
}

#[test]
fn plain_prepare_downloads_prepares_and_does_not_do_it_twice() {
    let (work, content) = (tempfile::tempdir().unwrap(), archive());
    let sum = md5(&content);
    let server = Server::start(content, &[Way::Whole]);
    let url = server.url();
    let prepare = ["prepare", "--url", &url, "--md5", &sum];
    vggkit(work.path()).args(prepare).assert().success().stderr(contains("downloading http://127.0.0.1"));
    let manifest = Manifest::load(&work.path().join("data")).unwrap();
    assert_eq!(manifest.splits["train"].images, 18);
    let again = contains("nothing changed");
    vggkit(work.path()).args(prepare).assert().success().stdout(again.clone());
    // Whoever removes the archive to save space does not download it again.
    fs::remove_file(work.path().join("data/tiny-imagenet-200.zip")).unwrap();
    vggkit(work.path()).args(prepare).assert().success().stdout(again);
    assert_eq!(server.requests().len(), 1);
    vggkit(work.path()).args(prepare).args(["--per-class", "3"]).assert().success();
    assert_eq!(server.requests().len(), 2, "other settings need the source");
    vggkit(work.path()).args(["prepare", "--md5", &sum]).assert().code(2);
    vggkit(work.path()).args(["prepare", "--url", &url, "--md5", "12"]).assert().code(2);
}

#[test]
fn a_killed_download_goes_on_where_it_was() {
    let (work, content) = (tempfile::tempdir().unwrap(), archive());
    let sum = md5(&content);
    let half = content.len() / 2;
    let server = Server::start(content, &[Way::Slow(half), Way::Whole]);
    let url = server.url();
    let mut child = std::process::Command::new(assert_cmd::cargo::cargo_bin("vggkit"))
        .current_dir(work.path())
        .args(["prepare", "--url", &url, "--md5", &sum])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let partial = work.path().join("data/tiny-imagenet-200.zip.partial");
    let begun = Instant::now();
    while fs::metadata(&partial).map_or(0, |m| m.len()) < half as u64 {
        assert!(begun.elapsed() < Duration::from_secs(20), "half of it never arrived");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!work.path().join("data/tiny-imagenet-200.zip").exists());
    vggkit(work.path()).args(["prepare", "--url", &url, "--md5", &sum]).assert().success();
    let asked = server.requests();
    let from: usize = asked[1].rsplit(' ').next().unwrap().parse().unwrap();
    assert!(from >= half, "{asked:?}");
    // Another address is another file: nothing of the old part is used.
    let (other, work) = (archive(), tempfile::tempdir().unwrap());
    fs::create_dir(work.path().join("data")).unwrap();
    fs::write(work.path().join("data/tiny-imagenet-200.zip.partial"), b"something else").unwrap();
    let server = Server::start(other, &[Way::Whole]);
    vggkit(work.path()).args(["prepare", "--url", &server.url(), "--md5", &sum]).assert().success();
    assert_eq!(server.requests(), [GET]);
}

#[test]
fn without_a_network_other_ways_are_named() {
    let work = tempfile::tempdir().unwrap();
    // A port that nobody listens on.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/tiny.zip");
    let begun = Instant::now();
    let ways = contains("cannot download").and(contains("--source")).and(contains("--demo")).and(contains("--url"));
    vggkit(work.path()).args(["prepare", "--url", &url]).assert().code(1).stderr(ways);
    assert!(begun.elapsed() < Duration::from_secs(40));
    vggkit(work.path()).args(["prepare", "--url", "not an address"]).assert().code(2).stderr(contains("no address"));
}
