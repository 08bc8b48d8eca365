//! Names of what an operator has given for a key, for errors: people mix up secrets, PEM files, JSON
//! Web Keys and certificates.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The beginning of a block of PEM.
const PEM: &str = "-----BEGIN ";
/// The end of its first line.
const PEM_END: &str = "-----";

/// Object identifiers (RFC 5280 and others) in DER, with the names of their keys. Those of curves come
/// before the one of all curves.
const KINDS: &[(&[u8], &str)] = &[
    (&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], "EC P-256"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22], "EC P-384"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], "EC P-521"),
    (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a], "EC secp256k1"),
    (&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01], "EC"),
    (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01], "RSA"),
    (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a], "RSA-PSS"),
    (&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "DSA"),
    (&[0x06, 0x03, 0x2b, 0x65, 0x70], "Ed25519"),
    (&[0x06, 0x03, 0x2b, 0x65, 0x71], "Ed448"),
    (&[0x06, 0x03, 0x2b, 0x65, 0x6e], "X25519"),
];

/// The kind of a text or file that was given for a key. Its text never repeats the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Material {
    /// Nothing but white space.
    Nothing,
    /// A private key in PEM, by its label.
    PrivateKey(String),
    /// A public key in PEM, by the kind of the key if that is known.
    PublicKey(Option<&'static str>),
    /// A certificate in PEM, by the kind of its key if that is known.
    Certificate(Option<&'static str>),
    /// Another block of PEM, by its label.
    OtherPem(String),
    /// A JSON Web Key Set (RFC 7517).
    KeySet,
    /// A single JSON Web Key.
    Key,
    /// Other JSON, or what was meant to be JSON.
    Json,
    /// A JSON Web Token, in place of its key.
    Token,
    /// A public key of OpenSSH.
    Ssh,
    /// A key or certificate in DER.
    Der,
    /// Text that has no form of its own, as secrets are.
    Text,
    /// Bytes that are not text.
    Bytes,
}

impl Material {
    /// Returns what these bytes are.
    pub fn of(bytes: &[u8]) -> Material {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return match bytes {
                [0x30, 0x81..=0x84, ..] => Material::Der,
                _ => Material::Bytes,
            };
        };
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            return Material::Nothing;
        }
        if let Some(pem) = of_pem(text) {
            return pem;
        }
        if text.starts_with('{') || text.starts_with('[') {
            return match text {
                _ if text.contains("\"keys\"") => Material::KeySet,
                _ if text.contains("\"kty\"") => Material::Key,
                _ => Material::Json,
            };
        }
        let ssh = ["ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2-nistp", "sk-ssh-"];
        if ssh.iter().any(|kind| text.starts_with(kind)) {
            return Material::Ssh;
        }
        // The first part of a token is a JSON object in base64url, which begins with `{"`.
        match text.starts_with("eyJ") && text.matches('.').count() == 2 {
            true => Material::Token,
            false => Material::Text,
        }
    }

    /// Returns true if it may be a secret.
    pub fn may_be_secret(&self) -> bool {
        // A secret may begin with a bracket.
        matches!(self, Material::Text | Material::Json | Material::Bytes)
    }

    /// Returns true if it is surely a key or a certificate, by its form.
    pub fn is_key(&self) -> bool {
        matches!(
            self,
            Material::PrivateKey(_)
                | Material::PublicKey(_)
                | Material::Certificate(_)
                | Material::OtherPem(_)
                | Material::KeySet
                | Material::Key
        )
    }

    /// Returns the key of the configuration that such material is for; `None` if there is none.
    pub fn belongs_to(&self) -> Option<&'static str> {
        match self {
            Material::PublicKey(_) | Material::Certificate(_) => Some("public_key"),
            Material::KeySet => Some("jwks"),
            Material::Text | Material::Bytes => Some("secret"),
            _ => None,
        }
    }
}

impl fmt::Display for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind =
            |kind: &Option<&'static str>| kind.map_or(String::new(), |kind| format!(" ({kind})"));
        match self {
            Material::Nothing => f.write_str("empty"),
            Material::PrivateKey(label) => write!(f, "a private key in PEM ({label})"),
            Material::PublicKey(key) => write!(f, "a public key in PEM{}", kind(key)),
            Material::Certificate(key) => write!(f, "a certificate in PEM{}", kind(key)),
            Material::OtherPem(label) => write!(f, "a block of PEM ({label})"),
            Material::KeySet => f.write_str("a JSON Web Key Set"),
            Material::Key => f.write_str("a single JSON Web Key"),
            Material::Json => f.write_str("JSON without keys"),
            Material::Token => f.write_str("a token, not a key"),
            Material::Ssh => f.write_str("a public key of OpenSSH"),
            Material::Der => f.write_str("a key or a certificate in DER"),
            Material::Text => f.write_str("plain text"),
            Material::Bytes => f.write_str("bytes that are not text"),
        }
    }
}

