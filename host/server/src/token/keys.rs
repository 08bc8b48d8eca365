//! The keys that tokens are checked with: a secret, a public key, or a file of several.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind, Validation};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Unacceptable;
use wharf_config::{TokenConfig, TokenKey};

/// Largest file of keys, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Time for which a file of keys is taken as unchanged. After that it is looked at again for the
/// next token.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Shortest secret without a warning, in bytes: RFC 7518, 3.2 requires as many as the algorithm
/// has.
const GOOD_SECRET_BYTES: usize = 32;

/// Text in the first line of every private key in PEM.
const PRIVATE: &[u8] = b"PRIVATE KEY-----";

/// A signature that is never valid.
const UNSIGNED: &str = "AAAA";

/// A file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the key file {}: {reason}", path.display())]
pub struct KeyError {
    /// Path of the file.
    pub path: PathBuf,
    /// The reason.
    pub reason: String,
}

/// A key, and the rules for tokens that it has signed. Its algorithm is the only one.
pub(super) struct Key {
    pub key: DecodingKey,
    pub validation: Validation,
}

impl Key {
    /// Makes a key; `None` if the algorithm cannot work with it, which would otherwise show only at
    /// the first token.
    fn new(config: &TokenConfig, algorithm: Algorithm, key: DecodingKey) -> Option<Key> {
        let verified = jsonwebtoken::crypto::verify(UNSIGNED, b"", &key, algorithm);
        let works = match algorithm {
            Algorithm::RS256 => has_rsa_size(&key),
            _ => verified.is_ok(),
        };
        works.then(|| Key { key, validation: validation(config, algorithm) })
    }
}

/// Returns true if an RSA key has at least 2048 bits, as RFC 7518, 3.3 requires, and at most 4096,
/// as the library can handle.
fn has_rsa_size(key: &DecodingKey) -> bool {
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } => (256..=512).contains(&n.len()),
        // In DER: two integers, of which the second is 3 or 65537, and the lengths of both.
        DecodingKeyKind::SecretOrDer(der) => (260..=540).contains(&der.len()),
    }
}

/// The keys of one table.
pub(super) enum Keys {
    One(Arc<Key>),
    Set(Mutex<KeySet>),
}

/// A JSON Web Key Set (RFC 7517), which is read again when its file changes.
pub(super) struct KeySet {
    config: Arc<TokenConfig>,
    path: PathBuf,
    keys: NamedKeys,
    /// State of the file when it was read.
    stamp: Option<KeyFileVersion>,
    looked: Instant,
}

/// Keys by their names (`kid`).
type NamedKeys = Vec<(Option<String>, Arc<Key>)>;

/// Time at which a file was written, and its length.
type KeyFileVersion = (SystemTime, u64);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    pub(super) fn read(config: &Arc<TokenConfig>) -> Result<Keys, KeyError> {
        let one = |key| Keys::One(Arc::new(key));
        match &config.key {
            TokenKey::Secret(secret) => {
                let secret = secret.expose().as_bytes();
                if secret.len() < GOOD_SECRET_BYTES {
                    tracing::warn!(
                        bytes = secret.len(),
                        "the secret that tokens are checked with is weak; HS256 wants one of at \
                         least {GOOD_SECRET_BYTES} bytes"
                    );
                }
                let key = DecodingKey::from_secret(secret);
                Ok(one(Key { key, validation: validation(config, Algorithm::HS256) }))
            }
            TokenKey::PublicKey(path) => {
                let failed = |reason: String| KeyError { path: path.clone(), reason };
                let pem = read(path).map_err(failed)?;
                if pem.windows(PRIVATE.len()).any(|text| text == PRIVATE) {
                    let reason = "it has a private key, which belongs to the issuer alone; \
                                  give the public one";
                    return Err(failed(reason.to_owned()));
                }
                // Both constructors check the kind of the key.
                let rsa = DecodingKey::from_rsa_pem(&pem).map(|key| (Algorithm::RS256, key));
                let key = rsa
                    .or_else(|_| DecodingKey::from_ec_pem(&pem).map(|key| (Algorithm::ES256, key)));
                let key = key.ok().and_then(|(algorithm, key)| Key::new(config, algorithm, key));
                let none =
                    "it has no public key for RS256 (2048 to 4096 bits) or ES256 (P-256) in PEM";
                key.map(one).ok_or_else(|| failed(none.to_owned()))
            }
            TokenKey::Jwks(path) => {
                let stamp = stamp(path);
                let keys = read_set(config, path)
                    .map_err(|reason| KeyError { path: path.clone(), reason })?;
                let (config, path) = (config.clone(), path.clone());
                let looked = Instant::now();
                Ok(Keys::Set(Mutex::new(KeySet { config, path, keys, stamp, looked })))
            }
        }
    }

    /// Returns the key of that name. A token without a name can only be meant for a single key.
    pub(super) fn find(&self, name: Option<&str>) -> Result<Arc<Key>, Unacceptable> {
        let set = match self {
            Keys::One(key) => return Ok(key.clone()),
            Keys::Set(set) => set,
        };
        let mut set = set.lock();
        set.look();
        match (name, set.keys.as_slice()) {
            (Some(name), keys) => {
                let found = keys.iter().find(|(known, _)| known.as_deref() == Some(name));
                let found = found.map(|(_, key)| key.clone());
                found.ok_or(Unacceptable::Invalid("its key (kid) is not in the key set"))
            }
            (None, [(_, key)]) => Ok(key.clone()),
            (None, _) => Err(Unacceptable::Invalid("it does not say which key it is for (kid)")),
        }
    }
}

