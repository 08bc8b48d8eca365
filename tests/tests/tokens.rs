//! Tokens that the host checks before any plugin runs.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;
use tokio_tungstenite::tungstenite::Message;
use wharf_tests::tokens::{self, Algorithm, hs256, hs256_with, in_seconds, key_file, signed};
use wharf_tests::{Client, Ended, Line, Rejected, Value, Wharf, artefacts, json, run_in};

/// Makes a folder with the plugins `vouched` and `echo`, and this configuration.
pub(crate) fn folder(file: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::create_dir(folder.path().join("plugins")).expect("a folder");
    for name in ["vouched", "echo"] {
        let path = folder.path().join(format!("plugins/{name}.wasm"));
        fs::write(path, artefacts::component(name)).expect("a plugin");
    }
    fs::write(folder.path().join("wharf.toml"), file).expect("a file");
    folder
}

/// Starts a host whose channel `vouched` has a table `token` with these lines.
pub(crate) async fn started(lines: &str) -> Wharf {
    let file = format!("[channels.vouched.token]\n{lines}\n");
    Wharf::start_in(folder(&file), &[]).await
}

/// Returns the line for [`tokens::SECRET`].
pub(crate) fn secret() -> String {
    format!("secret = \"{}\"\n", tokens::SECRET)
}

pub(crate) async fn with_header(wharf: &Wharf, token: &str) -> Result<Client, Rejected> {
    wharf.try_connect("/vouched", &[("authorization", &format!("Bearer {token}"))]).await
}

/// Connects with a token that must be accepted, and returns the claims that the plugin sees.
pub(crate) async fn admitted(wharf: &Wharf, token: &str) -> (Client, Value) {
    let mut client = with_header(wharf, token).await.expect("a token that holds");
    let claims = client.json().await["claims"].clone();
    (client, claims)
}

/// Connects with a token that must be refused, and returns the reason in the log.
pub(crate) async fn refused(wharf: &Wharf, token: &str) -> String {
    let start = wharf.log.len();
    let rejected = with_header(wharf, token).await.expect_err("a token that does not hold");
    assert_eq!(rejected.status, 401);
    assert_eq!(rejected.headers["www-authenticate"], "Bearer error=\"invalid_token\"");
    let is_refusal = |line: &Line| line.says("token refused");
    let line = wharf.log.wait_for_after(start, "the refusal", is_refusal).await;
    assert_eq!(line.str("channel"), "vouched");
    let is_there = !token.is_empty() && line.text.contains(token);
    assert!(!is_there, "the token is in the log: {line}");
    line.str("why").to_owned()
}

#[tokio::test]
async fn a_token_in_the_header_or_in_the_query_is_let_in_and_its_claims_are_seen() {
    let wharf = started(&secret()).await;
    let token = hs256(json!({ "sub": "ann", "role": "clerk", "n": 1.5 }));
    let (mut client, claims) = admitted(&wharf, &token).await;
    assert_eq!((&claims["sub"], &claims["n"]), (&json!("ann"), &json!(1.5)));
    // Later events see the claims too.
    assert_eq!(client.ask_json(json!({ "type": "claims" })).await["claims"], claims);
    let mut client = wharf.connect(&format!("/vouched?a=b&token={token}&token=x")).await;
    assert_eq!(client.json().await["claims"], claims);
    for headers in [
        ("Authorization", format!("bearer {token}")),
        ("AUTHORIZATION", format!("Bearer  {token}")),
    ] {
        let header = (headers.0, headers.1.as_str());
        assert!(wharf.try_connect("/vouched", &[header]).await.is_ok(), "{headers:?}");
    }
    // Another channel needs no token.
    assert_eq!(wharf.connect("/echo").await.ask("hi").await, "hi");
}

