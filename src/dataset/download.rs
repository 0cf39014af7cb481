//! Fetches the official archive over HTTP or HTTPS into the data folder, resuming what an earlier process or connection left.
//!
//! The file appears under its name only when its size and MD5 are right; until then it is `<name>.partial`, beside which
//! `<name>.partial.json` says of which version of which address it is a part.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use indicatif::ProgressBar;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use ureq::http::{HeaderMap, Response, StatusCode};
use ureq::{Agent, Body};

use super::connection;
use crate::error::{Error, Kind, Result};
use crate::files::fs::{self, File, OpenOptions, TryLockError, Writing};
use crate::{files, progress};

/// What the official archive is.
pub const OFFICIAL: Expected<'static> = Expected { bytes: Some(248_100_043), md5: "90528d7ca1a48142e341f4ef8d21d0de" };
/// Bytes handed from the connection to the file at once.
const PIECE: usize = 128 << 10;
/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What a download must turn out to be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// Its size, where known.
    pub bytes: Option<u64>,
    /// Its MD5 in hexadecimal.
    pub md5: &'a str,
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Attempts in a row that bring no byte, before giving up.
    pub attempts: u32,
    /// Between the first two attempts; doubled each time.
    pub wait: Duration,
    /// For a connection, an answer, or the next bytes.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 5, wait: Duration::from_secs(1), stall: Duration::from_secs(30) }
    }
}

/// What `<name>.partial` is a part of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Version {
    url: String,
    /// ETag or, where there is none, Last-Modified: with `If-Range` the server continues only the same file.
    validator: Option<String>,
    bytes: Option<u64>,
}

/// How an attempt failed.
enum Failure {
    /// Another attempt may do.
    Passing(String),
    /// It will not.
    Lasting(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Lasting(error)
    }
}

/// Downloads `url` to `path`. Errors: no network, an answer other than the file, a wrong size or checksum, a full disk.
pub fn download(url: &str, path: &Path, expected: &Expected, patience: &Patience, quiet: bool) -> Result<()> {
    let folder = files::parent(path);
    fs::create_dir_all(&folder).map_err(|e| Error::io("cannot create the folder", &folder, e))?;
    let mut download = Download::open(url, path, expected, patience)?;
    let bar = progress::bytes("fetching", expected.bytes, quiet);
    if !quiet {
        progress::note(&format!("downloading {url} to {}", path.display()));
    }
    let (mut failures, mut corrupt) = (0, false);
    loop {
        let before = download.have()?;
        let failure = match download.attempt(&bar) {
            Ok(()) => match download.checked()? {
                None => break,
                Some(wrong) if corrupt => return Err(wrong),
                Some(wrong) => {
                    // What was resumed may have been damaged earlier: once from the start.
                    corrupt = true;
                    download.restart()?;
                    wrong.to_string()
                }
            },
            Err(Failure::Lasting(error)) => return Err(error),
            Err(Failure::Passing(failure)) => failure,
        };
        failures = if download.have()? > before { 1 } else { failures + 1 };
        if failures >= patience.attempts {
            bar.finish_and_clear();
            return Err(unreachable(url, path, &failure, download.have()?));
        }
        let wait = (patience.wait * 2_u32.pow(failures - 1)).min(LONGEST_WAIT);
        if !quiet {
            bar.suspend(|| progress::note(&format!("{failure}; again in {:.0} s", wait.as_secs_f64().ceil())));
        }
        std::thread::sleep(wait);
    }
    bar.finish_and_clear();
    download.finish()
}

struct Download<'a> {
    url: &'a str,
    path: &'a Path,
    expected: &'a Expected<'a>,
    patience: &'a Patience,
    agent: Agent,
    partial: PathBuf,
    file: File,
    version: Version,
}

impl<'a> Download<'a> {
    fn open(url: &'a str, path: &'a Path, expected: &'a Expected, patience: &'a Patience) -> Result<Self> {
        let partial = beside(path, ".partial");
        let file = loop {
            let file = fs::open_with(OpenOptions::new().create(true).truncate(false).read(true).write(true), &partial);
            let file = file.map_err(|e| Error::io("cannot write", &partial, e))?;
            if taken(&file, &partial)? {
                break file;
            }
        };
        let agent = connection::agent(url, patience.stall)?;
        let version = files::read_json(&beside(path, ".partial.json")).unwrap_or_default();
        let mut download = Self { url, path, expected, patience, agent, partial, file, version };
        if download.version.url != url {
            download.restart()?;
        }
        Ok(download)
    }

