//! The files of a certificate for TLS.

use std::fmt;
use std::path::PathBuf;

/// A certificate and its private key, by their files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate in PEM, followed by those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
}

impl CertificateFiles {
    /// Parses `CERTIFICATE:KEY`.
    pub fn parse(text: &str) -> Option<CertificateFiles> {
        let (certificate, key) = text.split_once(':')?;
        CertificateFiles::of(certificate.trim(), key.trim())
    }

    /// Returns the files of these paths, unless one of them is none.
    pub(crate) fn of(certificate: &str, key: &str) -> Option<CertificateFiles> {
        let is_path = |path: &str| !path.is_empty() && !path.contains('\0');
        (is_path(certificate) && is_path(key))
            .then(|| CertificateFiles { certificate: certificate.into(), key: key.into() })
    }
}

impl fmt::Display for CertificateFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.certificate.display(), self.key.display())
    }
}