#[tokio::test]
async fn what_does_not_hold_is_refused_before_the_plugin_runs_and_the_log_says_why() {
    let wharf = started(&format!("{}issuer = \"us\"\naudience = [\"a\", \"b\"]\n", secret())).await;
    let good = json!({ "sub": "ann", "iss": "us", "aud": ["x", "b"] });
    let with = |name: &str, value: Value| {
        let mut claims = tokens::lasting(good.clone());
        match value {
            Value::Null => drop(claims.as_object_mut().map(|claims| claims.remove(name))),
            value => claims[name] = value,
        }
        claims
    };
    admitted(&wharf, &hs256(good.clone())).await;
    let no_expiry = {
        let claims = json!({ "sub": "ann", "iss": "us", "aud": "a", "exp": "soon" });
        hs256(claims)
    };
    let bad_signature = {
        let token = hs256(good.clone());
        let (signed, _) = token.rsplit_once('.').expect("a signature");
        format!("{signed}.{}", hs256(json!({})).rsplit('.').next().expect("a signature"))
    };
    let header = |text: &str| tokens::forged(&text.parse().expect("JSON"), good.clone(), b"");
    for (token, words) in [
        (bad_signature, "signature"),
        (hs256_with("another secret, which is long enough", good.clone()), "signature"),
        (header(r#"{"alg":"none","typ":"JWT"}"#), "not a JSON Web Token"),
        (header(r#"{"alg":"None"}"#), "not a JSON Web Token"),
        (header(r#"{"typ":"JWT"}"#), "not a JSON Web Token"),
        (header(r#"{"alg":"HS256"}"#), "signature"),
        (header(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#), "crit"),
        (signed(Algorithm::RS256, None, good.clone()), "algorithm"),
        (signed(Algorithm::ES256, None, good.clone()), "algorithm"),
        (hs256(with("exp", json!(in_seconds(-1)))), "expired"),
        (hs256(with("exp", json!(0))), "expired"),
        (no_expiry, "expiry"),
        (hs256(with("nbf", json!(in_seconds(3600)))), "not valid yet"),
        (hs256(with("aud", json!("c"))), "audience"),
        (hs256(with("aud", Value::Null)), "audience"),
        (hs256(with("iss", json!("them"))), "issuer"),
        (hs256(with("iss", Value::Null)), "issuer"),
        ("no.token.at.all".to_owned(), "not a JSON Web Token"),
        ("..".to_owned(), "not a JSON Web Token"),
        ("x".repeat(14_000), "not a JSON Web Token"),
    ] {
        let why = refused(&wharf, &token).await;
        assert!(why.contains(words), "{why:?} should speak of {words:?}");
        // Lines about refused tokens are limited to ten a second, and each of them is needed here.
        tokio::time::sleep(Duration::from_millis(120)).await;
    }
    for path in ["/vouched", "/vouched?token=", "/vouched?tokens=x", "/vouched?token"] {
        let rejected = wharf.try_connect(path, &[]).await.expect_err("no token");
        assert_eq!(rejected.status, 401, "{path}");
    }
    let basic = ("authorization", "Basic YW5uOmFubg==");
    assert_eq!(wharf.try_connect("/vouched", &[basic]).await.expect_err("no token").status, 401);
    let called = wharf.log.find(|line| line.says("on_connect")).len();
    assert_eq!(called, 1, "only the good one has reached the plugin");
}

#[tokio::test]
async fn a_public_key_decides_the_algorithm_and_is_never_taken_for_a_secret() {
    let ours = json!({ "sub": "ann" });
    for (file, good, bad) in [
        ("rsa.public.pem", Algorithm::RS256, Algorithm::ES256),
        ("ec.public.pem", Algorithm::ES256, Algorithm::RS256),
        ("ed25519.public.pem", Algorithm::EdDSA, Algorithm::RS256),
        ("rsa.certificate.pem", Algorithm::RS256, Algorithm::EdDSA),
        ("ed25519.certificate.pem", Algorithm::EdDSA, Algorithm::ES256),
    ] {
        let path = key_file(file);
        let wharf = started(&format!("public_key = {:?}", path.display().to_string())).await;
        let (_, claims) = admitted(&wharf, &signed(good, None, ours.clone())).await;
        assert_eq!(claims["sub"], "ann");
        let as_secret = fs::read_to_string(&path).expect("a key");
        for token in [
            hs256_with(&as_secret, ours.clone()),
            hs256_with(as_secret.trim(), ours.clone()),
            signed(bad, None, ours.clone()),
            tokens::forged(&json!({ "alg": "none" }), ours.clone(), b""),
        ] {
            let why = refused(&wharf, &token).await;
            assert!(
                why.contains("algorithm") || why.contains("not a JSON Web Token"),
                "{file}: {why}"
            );
        }
    }
    let rs384 = signed(Algorithm::RS384, None, ours.clone());
    let wharf = started(&format!("public_key = {:?}", key_file("rsa.public.pem"))).await;
    assert!(refused(&wharf, &rs384).await.contains("algorithm"));
}

#[tokio::test]
async fn a_key_set_has_several_keys_and_is_read_again_when_its_file_changes() {
    let folder = folder("[channels.vouched.token]\njwks = \"keys.json\"\n");
    let file = folder.path().join("keys.json");
    let both = [("one", Algorithm::RS256), ("two", Algorithm::ES256)];
    fs::write(&file, tokens::key_set(&both)).expect("a file");
    let wharf = Wharf::start_in(folder, &[]).await;
    let ann = || json!({ "sub": "ann" });
    admitted(&wharf, &signed(Algorithm::RS256, Some("one"), ann())).await;
    let (mut client, _) = admitted(&wharf, &signed(Algorithm::ES256, Some("two"), ann())).await;
    for (algorithm, kid, words) in [
        (Algorithm::RS256, Some("three"), "not in the key set"),
        (Algorithm::RS256, None, "which key"),
        // A key of another name is not tried, and the key has its own algorithm.
        (Algorithm::RS256, Some("two"), "algorithm"),
    ] {
        let why = refused(&wharf, &signed(algorithm, kid, ann())).await;
        assert!(why.contains(words), "{why}");
    }
    // The keys change: the old one is out, the new one is in, and open connections stay open.
    let write = |text: &str| {
        fs::write(file.with_extension("new"), text).expect("a file");
        fs::rename(file.with_extension("new"), &file).expect("a file");
    };
    write(&tokens::key_set(&[("three", Algorithm::ES256)]));
    wharf_tests::eventually("the new key", async || {
        let token = signed(Algorithm::ES256, Some("three"), ann());
        with_header(&wharf, &token).await.ok()
    })
    .await;
    let old = with_header(&wharf, &signed(Algorithm::RS256, Some("one"), ann())).await;
    assert_eq!(old.expect_err("its key is gone").status, 401);
    assert_eq!(client.ask_json(json!({ "type": "claims" })).await["claims"]["sub"], "ann");
    // A file that cannot be used changes nothing.
    let start = wharf.log.len();
    write("{ \"keys\": [");
    wharf_tests::eventually("the complaint", async || {
        admitted(&wharf, &signed(Algorithm::ES256, Some("three"), ann())).await;
        let complaint = "the keys for tokens stay as they were";
        wharf.log.lines().into_iter().skip(start).find(|line| line.says(complaint))
    })
    .await;
    // A set with one key needs no name.
    write(&tokens::key_set(&[("four", Algorithm::ES256)]));
    wharf_tests::eventually("the only key", async || {
        with_header(&wharf, &signed(Algorithm::ES256, None, ann())).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_token_that_expires_closes_its_connection_with_1008() {
    let wharf = started(&secret()).await;
    let token = hs256(json!({ "sub": "ann", "exp": in_seconds(2) }));
    let (mut client, _) = admitted(&wharf, &token).await;
    let lasting = hs256(json!({ "sub": "bob" }));
    let (mut other, _) = admitted(&wharf, &lasting).await;
    assert_eq!(client.ended().await, Ended::Closed(1008, "token-expired".to_owned()));
    let closed = |line: &Line| line.begins("on_close");
    let line = wharf.log.wait_for("on_close", closed).await;
    let expected = "on_close Some(1008) \"token-expired\" Some(\"token-expired\") true";
    assert_eq!(line.message(), expected);
    assert_eq!(other.ask_json(json!({ "type": "claims" })).await["claims"]["sub"], "bob");
    let why = refused(&wharf, &token).await;
    assert!(why.contains("expired"), "{why}");
}

#[tokio::test]
async fn neither_a_client_that_never_stops_nor_a_handler_that_waits_outlives_the_token() {
    let file = format!("close_timeout_ms = 500\n[channels.vouched.token]\n{}", secret());
    let wharf = Wharf::start_in(folder(&file), &[]).await;
    let expiring = || hs256(json!({ "sub": "ann", "exp": in_seconds(2) }));
    let (mut chatty, _) = admitted(&wharf, &expiring()).await;
    let (mut napping, _) = admitted(&wharf, &expiring()).await;
    napping.send_json(json!({ "type": "nap", "ms": 3000 })).await;
    let end = loop {
        let sent = chatty.try_send(Message::text(r#"{"type":"claims"}"#)).await;
        if !sent {
            break chatty.rest().await.1;
        }
    };
    // The connection may have been cut while it was still sending.
    assert!(
        [Ended::Closed(1008, "token-expired".to_owned()), Ended::Cut].contains(&end),
        "{end:?}"
    );
    // Messages of the handler before that count. Then the connection is over.
    let (messages, end) = napping.rest().await;
    assert_eq!(end, Ended::Closed(1008, "token-expired".to_owned()), "{messages:?}");
}

#[tokio::test]
async fn a_renewed_token_has_new_claims_and_a_later_end() {
    let wharf = started(&secret()).await;
    let first = hs256(json!({ "sub": "ann", "exp": in_seconds(2), "role": "guest" }));
    let (mut client, _) = admitted(&wharf, &first).await;
    let (mut unlucky, _) = admitted(&wharf, &first).await;
    let renew = |token: &str| json!({ "type": "renew", "token": token });
    for (token, code) in [
        (hs256(json!({ "sub": "bob" })), "token-subject-changed"),
        (hs256(json!({})), "token-subject-changed"),
        (
            hs256_with("another secret, which is long enough", json!({ "sub": "ann" })),
            "token-invalid",
        ),
        (hs256(json!({ "sub": "ann", "exp": in_seconds(-10) })), "token-invalid"),
        ("x".repeat(20_000), "token-invalid"),
        (String::new(), "token-invalid"),
    ] {
        let answer = client.ask_json(renew(&token)).await;
        assert_eq!(answer["code"], code, "{answer}");
        assert!(!answer["detail"].as_str().expect("text").contains("xxx"));
    }
    let answer = client.ask_json(json!({ "type": "claims" })).await;
    assert_eq!(answer["claims"]["role"], "guest");
    let second = hs256(json!({ "sub": "ann", "role": "clerk" }));
    assert_eq!(client.ask_json(renew(&second)).await["claims"]["role"], "clerk");
    // The first token expires, which no longer concerns this connection.
    assert_eq!(unlucky.close_code().await, 1008);
    let answer = client.ask_json(json!({ "type": "claims" })).await;
    assert_eq!(answer["claims"]["role"], "clerk");
    // An earlier expiry is kept too, even if the event fails.
    let third = hs256(json!({ "sub": "ann", "exp": in_seconds(2) }));
    client.send_json(json!({ "type": "renew_in_vain", "token": third })).await;
    assert_eq!(client.rest().await.1, Ended::Closed(1008, "token-expired".to_owned()));
}

#[tokio::test]
async fn a_renewed_token_is_of_the_same_subject_and_issuer() {
    let wharf = started(&format!("{}issuer = [\"us\", \"them\"]", secret())).await;
    let ours = |sub: Value| json!({ "sub": sub, "iss": "us" });
    let theirs = |sub: Value| json!({ "sub": sub, "iss": "them" });
    for (first, second, is_same) in [
        (ours(json!(1)), ours(json!(1)), true),
        (ours(json!("ann")), ours(json!("ann")), true),
        (ours(json!(1)), ours(json!(2)), false),
        (ours(json!(1)), ours(json!("1")), false),
        (ours(json!("ann")), theirs(json!("ann")), false),
        (json!({ "iss": "us" }), json!({ "iss": "us" }), false),
        (json!({ "iss": "us" }), ours(json!("ann")), false),
        (ours(json!(null)), ours(json!(null)), false),
    ] {
        let (mut client, claims) = admitted(&wharf, &hs256(first)).await;
        let renew = json!({ "type": "renew", "token": hs256(second.clone()) });
        let answer = client.ask_json(renew).await;
        match is_same {
            true => assert_eq!(answer["claims"]["sub"], second["sub"], "{answer}"),
            false => assert_eq!(answer["code"], "token-subject-changed", "{claims} {second}"),
        }
    }
}

#[tokio::test]
async fn a_channel_without_rules_has_no_claims_and_renews_nothing() {
    let wharf = Wharf::start_in(folder(""), &[]).await;
    let mut client = wharf.connect("/vouched?token=x").await;
    assert_eq!(client.json().await["claims"], Value::Null);
    let token = hs256(json!({}));
    let answer = client.ask_json(json!({ "type": "renew", "token": token })).await;
    assert_eq!(answer["code"], "no-token-rules");
    let detail = answer["detail"].as_str().expect("text");
    assert!(detail.contains("[channels.vouched.token]"), "{detail}");
}

#[tokio::test]
async fn where_none_is_required_a_token_can_be_brought_later() {
    let wharf = started(&format!("{}required = false", secret())).await;
    let mut client = wharf.connect("/vouched").await;
    assert_eq!(client.json().await["claims"], Value::Null);
    let token = hs256(json!({ "sub": "ann", "exp": in_seconds(2) }));
    let answer = client.ask_json(json!({ "type": "renew", "token": token })).await;
    assert_eq!(answer["claims"]["sub"], "ann");
    assert_eq!(client.close_code().await, 1008);
    // A bad token is refused all the same.
    assert!(refused(&wharf, &hs256_with("x", json!({}))).await.contains("signature"));
}

#[tokio::test]
async fn rules_for_all_channels_hold_unless_a_channel_has_its_own() {
    let file =
        format!("[token]\n{}query_parameter = \"jwt\"\n[channels.echo]\ntoken = false\n", secret());
    let wharf = Wharf::start_in(folder(&file), &[]).await;
    assert_eq!(wharf.connect("/echo").await.ask("hi").await, "hi");
    assert_eq!(wharf.try_connect("/vouched", &[]).await.expect_err("no token").status, 401);
    let token = hs256(json!({ "sub": "ann" }));
    let other = wharf.try_connect(&format!("/vouched?token={token}"), &[]).await;
    assert_eq!(other.expect_err("another parameter").status, 401);
    wharf.connect(&format!("/vouched?jwt={token}")).await;
}

#[tokio::test]
async fn the_leeway_moves_every_date() {
    let wharf = started(&format!("{}leeway_seconds = 100", secret())).await;
    for claims in [json!({ "exp": in_seconds(-50) }), json!({ "nbf": in_seconds(50) })] {
        admitted(&wharf, &hs256(claims)).await;
    }
    assert!(refused(&wharf, &hs256(json!({ "exp": in_seconds(-101) }))).await.contains("expired"));
}

#[tokio::test]
async fn a_token_for_an_audience_is_not_for_a_channel_that_names_none() {
    let wharf = started(&secret()).await;
    let why = refused(&wharf, &hs256(json!({ "aud": "somebody else" }))).await;
    assert!(why.contains("`audience`"), "{why}");
}

#[test]
fn a_mistake_in_the_rules_keeps_the_host_from_starting() {
    for (lines, words) in [
        ("", ["channels.vouched.token", "give one of `secret`"]),
        ("issuer = \"us\"", ["channels.vouched.token", "wharf.toml"]),
        ("secret = \"a\"\njwks = \"b\"", ["channels.vouched.token", "one of"]),
        ("secret = { env = \"NOT_SET\" }", ["channels.vouched.token.secret", "NOT_SET"]),
        ("secert = \"a\"", ["channels.vouched.token.secert", "`secret`"]),
        ("leeway_seconds = 601", ["leeway_seconds", "600"]),
        ("required = \"maybe\"", ["required", "true"]),
    ] {
        let folder = folder(&format!("[channels.vouched.token]\n{lines}\n"));
        complains(&folder, Some(2), &words);
    }
}

/// Asserts that the host does not start, with these words in its error.
#[track_caller]
pub(crate) fn complains(folder: &TempDir, code: Option<i32>, words: &[&str]) {
    let output = run_in(folder.path(), &["serve", "--listen", "127.0.0.1:0"], &[]);
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), code, "{complaint}");
    for word in words {
        assert!(complaint.contains(word), "no {word:?}: {complaint}");
    }
}

#[tokio::test]
async fn a_plugin_that_reads_claims_without_token_rules_is_told_of_once_in_a_generation() {
    let wharf = Wharf::start_in(folder(""), &[]).await;
    let is_hint = |line: &Line| line.text.contains("reads the claims of tokens");
    let mut first = wharf.connect("/vouched").await;
    assert_eq!(first.json().await["claims"], Value::Null);
    let line = wharf.log.wait_for("the hint", is_hint).await;
    assert_eq!(line.str("channel"), "vouched");
    assert!(line.text.contains("[channels.vouched.token]"), "{line}");
    let mut second = wharf.connect("/vouched").await;
    assert_eq!(second.json().await["claims"], Value::Null);
    assert_eq!(wharf.log.find(is_hint).len(), 1);
    let mut next = artefacts::component("vouched");
    next.extend_from_slice(&[0, 3, 2, b'v', b'2']);
    let start = wharf.log.len();
    wharf.swap("vouched", &next).await;
    let mut third = wharf.connect("/vouched").await;
    assert_eq!(third.json().await["claims"], Value::Null);
    wharf.log.wait_for_after(start, "the hint about the next generation", is_hint).await;
    assert_eq!(wharf.log.find(is_hint).len(), 2);
}

#[tokio::test]
async fn a_client_without_a_token_where_tokens_are_optional_is_no_reason_for_a_hint() {
    let wharf = started(&format!("{}required = false", secret())).await;
    let mut client = wharf.connect("/vouched").await;
    assert_eq!(client.json().await["claims"], Value::Null);
    assert!(wharf.log.find(|line| line.text.contains("reads the claims")).is_empty());
}
