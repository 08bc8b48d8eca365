use std::path::Path;
use std::sync::Arc;

use jsonwebtoken::{EncodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use key_set::{Form, KeySet};
use wharf_config::{SecretEncoding, SecretPlace, TokenKey, TokenSecret};

const SECRET: &str = "a secret that is long enough for HS256";

fn keys(secret: &str, issuer: Option<&str>) -> TokenKeys {
    let place = SecretPlace::Given(secret.as_bytes().into(), None);
    TokenKeys {
        name: issuer.map(str::to_owned),
        key: TokenKey::Secret(TokenSecret { place, encoding: SecretEncoding::Text }),
        issuers: issuer.map(str::to_owned).into_iter().collect(),
        audiences: Vec::new(),
    }
}

fn rules_of(keys: Vec<TokenKeys>, leeway: u64) -> TokenRules {
    let config = TokenConfig {
        keys,
        leeway: Duration::from_secs(leeway),
        query_parameter: None,
        subprotocol: None,
        required: true,
        refresh: Duration::from_secs(300),
    };
    TokenRules::new(Arc::new(config), "token", &mut Vec::new())
}

pub(super) fn rules(leeway: u64) -> TokenRules {
    rules_of(vec![keys(SECRET, None)], leeway)
}

/// Returns a file of the tests' keys.
fn key_file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/keys");
    std::fs::read(folder.join(name)).expect("a key of the tests")
}

fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), claims, &key).expect("a token")
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set").as_secs_f64()
}

#[test]
fn a_connection_ends_when_its_token_does_and_the_leeway_is_over() {
    for (exp, leeway, left) in [
        (json!((now() + 100.0) as u64), 0, 100.0),
        (json!(now() + 100.0), 0, 100.0),
        (json!((now() - 10.0) as u64), 60, 50.0),
    ] {
        let checked = rules(leeway).check(&token(&json!({ "exp": exp }))).expect("a token");
        let found = (checked.expires - Instant::now()).as_secs_f64();
        // The margin is for dates in whole seconds, a rounded fraction, and a slow machine.
        assert!((found - left).abs() < 30.0, "{found} instead of {left}");
    }
}

#[test]
fn a_date_beyond_all_clocks_is_one_that_is_far_away() {
    for exp in [json!(u64::MAX), json!(1e18), json!(1e300)] {
        match rules(600).check(&token(&json!({ "exp": exp }))) {
            Ok(checked) => assert!(checked.expires > Instant::now() + LONGEST / 2),
            Err(why) => assert_ne!(why, Unacceptable::Expired),
        }
    }
}