impl KeySet {
    /// Reads the file again if it has changed. A file that cannot be used leaves the keys as they
    /// are.
    fn look(&mut self) {
        let now = Instant::now();
        if now < self.looked + LOOK_INTERVAL {
            return;
        }
        self.looked = now;
        let stamp = stamp(&self.path);
        if stamp == self.stamp {
            return;
        }
        self.stamp = stamp;
        let file = self.path.display().to_string();
        match read_set(&self.config, &self.path) {
            Ok(keys) => {
                tracing::info!(file, keys = keys.len(), "the keys for tokens were read again");
                self.keys = keys;
            }
            Err(reason) => {
                tracing::error!(file, reason, "the keys for tokens stay as they were");
            }
        }
    }
}

fn stamp(path: &Path) -> Option<KeyFileVersion> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    match bytes.len() as u64 > MAX_FILE_BYTES {
        true => Err(format!("it has more than {MAX_FILE_BYTES} bytes")),
        false => Ok(bytes),
    }
}

fn read_set(config: &TokenConfig, path: &Path) -> Result<NamedKeys, String> {
    let set: JwkSet = serde_json::from_slice(&read(path)?)
        .map_err(|error| format!("it is not a JSON Web Key Set: {error}"))?;
    let mut keys = Vec::new();
    for jwk in &set.keys {
        // A set may have keys for other purposes, too.
        if let Some(algorithm) = algorithm(jwk)
            && let Ok(key) = DecodingKey::from_jwk(jwk)
            && let Some(key) = Key::new(config, algorithm, key)
        {
            let name = jwk.common.key_id.clone();
            if keys.iter().any(|(known, _)| *known == name) {
                return Err("two of its keys have the same name (kid), or none".to_owned());
            }
            keys.push((name, Arc::new(key)));
        }
    }
    match keys.is_empty() {
        true => Err("it has no public key for RS256 or ES256".to_owned()),
        false => Ok(keys),
    }
}

/// Returns the algorithm that a key of a set is for; `None` if it is not for signatures that are
/// checked here. Symmetric keys do not belong into a file of public keys.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    use jsonwebtoken::jwk::KeyAlgorithm;
    if jwk.common.public_key_use.as_ref().is_some_and(|its| *its != PublicKeyUse::Signature) {
        return None;
    }
    let (algorithm, its) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        _ => return None,
    };
    let said = jwk.common.key_algorithm;
    said.is_none_or(|said| said == its).then_some(algorithm)
}

/// Returns the rules that a token is checked against. The expiry is always checked.
fn validation(config: &TokenConfig, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = config.leeway.as_secs();
    validation.validate_nbf = true;
    let mut required = vec!["exp"];
    if !config.issuers.is_empty() {
        validation.set_issuer(&config.issuers);
        required.push("iss");
    }
    if !config.audiences.is_empty() {
        validation.set_audience(&config.audiences);
        required.push("aud");
    }
    validation.set_required_spec_claims(&required);
    validation
}
