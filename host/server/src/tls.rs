//! The certificates of TLS, which are read again when their files change.
//!
//! A connection keeps the configuration of its handshake, so that no open one notices a new certificate.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::anyhow;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use wharf_config::{CertificateFiles, Config, Material};

/// Time between two looks at the files.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Largest file of certificates or of a key, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The only protocol that is spoken inside (RFC 7301): a WebSocket begins with HTTP/1.1.
const PROTOCOL: &[u8] = b"http/1.1";

/// Number of session tickets that a client gets, with which it comes back without a new exchange of keys.
const TICKETS: usize = 2;

/// The names of the files of one set of certificates.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TlsFiles {
    /// Setting of the certificates, for messages.
    pub setting: &'static str,
    /// Certificates and keys; the first is for clients that ask for no name or for an unknown one.
    pub certificates: Vec<CertificateFiles>,
    /// Authorities of the certificates that clients must show.
    pub authorities: Option<PathBuf>,
}

impl TlsFiles {
    /// Returns the files of the clients' addresses.
    pub(crate) fn of_clients(config: &Config) -> TlsFiles {
        TlsFiles {
            setting: "tls",
            certificates: config.tls.clone(),
            authorities: config.tls_client_authorities.clone(),
        }
    }

    /// Returns the files of the operator's addresses.
    pub(crate) fn of_operator(config: &Config) -> TlsFiles {
        TlsFiles {
            setting: "operator_tls",
            certificates: config.operator_tls.clone(),
            authorities: config.operator_tls_client_authorities.clone(),
        }
    }

    /// Reads the files, and makes a configuration of them.
    fn read(&self) -> anyhow::Result<(ServerConfig, [u8; 32])> {
        let contents = Contents::read(self);
        let config = contents
            .config(self)
            .map_err(|reason| anyhow!("`{}` cannot be used: {reason}", self.setting))?;
        Ok((config, contents.hash))
    }
}

/// Checks the certificates and keys that a configuration names.
///
/// # Errors
///
/// A file cannot be read or used, or a key does not belong to its certificate.
pub fn check_certificates(config: &Config) -> anyhow::Result<()> {
    for files in [TlsFiles::of_clients(config), TlsFiles::of_operator(config)] {
        if !files.certificates.is_empty() {
            files.read()?;
        }
    }
    Ok(())
}

/// TLS of some addresses.
#[derive(Debug)]
pub(crate) struct Tls {
    current: ArcSwap<ServerConfig>,
    files: Mutex<TlsFiles>,
    /// Hash of the files' contents that are in use.
    used: Mutex<[u8; 32]>,
}

impl Tls {
    /// Reads the files. Returns `None` if no certificate is configured.
    ///
    /// # Errors
    ///
    /// A file cannot be read or used, or a key does not belong to its certificate.
    pub(crate) fn open(files: TlsFiles) -> anyhow::Result<Option<Arc<Tls>>> {
        if files.certificates.is_empty() {
            return Ok(None);
        }
        let (config, hash) = files.read()?;
        let tls = Arc::new(Tls {
            current: ArcSwap::from_pointee(config),
            files: Mutex::new(files),
            used: Mutex::new(hash),
        });
        tokio::spawn(follow(Arc::downgrade(&tls)));
        Ok(Some(tls))
    }

    /// Returns the configuration for the next handshake.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Uses what was read.
    fn take(&self, config: ServerConfig, hash: [u8; 32]) {
        self.current.store(Arc::new(config));
        *self.used.lock() = hash;
    }
}

/// Looks at the files again and again.
async fn follow(tls: Weak<Tls>) {
    // Two files are not replaced at once. So contents that cannot be used are reported if they are still there at
    // the next look, and only once.
    let (mut doubted, mut reported) = (None, None);
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let Some((files, used)) =
            tls.upgrade().map(|tls| (tls.files.lock().clone(), *tls.used.lock()))
        else {
            return;
        };
        let looked = tokio::task::spawn_blocking(move || {
            let contents = Contents::read(&files);
            let config = (contents.hash != used).then(|| contents.config(&files));
            (config, contents.hash, files.setting)
        });
        // It fails by a panic only, which the log has; the next look may do better.
        let Ok((config, hash, setting)) = looked.await else { continue };
        let Some(tls) = tls.upgrade() else { return };
        match config {
            None => (doubted, reported) = (None, None),
            Some(Ok(config)) => {
                tls.take(config, hash);
                (doubted, reported) = (None, None);
                tracing::info!(setting, "certificates replaced; open connections stay");
            }
            Some(Err(reason)) => {
                if doubted == Some(hash) && reported != Some(hash) {
                    reported = Some(hash);
                    tracing::error!(setting, reason, "the certificates stay as they were");
                }
                doubted = Some(hash);
            }
        }
    }
}

