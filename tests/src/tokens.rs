//! JSON Web Tokens, properly signed and forged.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};

pub use jsonwebtoken::Algorithm;

/// A secret that is long enough for HS256.
pub const SECRET: &str = "the secret of the tests, 32 bytes or more";

/// Returns the path of a file in `tests/keys`.
pub fn key_file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("keys").join(name)
}

/// Returns a date in the format of tokens, this many seconds from now.
pub fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    now.as_secs() as i64 + seconds
}

/// Adds an expiry in an hour to claims without `exp`.
pub fn lasting(mut claims: Value) -> Value {
    if claims.get("exp").is_none() {
        claims["exp"] = json!(in_seconds(3600));
    }
    claims
}

/// Makes a token that is signed with [`SECRET`], for an hour unless the claims have an expiry.
pub fn hs256(claims: Value) -> String {
    hs256_with(SECRET, claims)
}

/// Makes a token that is signed with another secret.
pub fn hs256_with(secret: &str, claims: Value) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::new(Algorithm::HS256), &lasting(claims), &key).expect("a token")
}

/// Longest token that the host takes, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Makes a token of a length that base64 can have, or one byte less than that.
pub fn hs256_of_length(secret: &str, bytes: usize) -> String {
    let with =
        |filling: usize| hs256_with(secret, json!({ "sub": "ann", "f": "x".repeat(filling) }));
    // Three bytes of claims are four of the token.
    let filling = (bytes - with(0).len()) * 3 / 4;
    let tokens = (filling.saturating_sub(4)..=filling + 4).map(with);
    let token = tokens.rev().find(|token| token.len() <= bytes).expect("a token");
    assert!(bytes - token.len() <= 2, "{} instead of {bytes}", token.len());
    token
}

/// Makes a token that is signed with one of the private keys, with or without a key's name.
pub fn signed(algorithm: Algorithm, kid: Option<&str>, claims: Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, &lasting(claims), &private_key(algorithm)).expect("a token")
}

/// Makes a token with any header and any signature.
pub fn forged(header: &Value, claims: Value, signature: &[u8]) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (header, claims) = (header.to_string(), lasting(claims).to_string());
    [part(header.as_bytes()), part(claims.as_bytes()), part(signature)].join(".")
}

/// Makes a JSON Web Key Set with the public keys of these algorithms, under these names.
pub fn key_set(keys: &[(&str, Algorithm)]) -> String {
    let public = |(name, algorithm): &(&str, Algorithm)| {
        let mut key = Jwk::from_encoding_key(&private_key(*algorithm), *algorithm).expect("a key");
        key.common.key_id = Some((*name).to_owned());
        key
    };
    json!({ "keys": keys.iter().map(public).collect::<Vec<_>>() }).to_string()
}

fn private_key(algorithm: Algorithm) -> EncodingKey {
    let read = |name: &str| std::fs::read(key_file(name)).expect("a key of the tests");
    match algorithm {
        Algorithm::ES256 => EncodingKey::from_ec_pem(&read("ec.pem")),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(&read("ed25519.pem")),
        _ => EncodingKey::from_rsa_pem(&read("rsa.pem")),
    }
    .expect("a private key")
}