#[test]
fn claims_are_what_was_signed() {
    let claims = json!({ "exp": now() as u64 + 100, "sub": "ann", "roles": ["a", {"b": null}] });
    let checked = rules(0).check(&token(&claims)).expect("a token");
    assert_eq!(checked.claims.parse::<Value>().expect("JSON"), claims);
    assert_eq!(checked.identity, Identity::of(r#"{"sub":"ann"}"#));
}

#[test]
fn nothing_shows_the_keys() {
    assert!(!format!("{:?}", rules(0)).contains(SECRET));
}

#[test]
fn each_issuer_has_its_own_keys() {
    const OTHER: &str = "another secret that is long enough";
    let rules = rules_of(vec![keys(SECRET, Some("us")), keys(OTHER, Some("them"))], 0);
    let signed = |secret: &str, issuer: &str, left: f64| {
        let key = EncodingKey::from_secret(secret.as_bytes());
        let claims = json!({ "exp": (now() + left) as i64, "iss": issuer });
        rules.check(&encode(&Header::default(), &claims, &key).expect("a token"))
    };
    assert!(signed(SECRET, "us", 60.0).is_ok() && signed(OTHER, "them", 60.0).is_ok());
    let invalid = |why| Err(Unacceptable::Invalid(why));
    for (secret, issuer) in [(SECRET, "them"), (OTHER, "us")] {
        assert_eq!(signed(secret, issuer, 60.0), invalid("its signature is wrong"));
    }
    let why = "its issuer (iss) is not one of `issuer`";
    assert_eq!(signed(SECRET, "nobody", 60.0), invalid(why));
    assert_eq!(signed(SECRET, "us", -60.0), Err(Unacceptable::Expired));
}

#[test]
fn keys_that_were_not_read_are_not_the_clients_fault() {
    let file = TokenKeys { key: TokenKey::PublicKey("nowhere".into()), ..keys("", None) };
    let claims = token(&json!({ "exp": now() as u64 + 60 }));
    assert_eq!(rules_of(vec![file.clone()], 0).check(&claims), Err(Unacceptable::NoKeys));
    // Another set may be the right one, and one of another issuer is not.
    assert!(rules_of(vec![file.clone(), keys(SECRET, None)], 0).check(&claims).is_ok());
    let wrong = rules_of(vec![file.clone(), keys("x", None)], 0);
    assert_eq!(wrong.check(&claims), Err(Unacceptable::NoKeys));
    let other = TokenKeys { issuers: vec!["them".to_owned()], ..file };
    let ours = token(&json!({ "exp": now() as u64 + 60, "iss": "us" }));
    let signature = Err(Unacceptable::Invalid("its signature is wrong"));
    assert_eq!(rules_of(vec![other, keys("x", None)], 0).check(&ours), signature);
}

#[test]
fn what_a_file_of_keys_has_is_named() {
    for (file, form, words) in [
        ("ed448.public.pem", Form::Pem, ["public key in PEM (Ed448)", "EdDSA (Ed25519)"]),
        ("p384.public.pem", Form::Pem, ["(EC P-384)", "ES256 (EC P-256)"]),
        ("rsa1024.public.pem", Form::Pem, ["(RSA) of 1024 bits", "2048 to 4096"]),
        ("ed25519.pem", Form::Pem, ["private key (PRIVATE KEY)", "the public one"]),
        ("ed25519.public.pem", Form::Jwks, ["a public key in PEM (Ed25519)", "`public_key`"]),
        ("ec.public.pem", Form::Secret(SecretEncoding::Text), ["(EC P-256)", "`public_key`"]),
        (
            "rsa.certificate.pem",
            Form::Secret(SecretEncoding::Base64),
            ["a certificate", "`public_key`"],
        ),
    ] {
        let why = KeySet::read(&key_file(file), form).expect_err(file);
        for word in words {
            assert!(why.contains(word), "no {word:?} about {file}: {why}");
        }
    }
    for file in [
        "rsa.public.pem",
        "ec.public.pem",
        "ed25519.public.pem",
        "rsa.certificate.pem",
        "ed25519.certificate.pem",
    ] {
        KeySet::read(&key_file(file), Form::Pem).expect(file);
    }
}

#[test]
fn what_a_key_set_has_is_named_and_one_bad_key_does_not_spoil_the_others() {
    let jwks = |keys: &str| KeySet::read(format!("{{\"keys\":[{keys}]}}").as_bytes(), Form::Jwks);
    const GOOD: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    for (keys, words) in [
        ("", ["no public key", "EdDSA (Ed25519)"]),
        (r#"{"kty":"OKP","crv":"Ed448","x":"AA"}"#, ["not supported", "1 OKP/Ed448"]),
        // The library would panic at the first token.
        (r#"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#, ["not supported", "1 broken OKP/Ed25519"]),
        (r#"{"kty":"oct","k":"AAAA"},{"kty":"oct","k":"BBBB"}"#, ["not supported", "2 oct"]),
        (r#"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, ["not supported", "RSA of 17 bits"]),
        (
            r#"{"kty":"RSA","alg":"RS512","n":"AQAB","e":"AQAB"}"#,
            ["not supported", "RSA for RS512"],
        ),
        (r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#, ["not supported", "broken EC/P-256"]),
        (r#"7, {"kty":7}, null"#, ["not supported", "3 without kty"]),
        (&format!("{GOOD},{GOOD}"), ["two of its keys", "(kid)"]),
        (&GOOD.replace("\"x\"", "\"d\":\"AA\",\"x\""), ["not supported", "with its private part"]),
    ] {
        let why = jwks(keys).expect_err(keys);
        for word in words {
            assert!(why.contains(word), "no {word:?} about {keys}: {why}");
        }
    }
    let mixed = format!(
        r#"{GOOD},{{"kty":"OKP","crv":"X25519","kid":"b","x":"AA"}},{{"kty":"RSA","use":"enc","kid":"c"}}"#
    );
    let set = jwks(&mixed).expect("a key");
    assert_eq!(set.len(), 1);
    assert_eq!(set.left_out().as_deref(), Some("keys that are not supported: 1 OKP/X25519"));
    assert!(matches!(set.find(Some("a")), Found::Keys(keys) if keys.len() == 1));
    assert!(matches!(set.find(Some("b")), Found::Unsupported));
    assert!(matches!(set.find(Some("c")), Found::Unknown));
    assert!(matches!(set.find(None), Found::Keys(_)));
}

proptest! {
    #[test]
    fn no_bytes_of_keys_panic(bytes in prop::collection::vec(any::<u8>(), 0..120), text in "\\PC{0,80}") {
        let json = format!("{{\"keys\":[{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":{:?}}}]}}", text);
        use base64::engine::general_purpose::STANDARD;
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&bytes));
        for form in [Form::Pem, Form::Jwks, Form::Secret(SecretEncoding::Text), Form::Secret(SecretEncoding::Base64Url)] {
            for bytes in [&bytes[..], text.as_bytes(), json.as_bytes(), pem.as_bytes()] {
                let _ = KeySet::read(bytes, form);
            }
        }
    }

    #[test]
    fn no_change_of_a_key_panics(at: prop::sample::Index, by in 1_u8.., which in 0_usize..5) {
        use base64::engine::general_purpose::STANDARD;
        let files = ["rsa.public.pem", "ec.public.pem", "ed25519.public.pem", "rsa.certificate.pem", "p384.public.pem"];
        let text = String::from_utf8(key_file(files[which])).expect("PEM is text");
        let label = if which == 3 { "CERTIFICATE" } else { "PUBLIC KEY" };
        let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let mut der = STANDARD.decode(body).expect("base64");
        let at = at.index(der.len());
        der[at] ^= by;
        let changed = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(&der));
        if let Ok(KeySet::One(key)) = KeySet::read(changed.as_bytes(), Form::Pem) {
            let _ = jsonwebtoken::crypto::verify("AAAA", b"", &key.decoding, key.algorithm);
        }
    }

    #[test]
    fn no_token_panics(text in "\\PC{0,80}", parts in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}") {
        let rules = rules(0);
        prop_assert!(rules.check(&text).is_err());
        prop_assert!(rules.check(&parts).is_err());
    }

    #[test]
    fn no_change_of_a_token_is_believed(at: prop::sample::Index, by in 1_u8..=127) {
        let token = token(&json!({ "exp": now() as u64 + 1000, "sub": "ann" }));
        let mut changed = token.clone().into_bytes();
        let at = at.index(changed.len());
        changed[at] ^= by;
        // The last character has bits that no byte is made of, which must be zero.
        if let Ok(changed) = String::from_utf8(changed) {
            prop_assert!(rules(0).check(&changed).is_err(), "{changed}");
        }
    }
}