    fn have(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(|e| Error::io("cannot read", &self.partial, e))?.len())
    }

    fn restart(&mut self) -> Result<()> {
        self.version = Version { url: self.url.to_owned(), ..Version::default() };
        fs::set_len(&self.file, &self.partial, 0).map_err(|e| Error::io("cannot write", &self.partial, e))
    }

    /// One request, from where the file ends to the end.
    fn attempt(&mut self, bar: &ProgressBar) -> std::result::Result<(), Failure> {
        let have = self.have()?;
        if have > 0 && Some(have) == self.version.bytes.or(self.expected.bytes) {
            return Ok(());
        }
        let mut request = self.agent.get(self.url);
        if have > 0 {
            request = request.header("Range", format!("bytes={have}-"));
            if let Some(validator) = &self.version.validator {
                request = request.header("If-Range", validator);
            }
        }
        let response = request.call().map_err(|e| self.refused(e))?;
        let (start, total) = self.place(&response, have)?;
        if let (Some(total), Some(wanted)) = (total, self.expected.bytes)
            && total != wanted
        {
            let message = format!("{} has {total} bytes instead of {wanted}", self.url);
            return Err(Error::new(Kind::Data, message).with_help(not_the_archive()).into());
        }
        if start == 0 {
            self.restart()?;
            self.version.validator = validator(response.headers());
            self.version.bytes = total;
            files::write_json(&beside(self.path, ".partial.json"), &self.version)?;
        }
        bar.set_length(total.unwrap_or(0));
        bar.set_position(start);
        bar.reset_eta();
        self.receive(response, bar)?;
        let have = self.have()?;
        match total {
            Some(total) if have < total => Err(Failure::Passing(format!("the connection ended after {have} bytes"))),
            Some(total) if have > total => {
                self.restart()?;
                Err(Failure::Passing(format!("the server sent {have} bytes instead of {total}")))
            }
            _ => Ok(()),
        }
    }

    /// Where in the file the answer begins, and how long the whole is.
    fn place(&mut self, response: &Response<Body>, have: u64) -> std::result::Result<(u64, Option<u64>), Failure> {
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let status = response.status();
        match status {
            StatusCode::OK => Ok((0, header("content-length").and_then(|length| length.trim().parse().ok()))),
            StatusCode::PARTIAL_CONTENT => match header("content-range").and_then(parse_range) {
                Some((start, total)) if start == have => Ok((start, total)),
                _ => {
                    self.restart()?;
                    Err(Failure::Passing("the server sent another part than was asked for".into()))
                }
            },
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.restart()?;
                Err(Failure::Passing("the server has less than was downloaded before".into()))
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(self.answered(status)),
            status if status.is_server_error() => Err(self.answered(status)),
            status => {
                let message = format!("{} answers {status}", self.url);
                Err(Error::new(Kind::Io, message).with_help(other_ways(self.path)).into())
            }
        }
    }

    fn answered(&self, status: StatusCode) -> Failure {
        Failure::Passing(format!("{} answers {status}", self.url))
    }

    fn refused(&self, error: ureq::Error) -> Failure {
        match connection::lasting(self.url, &error) {
            Some(error) => error.or_help(other_ways(self.path)).into(),
            None => Failure::Passing(format!("no answer ({error})")),
        }
    }

    /// Appends what arrives. A thread of its own reads, so that a connection that falls silent is noticed: it is left
    /// behind with its connection.
    fn receive(&mut self, response: Response<Body>, bar: &ProgressBar) -> std::result::Result<(), Failure> {
        let (sender, receiver) = mpsc::sync_channel(8);
        let mut body = response.into_body().into_reader();
        let spawned = std::thread::Builder::new().name("download".into()).spawn(move || {
            loop {
                let mut piece = vec![0; PIECE];
                let read = body.read(&mut piece).map(|n| {
                    piece.truncate(n);
                    piece
                });
                let last = read.as_ref().map_or(true, Vec::is_empty);
                if sender.send(read).is_err() || last {
                    return;
                }
            }
        });
        spawned.map_err(|e| Error::new(Kind::Io, "cannot start a thread").with_source(e))?;
        let failed = |e| Error::io("cannot write", &self.partial, e);
        self.file.seek(SeekFrom::End(0)).map_err(failed)?;
        loop {
            match receiver.recv_timeout(self.patience.stall) {
                Ok(Ok(piece)) if piece.is_empty() => return Ok(()),
                Ok(Ok(piece)) => {
                    Writing { file: &mut self.file, path: &self.partial }.write_all(&piece).map_err(failed)?;
                    bar.inc(piece.len() as u64);
                }
                Ok(Err(e)) => return Err(Failure::Passing(format!("the connection broke: {e}"))),
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = self.patience.stall.as_secs_f64();
                    return Err(Failure::Passing(format!("nothing arrived for {seconds:.0} s")));
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Failure::Passing("the connection broke".into())),
            }
        }
    }

    /// What is wrong with the whole file, if anything.
    fn checked(&mut self) -> Result<Option<Error>> {
        let failed = |e| Error::io("cannot read", &self.partial, e);
        let (mut hasher, mut buffer) = (Md5::new(), vec![0; 1 << 20]);
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        loop {
            match self.file.read(&mut buffer).map_err(failed)? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        let md5 = files::hex(&hasher.finalize());
        if md5.eq_ignore_ascii_case(self.expected.md5) {
            return Ok(None);
        }
        let message = format!("{} has the MD5 {md5} instead of {}", self.url, self.expected.md5);
        Ok(Some(Error::new(Kind::Data, message).with_help(not_the_archive())))
    }

    fn finish(self) -> Result<()> {
        fs::sync(&self.file, &self.partial).map_err(|e| Error::io("cannot write", &self.partial, e))?;
        fs::rename(&self.partial, self.path).map_err(|e| Error::io("cannot write", self.path, e))?;
        let _ = fs::remove_file(beside(self.path, ".partial.json")); // says nothing any more
        files::sync_folder(&files::parent(self.path))
    }
}

