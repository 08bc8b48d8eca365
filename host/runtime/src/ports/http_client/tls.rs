//! TLS to other servers: the authorities that browsers trust, and the operator's own.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Makes the connector for all requests, so that sessions are resumed. `extra` is a file of
/// certificates.
///
/// # Errors
///
/// The file cannot be read, or has no certificate of an authority.
pub(super) fn connector(extra: Option<&Path>) -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
    if let Some(file) = extra {
        let failed = || format!("http_extra_roots: the file {}", file.display());
        add(&mut roots, file).with_context(failed)?;
    }
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn add(roots: &mut RootCertStore, file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read(file)?;
    let mut count = 0_usize;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.context("it is not PEM")?;
        roots.add(certificate).context("a certificate in it cannot be used")?;
        count += 1;
    }
    anyhow::ensure!(count > 0, "it has no certificate in PEM (-----BEGIN CERTIFICATE-----)");
    Ok(())
}
