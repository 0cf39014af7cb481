//! How a server is spoken to: by http and, with the feature of that name (one of the default ones), by https.
//!
//! A server's certificate is held to Mozilla's list as it was when this program was built or, where SSL_CERT_FILE names a
//! file, to the certificates in that file alone. Nothing turns the check off.

use std::io::ErrorKind;
use std::time::Duration;

use ureq::Agent;

use super::names::OFFICIAL_URL;
use crate::error::{Error, Kind, Result};

/// How to do without.
const BY_HAND: &str = "fetch the archive with a browser or `curl -LO`, and name the file with --source";

/// What asks for `url`, and waits for `stall` for a connection or an answer. Errors: certificates that cannot be read.
pub fn agent(url: &str, stall: Duration) -> Result<Agent> {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(Some(stall))
        .timeout_connect(Some(stall))
        .timeout_recv_response(Some(stall))
        .user_agent(concat!("vggkit/", env!("CARGO_PKG_VERSION")));
    #[cfg(feature = "https")]
    let config = config.tls_config(ureq::tls::TlsConfig::builder().root_certs(tls::certificates(url)?).build());
    #[cfg(not(feature = "https"))]
    let _ = url; // names no certificates
    Ok(config.build().into())
}

/// The error where no further attempt will do better; `None` where one may.
pub fn lasting(url: &str, error: &ureq::Error) -> Option<Error> {
    let io = |message: String| Error::new(Kind::Io, message);
    Some(match error {
        ureq::Error::TlsRequired | ureq::Error::Tls(_) if !cfg!(feature = "https") => {
            io(format!("{url} leads to an address with https, which this vggkit was built without"))
                .with_help(format!("build it with its default features (`cargo install --path .`), or {BY_HAND}"))
        }
        // So rustls says that a handshake failed: the data is not what it should be.
        ureq::Error::Io(e) if e.kind() == ErrorKind::InvalidData => untrusted(url, e),
        ureq::Error::TlsRequired | ureq::Error::Tls(_) => untrusted(url, error),
        #[cfg(feature = "https")]
        ureq::Error::Rustls(e) => untrusted(url, e),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => {
            Error::usage(format!("`{url}` is no address such as {OFFICIAL_URL}"))
        }
        ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed | ureq::Error::InvalidProxyUrl => {
            io(format!("cannot download {url}: {error}"))
        }
        _ => return None,
    })
}

fn untrusted(url: &str, reason: &dyn std::fmt::Display) -> Error {
    Error::new(Kind::Io, format!("cannot speak https with the server of {url}: {reason}")).with_help(format!(
        "certificates are held to Mozilla's list; SSL_CERT_FILE=FILE.pem names others, such as a company's. Or {BY_HAND}"
    ))
}

#[cfg(feature = "https")]
mod tls {
    use std::path::PathBuf;

    use ureq::tls::{PemItem, RootCerts, parse_pem};

    use crate::error::{Error, Result};

    /// Those of SSL_CERT_FILE, else Mozilla's. A file that cannot be read is an error where it is needed for sure.
    pub fn certificates(url: &str) -> Result<RootCerts> {
        let Some(path) = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from) else { return Ok(RootCerts::WebPki) };
        let read = || -> Result<RootCerts> {
            let pem = crate::files::fs::read(&path).map_err(|e| Error::io("cannot read", &path, e))?;
            let certificates: Vec<_> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if certificates.is_empty() {
                return Err(Error::data(&path, "has no certificate in the form of PEM"));
            }
            Ok(RootCerts::from(certificates))
        };
        match read() {
            Err(e) if url.starts_with("https:") => {
                Err(e.with_help("SSL_CERT_FILE names it: unset it, or name another"))
            }
            read => Ok(read.unwrap_or(RootCerts::WebPki)),
        }
    }
}
