//! The fuzz targets `token` and `keys`.

use std::sync::Arc;

use wharf_config::{Secret, SecretOrigin, TokenConfig, TokenKey};

use super::*;

const SECRET: &str = "a secret that is long enough for HS256";

fn config(key: TokenKey) -> Arc<TokenConfig> {
    Arc::new(TokenConfig {
        key,
        issuers: Vec::new(),
        audiences: Vec::new(),
        leeway: Duration::ZERO,
        query_parameter: None,
        required: true,
    })
}

/// Checks that only the token of the corpus is accepted, which was signed with the secret.
#[test]
fn fuzz_token() {
    let secret = Secret::new(SECRET, SecretOrigin::Plain);
    let rules = TokenRules::new(config(TokenKey::Secret(secret))).expect("a secret");
    // `{"alg":"HS256"}`, `{"alg":"none"}`, `{"exp":4102444800}` and the like, in base64.
    let words = [
        ".",
        "eyJhbGciOiJIUzI1NiJ9",
        "eyJhbGciOiJub25lIn0",
        "eyJhbGciOiJSUzI1NiJ9",
        "eyJleHAiOjQxMDI0NDQ4MDB9",
        "eyJleHAiOjFlMzA4fQ",
        "e30",
        "=",
        "_",
        "-",
    ];
    wharf_fuzz::run("token", &words.map(str::as_bytes), |input| {
        let text = String::from_utf8_lossy(input);
        match rules.check(&text) {
            Ok(token) => {
                // The corpus has one good token.
                assert_eq!(&*token.claims, "{\"exp\":4102444800,\"sub\":\"ann\"}", "{text}");
                "accepted".to_owned()
            }
            Err(why) => why.to_string(),
        }
    });
}

/// Checks that a file of keys is used or refused with a reason.
#[test]
fn fuzz_keys() {
    let folder = std::env::temp_dir().join(format!("wharf-fuzz-keys-{}", std::process::id()));
    std::fs::write(&folder, "").expect("a file");
    let words = [
        "-----BEGIN PUBLIC KEY-----",
        "-----END PUBLIC KEY-----",
        "{\"keys\":[",
        "\"kty\":\"EC\"",
        "\"kty\":\"RSA\"",
        "\"crv\":\"P-256\"",
        "\"kid\":\"a\"",
        "\"use\":\"sig\"",
        "\"alg\":\"ES256\"",
        "\"n\":\"",
        "\"e\":\"AQAB\"",
        "\"x\":\"",
        "\"y\":\"",
        "]}",
        "AAAA",
    ];
    wharf_fuzz::run("keys", &words.map(str::as_bytes), |input| {
        std::fs::write(&folder, input).expect("a file");
        let of = |key: fn(std::path::PathBuf) -> TokenKey| match Keys::read(&config(key(
            folder.clone()
        ))) {
            Ok(keys) => keys.find(None).is_ok().to_string(),
            Err(error) => {
                assert!(!error.reason.is_empty());
                error.reason.chars().filter(char::is_ascii_alphabetic).take(60).collect()
            }
        };
        (of(TokenKey::PublicKey), of(TokenKey::Jwks))
    });
    std::fs::remove_file(&folder).expect("the file is removed");
}
