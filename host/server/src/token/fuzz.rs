//! The fuzz targets `token` and `keys`.

use wharf_config::SecretEncoding;

use super::key_set::{Form, KeySet};
use super::tests::rules;
use super::*;

/// Checks that only the token of the corpus is accepted, which was signed with the secret.
#[test]
fn fuzz_token() {
    let rules = rules(0);
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

/// Checks that the bytes of keys are used or refused with a reason.
#[test]
fn fuzz_keys() {
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
        let of = |form| match KeySet::read(input, form) {
            Ok(keys) => keys.len().to_string(),
            Err(reason) => {
                assert!(!reason.is_empty());
                reason.chars().filter(char::is_ascii_alphabetic).take(60).collect()
            }
        };
        let secret = |encoding| of(Form::Secret(encoding));
        let secrets = [SecretEncoding::Text, SecretEncoding::Base64Url].map(secret);
        (of(Form::Pem), of(Form::Jwks), secrets)
    });
}