/// Returns what a text with PEM in it has: a private key wherever it is, else the first block.
fn of_pem(text: &str) -> Option<Material> {
    let blocks = || text.match_indices(PEM).filter_map(|(at, mark)| text.get(at + mark.len()..));
    let label = |block: &str| {
        let label = block.split(PEM_END).next().unwrap_or_default();
        let is_plain = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
        let is_label = label.len() <= 40 && label.chars().all(is_plain);
        if is_label { label.trim().to_owned() } else { "of an odd label".to_owned() }
    };
    let private = blocks().map(label).find(|label| label.ends_with("PRIVATE KEY"));
    if let Some(label) = private {
        return Some(Material::PrivateKey(label));
    }
    let block = blocks().next()?;
    let body = block.split(PEM_END).nth(1).unwrap_or_default();
    Some(match label(block) {
        label if label == "PUBLIC KEY" => Material::PublicKey(kind(body)),
        label if label == "RSA PUBLIC KEY" => Material::PublicKey(Some("RSA")),
        label if label.ends_with("CERTIFICATE") => Material::Certificate(kind(body)),
        label => Material::OtherPem(label),
    })
}

/// Returns the kind of the key in a block of PEM.
fn kind(body: &str) -> Option<&'static str> {
    let der = decode(body, &alphabet::STANDARD)?;
    let has = |id: &[u8]| der.windows(id.len()).any(|window| window == id);
    KINDS.iter().find(|(id, _)| has(id)).map(|(_, name)| *name)
}

/// Returns the bytes that a text in base64 stands for, with or without its padding and with breaks
/// between lines.
pub(crate) fn decode(text: &str, alphabet: &alphabet::Alphabet) -> Option<Vec<u8>> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_given_is_named_by_its_kind() {
        let ed25519 = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
                       -----END PUBLIC KEY-----\n";
        for (text, name) in [
            ("  \n", "empty"),
            (ed25519, "a public key in PEM (Ed25519)"),
            ("-----BEGIN RSA PUBLIC KEY-----\nAAAA\n", "a public key in PEM (RSA)"),
            ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n", "a private key in PEM (EC PRIVATE KEY)"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n", "a certificate in PEM"),
            ("-----BEGIN SOMETHING secret-----", "a block of PEM (of an odd label)"),
            ("{\"keys\": []}", "a JSON Web Key Set"),
            ("{\"kty\":\"OKP\",\"crv\":\"Ed25519\"}", "a single JSON Web Key"),
            ("{}", "JSON without keys"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.AAAA", "a token, not a key"),
            ("ssh-ed25519 AAAAC3Nz ann@example.com", "a public key of OpenSSH"),
            ("a secret that is long enough for HS256", "plain text"),
        ] {
            assert_eq!(Material::of(text.as_bytes()).to_string(), name, "{text}");
        }
        assert_eq!(Material::of(&[0x30, 0x82, 0xff, 0xff]), Material::Der);
        assert_eq!(Material::of(&[0xff, 0xfe]), Material::Bytes);
        // A private key beside its certificate is the one to speak of.
        let both =
            format!("-----BEGIN CERTIFICATE-----\nAA\n-----BEGIN PRIVATE KEY-----\n{ed25519}");
        assert!(matches!(Material::of(both.as_bytes()), Material::PrivateKey(_)));
    }

    proptest! {
        #[test]
        fn no_material_panics_or_is_repeated(bytes in prop::collection::vec(any::<u8>(), 0..80), text in "(-----BEGIN )?[A-Z]{0,4}\\PC{0,60}") {
            let _ = Material::of(&bytes).to_string();
            let _ = Material::of(text.as_bytes()).to_string();
        }

        #[test]
        fn base64_comes_back_in_either_alphabet(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
            for (text, alphabet) in [
                (STANDARD.encode(&bytes), &alphabet::STANDARD),
                (STANDARD_NO_PAD.encode(&bytes), &alphabet::STANDARD),
                (URL_SAFE.encode(&bytes), &alphabet::URL_SAFE),
                (URL_SAFE_NO_PAD.encode(&bytes), &alphabet::URL_SAFE),
            ] {
                prop_assert_eq!(decode(&format!("{text}\n"), alphabet), Some(bytes.clone()));
            }
        }
    }
}