/// The contents of all files at one time.
struct Contents {
    /// Certificate and key of each.
    certificates: Vec<[Result<Vec<u8>, String>; 2]>,
    authorities: Option<Result<Vec<u8>, String>>,
    hash: [u8; 32],
}

impl Contents {
    fn read(files: &TlsFiles) -> Contents {
        let of = |files: &CertificateFiles| [read(&files.certificate), read(&files.key)];
        let certificates: Vec<_> = files.certificates.iter().map(of).collect();
        let authorities = files.authorities.as_deref().map(read);
        let mut hash = Sha256::new();
        for content in certificates.iter().flatten().chain(&authorities) {
            let content: [u8; 32] = match content {
                Ok(bytes) => Sha256::digest(bytes).into(),
                Err(reason) => Sha256::digest(reason).into(),
            };
            hash.update(content);
        }
        Contents { certificates, authorities, hash: hash.finalize().into() }
    }

    /// Makes the configuration, or returns the reason against it, which repeats nothing of a key.
    fn config(&self, files: &TlsFiles) -> Result<ServerConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let mut keys = Vec::new();
        for (files, [certificate, key]) in files.certificates.iter().zip(&self.certificates) {
            keys.push(Arc::new(certified(files, certificate, key, &provider)?));
        }
        let unusable = |error: rustls::Error| error.to_string();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = match (&files.authorities, &self.authorities) {
            (Some(path), Some(content)) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path, content)? {
                    let refused = |error| format!("{} is no authority: {error}", path.display());
                    roots.add(certificate).map_err(refused)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| error.to_string())?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName(keys)));
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // Tickets hold the session themselves: nothing is kept for clients that may come back.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = ring::Ticketer::new().map_err(unusable)?;
        config.send_tls13_tickets = TICKETS;
        Ok(config)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let failed = |error| format!("cannot read {}: {error}", path.display());
    let file = wharf_runtime::file_stamp::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 > MAX_FILE_BYTES {
        true => Err(format!("{} has more than {MAX_FILE_BYTES} bytes", path.display())),
        false => Ok(bytes),
    }
}

/// Returns the certificates in a file.
fn certificates(
    path: &Path,
    content: &Result<Vec<u8>, String>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = content.as_ref().map_err(Clone::clone)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!(
            "{} has no certificate in PEM (-----BEGIN CERTIFICATE-----); it is {}",
            path.display(),
            Material::of(bytes)
        )),
        Err(error) => Err(format!("{} is broken PEM: {error}", path.display())),
    }
}

fn certified(
    files: &CertificateFiles,
    certificate: &Result<Vec<u8>, String>,
    key: &Result<Vec<u8>, String>,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, String> {
    let chain = certificates(&files.certificate, certificate)?;
    let path = files.key.display();
    let bytes = key.as_ref().map_err(Clone::clone)?;
    let key = PrivateKeyDer::from_pem_slice(bytes).map_err(|_| match Material::of(bytes) {
        Material::PrivateKey(label) => {
            format!("the key in {path} ({label}) cannot be read: it must not be encrypted")
        }
        other => format!("{path} has no private key in PEM; it is {other}"),
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("the key in {path} does not belong to {}", files.certificate.display())
        }
        error => format!("{} and {path}: {error}", files.certificate.display()),
    })
}

/// Certificates, of which a client gets the one for the name that it asks for.
#[derive(Debug)]
struct ByName(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fits = |key: &&Arc<CertifiedKey>| {
            let (Some(asked), Some(certificate)) = (&asked, key.cert.first()) else { return false };
            let parsed = ParsedCertificate::try_from(certificate);
            parsed.is_ok_and(|parsed| verify_server_name(&parsed, asked).is_ok())
        };
        let found = match self.0.as_slice() {
            [only] => Some(only),
            several => several.iter().find(fits).or(several.first()),
        };
        found.cloned()
    }
}
