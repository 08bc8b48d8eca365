//! One key that tokens are checked with, from a secret, a PEM file, or a JSON Web Key.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use serde_json::Value;
use wharf_config::Material;
use wharf_contract::text::{cut, escape};

/// The algorithms of public keys, for errors.
pub(super) const NEEDED: &str =
    "public key for RS256 (RSA of 2048 to 4096 bits), ES256 (EC P-256) or EdDSA (Ed25519)";

/// A signature that is never valid.
const UNSIGNED: &str = "AAAA";

/// Length of an Ed25519 key, in bytes.
const ED25519_BYTES: usize = 32;

/// Sizes of RSA keys, in bits: RFC 7518, 3.3 requires the least, and the library can handle the most.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// Longest part of a key's own words that is shown, in bytes.
const MAX_SHOWN_BYTES: usize = 24;

/// A key, and the one algorithm that it is used with.
pub(super) struct Key {
    pub decoding: DecodingKey,
    pub algorithm: Algorithm,
}

impl Key {
    /// Makes the key of a secret.
    pub fn secret(secret: &[u8]) -> Key {
        Key { decoding: DecodingKey::from_secret(secret), algorithm: Algorithm::HS256 }
    }

    /// Reads the public key in a PEM file, or that of a certificate.
    ///
    /// # Errors
    ///
    /// The bytes are something else, which the sentence names.
    pub fn of_pem(bytes: &[u8]) -> Result<Key, String> {
        let material = Material::of(bytes);
        match &material {
            Material::PublicKey(_) | Material::Certificate(_) => {}
            Material::PrivateKey(label) => {
                return Err(format!(
                    "it has a private key ({label}), which belongs to the issuer alone; give the public one"
                ));
            }
            _ => {
                let hint = match material.belongs_to() {
                    Some(key) => format!("; `{key}` is for that"),
                    None => String::new(),
                };
                return Err(format!("it has no {NEEDED} in PEM: it is {material}{hint}"));
            }
        }
        // Each constructor checks the kind of the key.
        let constructors = [
            (Algorithm::RS256, DecodingKey::from_rsa_pem(bytes)),
            (Algorithm::ES256, DecodingKey::from_ec_pem(bytes)),
            (Algorithm::EdDSA, DecodingKey::from_ed_pem(bytes)),
        ];
        let found =
            constructors.into_iter().find_map(|(algorithm, key)| Some((algorithm, key.ok()?)));
        let key = found.map(|(algorithm, decoding)| Key { decoding, algorithm });
        let bits = key.as_ref().and_then(|key| rsa_bits(&key.decoding));
        let bits = bits.map_or(String::new(), |bits| format!(" of {bits} bits"));
        key.filter(Key::works)
            .ok_or_else(|| format!("it has no {NEEDED} in PEM: it is {material}{bits}"))
    }

    /// Reads a key of a set.
    ///
    /// # Errors
    ///
    /// It is for no algorithm of tokens that are checked here. The text names its kind.
    pub fn of_jwk(value: &Value) -> Result<Key, String> {
        if value.get("d").is_some() {
            return Err(format!("{} with its private part", kind(value)));
        }
        let named = || kind(value);
        let jwk: Jwk = serde_json::from_value(value.clone()).map_err(|_| named())?;
        let algorithm = algorithm(&jwk).ok_or_else(named)?;
        let decoding = DecodingKey::from_jwk(&jwk).map_err(|_| named())?;
        let bits = rsa_bits(&decoding);
        let key = Key { decoding, algorithm };
        match (key.works(), bits) {
            (true, _) => Ok(key),
            (false, Some(bits)) => Err(format!("{} of {bits} bits", named())),
            (false, None) => Err(format!("broken {}", named())),
        }
    }

    /// Returns true if its algorithm can work with it, which would otherwise show only at the first
    /// token.
    fn works(&self) -> bool {
        match self.algorithm {
            Algorithm::RS256 => {
                rsa_bits(&self.decoding).is_some_and(|bits| RSA_BITS.contains(&bits))
            }
            // The library takes the first 32 bytes without looking if there are as many.
            Algorithm::EdDSA
                if self.decoding.try_get_as_bytes().map_or(0, <[u8]>::len) != ED25519_BYTES =>
            {
                false
            }
            algorithm => {
                jsonwebtoken::crypto::verify(UNSIGNED, b"", &self.decoding, algorithm).is_ok()
            }
        }
    }
}

/// Returns the size of an RSA key's modulus, in bits.
fn rsa_bits(key: &DecodingKey) -> Option<usize> {
    if key.family() != jsonwebtoken::AlgorithmFamily::Rsa {
        return None;
    }
    let modulus = match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, .. } => n.as_slice(),
        DecodingKeyKind::SecretOrDer(der) => {
            let (_, sequence) = der_value(der, 0x30)?;
            der_value(sequence, 0x02)?.1
        }
    };
    let first = modulus.iter().position(|byte| *byte != 0)?;
    let significant = modulus.get(first..)?;
    let unused = significant.first()?.leading_zeros() as usize;
    Some(significant.len() * 8 - unused)
}

/// Returns the length of a value of this type in DER, and the value.
fn der_value(der: &[u8], tag: u8) -> Option<(usize, &[u8])> {
    let (head, rest) = der.split_first_chunk::<2>()?;
    let [found, length] = *head;
    if found != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    Some((length, rest.get(..length)?))
}

/// Returns the algorithm that a key of a set is for; `None` if it is not for signatures that are
/// checked here. Symmetric keys do not belong into a set of public keys.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    let (algorithm, its) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let said = jwk.common.key_algorithm;
    said.is_none_or(|said| said == its).then_some(algorithm)
}

/// Returns the kind of a key of a set, such as `OKP/Ed448` or `RSA for RS512`.
fn kind(value: &Value) -> String {
    let word = |name: &str| {
        let text = value.get(name)?.as_str()?;
        Some(escape(cut(text, MAX_SHOWN_BYTES)))
    };
    let mut kind = word("kty").unwrap_or_else(|| "without kty".to_owned());
    if let Some(curve) = word("crv") {
        kind.push('/');
        kind.push_str(&curve);
    }
    if let Some(algorithm) = word("alg") {
        kind.push_str(" for ");
        kind.push_str(&algorithm);
    }
    kind
}
