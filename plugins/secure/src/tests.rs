//! Tests of authentication, from its clients' point of view.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wharf::testing::{Received, Refused, TestHost};

use super::*;

const SECRET: &str = "a secret that is long enough for HS256";

fn host() -> TestHost {
    let host = TestHost::new::<Secure>();
    host.set_secret("jwt_secret", SECRET);
    host
}

fn in_seconds(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set");
    now.as_secs() as i64 + seconds
}

fn signed(header: Value, claims: Value, secret: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
    mac.update(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn token(claims: Value) -> String {
    signed(json!({ "alg": "HS256", "typ": "JWT" }), claims, SECRET)
}

fn anns() -> Value {
    json!({ "sub": "ann", "exp": in_seconds(3600), "documents": ["a", "b"] })
}

/// Returns the reason for which a token is refused.
fn refused(host: &TestHost, token: &str) -> String {
    let refused = host.connect(&format!("/secure?token={token}")).expect_refused();
    assert_eq!(refused.status(), Some(401));
    refused.body()
}

#[test]
fn a_token_in_the_query_or_in_the_header_opens_the_door() {
    let host = host();
    let ann = host.connect(&format!("/secure?token={}", token(anns()))).expect_open();
    let welcome = json!({ "type": "authenticated", "user": "ann", "document": null });
    ann.assert_received(&welcome);
    let bearer = format!("bearer {}", token(anns()));
    let ann = host.connect("/secure").header("authorization", bearer).expect_open();
    ann.assert_received(&welcome);
    assert!(host.is_online("ann"));
}

#[test]
fn what_is_no_good_token_does_not() {
    let host = host();
    let with = |name: &str, value: Value| {
        let mut claims = anns();
        claims[name] = value;
        token(claims)
    };
    let header = |header: Value| signed(header, anns(), SECRET);
    for (token, why) in [
        (signed(json!({ "alg": "HS256" }), anns(), "another"), "Invalid token"),
        (header(json!({ "alg": "none" })), "Unsupported algorithm"),
        (header(json!({ "alg": "HS512" })), "Unsupported algorithm"),
        (header(json!({})), "Malformed token"),
        (with("exp", json!(in_seconds(-1))), "Token expired"),
        (with("exp", json!("soon")), "Claims are missing"),
        (with("nbf", json!(in_seconds(60))), "Token not valid yet"),
        (with("sub", Value::Null), "Claims are missing"),
        ("nonsense".to_owned(), "Malformed token"),
        ("a.b.c".to_owned(), "Malformed token"),
        ("..".to_owned(), "Malformed token"),
    ] {
        assert_eq!(refused(&host, &token), why);
    }
    let refused = host.connect("/secure").expect_refused();
    assert_eq!((refused.status(), &*refused.body()), (Some(401), "Token is required"));
}

#[test]
fn who_asks_for_it_is_told_by_a_close_frame() {
    let host = host();
    let Refused::Close { messages, code, reason } =
        host.connect("/secure?refuse=close&token=x").expect_refused()
    else {
        panic!("not by HTTP");
    };
    assert_eq!((code, &*reason), (4001, "Malformed token"));
    let told = json!({ "type": "error", "message": "Malformed token" });
    assert_eq!(messages, [Received::Text(told.to_string())]);
}

#[test]
fn a_document_is_for_those_whose_claims_name_it() {
    let host = host();
    let open = |id: &str, token: &str| {
        host.connect(&format!("/secure/documents/{id}?token={token}")).open()
    };
    let ann = token(anns());
    assert!(open("a", &ann).is_ok());
    assert_eq!(open("c", &ann).err().and_then(|refused| refused.status()), Some(403));
    let everything = json!({ "sub": "bob", "exp": in_seconds(60), "documents": ["*"] });
    assert!(open("c", &token(everything)).is_ok());
}

#[test]
fn each_message_is_checked() {
    let host = host();
    let ann = host.connect(&format!("/secure?token={}", token(anns()))).expect_open();
    ann.next_json();
    ann.send(json!({ "type": "read", "document": "b" }));
    ann.assert_received(json!({ "type": "document", "document": "b" }));
    ann.send(json!({ "type": "read", "document": "c" }));
    ann.assert_received(json!({ "type": "error", "message": "Access denied" }));
}

#[test]
fn the_connection_ends_with_its_token_unless_there_is_a_new_one() {
    let host = host();
    let short = || token(json!({ "sub": "ann", "exp": in_seconds(100) }));
    let ann = host.connect(&format!("/secure?token={}", short())).expect_open();
    let careful = host.connect(&format!("/secure?token={}", short())).expect_open();
    ann.next_json();
    careful.next_json();
    let bobs = json!({ "sub": "bob", "exp": in_seconds(3600) });
    careful.send(json!({ "type": "renew", "token": token(bobs) }));
    careful.assert_received(json!({ "type": "error", "message": "This token is somebody else's" }));
    careful.send(json!({ "type": "renew", "token": token(anns()) }));
    assert_eq!(careful.next_json()["type"], "renewed");
    host.advance(Duration::from_secs(100));
    ann.assert_received(json!({ "type": "error", "message": "Token expired" }));
    assert_eq!(ann.closed(), Some((4001, "Token expired".to_owned())));
    careful.send(json!({ "type": "read", "document": "a" }));
    careful.assert_received(json!({ "type": "document", "document": "a" }));
}

#[test]
fn without_a_secret_nobody_gets_in_and_the_operator_is_told() {
    let host = TestHost::new::<Secure>();
    let refused = host.connect(&format!("/secure?token={}", token(anns()))).expect_refused();
    assert_eq!(refused.status(), Some(500));
    assert!(host.errors().iter().any(|error| error.contains("jwt_secret")));
}