/// Locks the file for this process. False where it is not `partial` any more: between opening and locking it, another
/// process has finished it, and what is written to it now would damage the finished file. Errors: another one downloads.
fn taken(file: &File, partial: &Path) -> Result<bool> {
    if let Err(TryLockError::WouldBlock) = file.try_lock() {
        let message = format!("another process is downloading to {}", partial.display());
        return Err(Error::new(Kind::Io, message).with_help("wait until it is done"));
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let known = |m: fs::Metadata| (m.dev(), m.ino());
        let (ours, there) = (file.metadata().map(known), fs::metadata(partial).map(known));
        Ok(matches!((ours, there), (Ok(ours), Ok(there)) if ours == there))
    }
    #[cfg(not(unix))]
    Ok(true) // an open file is not renamed there
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

/// `bytes 5-9/10` -> 5 and 10; the whole may be unknown, `*`.
fn parse_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (start, _) = range.split_once('-')?;
    Some((start.trim().parse().ok()?, total.trim().parse().ok()))
}

/// A weak ETag (`W/`) is no promise of the same bytes.
fn validator(headers: &HeaderMap) -> Option<String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    header("etag").filter(|tag| !tag.starts_with("W/")).or_else(|| header("last-modified"))
}

fn unreachable(url: &str, path: &Path, failure: &str, have: u64) -> Error {
    let kept = if have > 0 { format!(" ({have} bytes are kept, to go on from)") } else { String::new() };
    Error::new(Kind::Io, format!("cannot download {url}: {failure}{kept}")).with_help(other_ways(path))
}

fn other_ways(path: &Path) -> String {
    format!(
        "without a network: put tiny-imagenet-200.zip into {}, name a zip or folder with --source, or try the demo set with \
         `vggkit prepare --demo`; `--url` names a mirror",
        files::parent(path).display()
    )
}

fn not_the_archive() -> &'static str {
    "that is not the official archive: name another mirror with --url, or what it should be with --md5"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_part_that_another_process_has_finished_is_not_taken() {
        let work = tempfile::tempdir().unwrap();
        let (partial, whole) = (work.path().join("a.zip.partial"), work.path().join("a.zip"));
        let open = || File::options().create(true).truncate(false).write(true).open(&partial).unwrap();
        let file = open();
        assert!(taken(&file, &partial).unwrap());
        assert!(taken(&open(), &partial).is_err(), "one at a time");
        drop(file);
        let late = open();
        fs::rename(&partial, &whole).unwrap();
        assert!(!taken(&late, &partial).unwrap(), "it is finished");
        let new = open();
        assert!(!taken(&late, &partial).unwrap(), "it is another file");
        drop(late);
        assert!(taken(&new, &partial).unwrap());
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(parse_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(parse_range(" bytes 0-0/*"), Some((0, None)));
        for wrong in ["", "bytes */10", "items 5-9/10", "bytes 5/10", "bytes -5-9/10"] {
            assert_eq!(parse_range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn only_strong_tags_promise_the_same_bytes() {
        let mut headers = HeaderMap::new();
        assert_eq!(validator(&headers), None);
        headers.insert("last-modified", "Tue, 10 Feb 2015 00:00:00 GMT".parse().unwrap());
        headers.insert("etag", "W/\"1\"".parse().unwrap());
        assert!(validator(&headers).unwrap().starts_with("Tue"));
        headers.insert("etag", "\"1\"".parse().unwrap());
        assert_eq!(validator(&headers).unwrap(), "\"1\"");
    }
}
