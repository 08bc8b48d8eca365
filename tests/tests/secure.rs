//! Authentication in a plugin, through its front door.

use std::fs;

use wharf_tests::tokens::{Algorithm, hs256, hs256_with, in_seconds, signed};
use wharf_tests::{Client, Ended, Value, Wharf, artefacts, json, tokens};

async fn started() -> Wharf {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("plugins")).expect("a folder");
    let plugin = artefacts::component("secure");
    fs::write(folder.path().join("plugins/secure.wasm"), plugin).expect("a plugin");
    let file = "[channels.secure.secrets]\njwt_secret = { env = \"SECURE_JWT_SECRET\" }\n";
    fs::write(folder.path().join("wharf.toml"), file).expect("a file");
    let secret = format!("SECURE_JWT_SECRET={}", tokens::SECRET);
    Wharf::start_under(&["env", &secret], folder, &[]).await
}

fn anns() -> Value {
    json!({ "sub": "ann", "documents": ["a", "b"] })
}

async fn connect(wharf: &Wharf, claims: Value) -> Client {
    let mut client = wharf.connect(&format!("/secure?token={}", hs256(claims))).await;
    assert_eq!(client.json().await["type"], "authenticated");
    client
}

fn error(message: &str) -> Value {
    json!({ "type": "error", "message": message })
}

#[tokio::test]
async fn a_token_in_the_query_or_in_the_header_opens_the_door() {
    let wharf = started().await;
    let token = hs256(anns());
    let welcome = json!({ "type": "authenticated", "user": "ann", "document": "a" });
    let mut by_query = wharf.connect(&format!("/secure/documents/a?token={token}")).await;
    assert_eq!(by_query.json().await, welcome);
    let header = ("authorization", &*format!("Bearer {token}"));
    let by_header = wharf.try_connect("/secure/documents/a", &[header]).await;
    assert_eq!(by_header.expect("a good token").json().await, welcome);
}

#[tokio::test]
async fn who_is_not_known_is_refused_by_status_or_told_by_a_close_frame() {
    let wharf = started().await;
    let with = |name: &str, date: i64| {
        let mut claims = anns();
        claims[name] = json!(date);
        hs256(claims)
    };
    for (token, why) in [
        (hs256_with("another secret, which is long enough", anns()), "Invalid token"),
        (tokens::forged(&json!({ "alg": "none" }), anns(), b""), "Unsupported algorithm"),
        (signed(Algorithm::RS256, None, anns()), "Unsupported algorithm"),
        (with("exp", in_seconds(-1)), "Token expired"),
        (with("nbf", in_seconds(3600)), "Token not valid yet"),
        (String::new(), "Malformed token"),
    ] {
        let path = format!("/secure?token={token}");
        let rejected = wharf.try_connect(&path, &[]).await.expect_err(why);
        assert_eq!(rejected.status, 401, "{why}");
        assert_eq!(rejected.headers["www-authenticate"], "Bearer");
        let mut told = wharf.connect(&format!("{path}&refuse=close")).await;
        assert_eq!(told.json().await, error(why));
        assert_eq!(told.ended().await, Ended::Closed(4001, why.to_owned()));
    }
    assert_eq!(wharf.try_connect("/secure", &[]).await.expect_err("no token").status, 401);
}

#[tokio::test]
async fn a_document_is_for_those_whose_claims_name_it_and_each_message_is_checked() {
    let wharf = started().await;
    let path = format!("/secure/documents/c?token={}", hs256(anns()));
    assert_eq!(wharf.try_connect(&path, &[]).await.expect_err("not hers").status, 403);
    let mut told = wharf.connect(&format!("{path}&refuse=close")).await;
    assert_eq!(told.json().await, error("Access denied"));
    assert_eq!(told.close_code().await, 4003);

    let mut ann = connect(&wharf, anns()).await;
    let read = |document: &str| json!({ "type": "read", "document": document });
    assert_eq!(ann.ask_json(read("b")).await, json!({ "type": "document", "document": "b" }));
    assert_eq!(ann.ask_json(read("c")).await, error("Access denied"));
    let mut bob = connect(&wharf, json!({ "sub": "bob", "documents": ["*"] })).await;
    assert_eq!(bob.ask_json(read("c")).await, json!({ "type": "document", "document": "c" }));
}

#[tokio::test]
async fn a_connection_ends_with_its_token_unless_the_client_brings_a_new_one() {
    let wharf = started().await;
    let short = || json!({ "sub": "ann", "exp": in_seconds(2) });
    let mut ann = connect(&wharf, short()).await;
    let mut careful = connect(&wharf, short()).await;
    let renew = |claims: Value| json!({ "type": "renew", "token": hs256(claims) });
    let answer = careful.ask_json(renew(json!({ "sub": "bob" }))).await;
    assert_eq!(answer, error("This token is somebody else's"));
    let answer = careful.ask_json(renew(json!({ "sub": "ann", "exp": in_seconds(-1) }))).await;
    assert_eq!(answer, error("Token expired"));
    assert_eq!(careful.ask_json(renew(anns())).await["type"], "renewed");
    assert_eq!(ann.json().await, error("Token expired"));
    assert_eq!(ann.ended().await, Ended::Closed(4001, "Token expired".to_owned()));
    let read = json!({ "type": "read", "document": "a" });
    assert_eq!(careful.ask_json(read).await["document"], "a");
    let lines = wharf.log.lines();
    assert!(!lines.iter().any(|line| line.text.contains(tokens::SECRET)));
}
