//! Downloads by https, from servers on this machine with certificates that the tests make: right ones, and wrong ones in
//! every way. Without the feature `https` it is said how to do without.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

/// `vggkit prepare` of `url`, which trusts the certificates in `trusted` alone, or Mozilla's list.
fn prepare(folder: &Path, url: &str, md5: &str, trusted: Option<&Path>) -> Command {
    let mut command = super::vggkit(folder);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy", "SSL_CERT_FILE"] {
        command.env_remove(name);
    }
    command.args(["prepare", "--url", url, "--md5", md5]);
    if let Some(trusted) = trusted {
        command.env("SSL_CERT_FILE", trusted);
    }
    command
}

/// Answers every connection to a new port with `answer`, whatever it asks; the port, and how often it was asked.
fn serve(answer: impl Fn(std::net::TcpStream) + Send + Sync + 'static) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            counter.fetch_add(1, Ordering::SeqCst);
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || answer(stream.unwrap()));
        }
    });
    (port, asked)
}

/// Reads a request's head and writes an answer.
fn respond(mut stream: impl Read + Write, head: &str, body: &[u8]) {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        request.push(byte[0]);
    }
    let head = format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body)).and_then(|()| stream.flush());
}

/// A server without TLS that sends everybody on to `target`.
fn redirect(target: &str) -> u16 {
    let head = format!("302 Found\r\nLocation: {target}");
    serve(move |stream| respond(stream, &head, b"")).0
}

#[cfg(not(feature = "https"))]
#[test]
fn without_the_feature_it_is_said_how_to_do_without() {
    let work = tempfile::tempdir().unwrap();
    let said = || contains("https, which this vggkit was built without").and(contains("--source"));
    let (port, _) = serve(drop);
    let secure = format!("https://127.0.0.1:{port}/tiny.zip");
    let plain = format!("http://127.0.0.1:{}/tiny.zip", redirect(&secure));
    for url in [&secure, &plain] {
        prepare(work.path(), url, &"0".repeat(32), None).assert().code(1).stderr(said());
    }
}

#[cfg(feature = "https")]
mod with_the_feature {
    use std::fs;

    use md5::{Digest, Md5};
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use vggkit::dataset::Manifest;

    use super::super::archive;
    use super::*;

    /// What signs the servers' certificates; its own is put into `ca.pem`.
    fn authority(folder: &Path) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
        authority
    }

    /// A server with TLS that has `content`, whose certificate is for `name` and runs out at the end of `year`.
    fn secure(
        authority: &CertifiedIssuer<'_, KeyPair>,
        name: &str,
        year: i32,
        content: Vec<u8>,
    ) -> (u16, Arc<AtomicUsize>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(year, 12, 31));
        let certificate = params.signed_by(&key, authority).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let config = Arc::new(config);
        serve(move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            respond(&mut stream, "200 OK", &content);
            stream.conn.send_close_notify();
            let _ = stream.conn.complete_io(&mut stream.sock);
        })
    }

    #[test]
    fn an_archive_arrives_by_https_and_by_a_redirect_to_it() {
        let work = tempfile::tempdir().unwrap();
        let zip = archive();
        let md5 = vggkit::files::hex(&Md5::digest(&zip));
        let (port, asked) = secure(&authority(work.path()), "127.0.0.1", 2100, zip);
        let (url, ca) = (format!("https://127.0.0.1:{port}/tiny.zip"), work.path().join("ca.pem"));
        let from = redirect(&url);
        for (folder, url) in [("direct", url), ("redirected", format!("http://127.0.0.1:{from}/tiny.zip"))] {
            fs::create_dir(work.path().join(folder)).unwrap();
            prepare(&work.path().join(folder), &url, &md5, Some(&ca)).assert().success();
            let manifest = Manifest::load(&work.path().join(folder).join("data")).unwrap();
            assert_eq!(manifest.splits["train"].images, 18);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_wrong_certificate_is_refused_at_once_and_said() {
        let work = tempfile::tempdir().unwrap();
        let authority = authority(work.path());
        let ca = work.path().join("ca.pem");
        let other = tempfile::tempdir().unwrap();
        self::authority(other.path());
        let cases = [
            ("127.0.0.1", 2100, None, "UnknownIssuer"), // not on Mozilla's list
            ("127.0.0.1", 2100, Some(other.path().join("ca.pem")), "certificate"), // another's of the same name
            ("127.0.0.1", 2021, Some(ca.clone()), "expired"),
            ("example.org", 2100, Some(ca.clone()), "not valid for name"),
        ];
        for (name, year, trusted, reason) in cases {
            let (port, asked) = secure(&authority, name, year, b"secret".to_vec());
            let url = format!("https://127.0.0.1:{port}/tiny.zip");
            let said = contains("cannot speak https with the server of https://127.0.0.1")
                .and(contains(reason))
                .and(contains("SSL_CERT_FILE"))
                .and(contains("--source"));
            prepare(work.path(), &url, &"0".repeat(32), trusted.as_deref()).assert().code(1).stderr(said);
            assert_eq!(asked.load(Ordering::SeqCst), 1, "{reason}: asking again does not help");
            assert!(!work.path().join("data/tiny-imagenet-200.zip").exists());
        }
    }

    #[test]
    fn what_is_no_tls_and_no_certificate_is_said() {
        let work = tempfile::tempdir().unwrap();
        // As servers without TLS answer what they do not understand: at once.
        let (port, _) = serve(|mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        });
        let url = format!("https://127.0.0.1:{port}/tiny.zip");
        let prepare = |trusted| prepare(work.path(), &url, &"0".repeat(32), trusted);
        prepare(None).assert().code(1).stderr(contains("cannot speak https").and(contains("corrupt message")));
        let file = work.path().join("no.pem");
        prepare(Some(&file)).assert().code(1).stderr(contains("no.pem").and(contains("SSL_CERT_FILE names it")));
        fs::write(&file, "no certificate").unwrap();
        prepare(Some(&file)).assert().code(1).stderr(contains("has no certificate"));
    }
}
