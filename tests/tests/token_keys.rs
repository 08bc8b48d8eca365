//! Keys for tokens: their forms, and keys that cannot be used, which are their channel's problem and not the
//! host's.

use std::fs;
use std::path::Path;

use wharf_tests::operator::TOKEN;
use wharf_tests::tokens::{self, Algorithm, SECRET, hs256, hs256_with, key_file, signed};
use wharf_tests::{Line, Operated, Value, Wharf, eventually, json};

use crate::tokens::{admitted, folder, refused, started, with_header};

/// Replaces a file in one step.
fn replace(file: &Path, contents: impl AsRef<[u8]>) {
    fs::write(file.with_extension("new"), contents).expect("a file");
    fs::rename(file.with_extension("new"), file).expect("a file");
}

/// Waits until a token is accepted.
async fn until_admitted(wharf: &Wharf, token: &str) {
    eventually("the token to be accepted", async || with_header(wharf, token).await.ok()).await;
}

/// Waits until a token is answered with this status.
async fn until_refused(wharf: &Wharf, token: &str, status: u16) {
    eventually("another answer", async || {
        with_header(wharf, token).await.err().filter(|rejected| rejected.status == status)
    })
    .await;
}

fn ann() -> Value {
    json!({ "sub": "ann" })
}

#[tokio::test]
async fn an_ed25519_key_signs_tokens_by_itself_and_in_a_mixed_set() {
    let folder = folder("[channels.vouched.token]\njwks = \"keys.json\"\n");
    let both = [("one", Algorithm::ES256), ("two", Algorithm::EdDSA)];
    let set = tokens::key_set(&both);
    let odd = r#"{"keys":[{"kty":"OKP","crv":"Ed448","kid":"three","x":"AAAA"},"#;
    let set = set.replace("{\"keys\":[", odd);
    fs::write(folder.path().join("keys.json"), set).expect("a file");
    let wharf = Wharf::start_in(folder, &[]).await;
    let is_warning = |line: &Line| line.says("some keys for tokens are left out");
    let line = wharf.log.wait_for("the warning about the odd key", is_warning).await;
    assert_eq!(line.str("left_out"), "keys that are not supported: 1 OKP/Ed448");
    assert_eq!(line.str("tables"), "channels.vouched.token");
    for (name, algorithm) in both {
        admitted(&wharf, &signed(algorithm, Some(name), ann())).await;
    }
    let crossed = signed(Algorithm::EdDSA, Some("one"), ann());
    assert!(refused(&wharf, &crossed).await.contains("algorithm"));
    let odd = signed(Algorithm::EdDSA, Some("three"), ann());
    assert!(refused(&wharf, &odd).await.contains("not supported"));
}

#[tokio::test]
async fn a_secret_is_text_base64_or_the_bytes_of_a_file() {
    let token = hs256(ann());
    let (base64, base64url) = (
        "dGhlIHNlY3JldCBvZiB0aGUgdGVzdHMsIDMyIGJ5dGVzIG9yIG1vcmU=",
        "dGhlIHNlY3JldCBvZiB0aGUgdGVzdHMsIDMyIGJ5dGVzIG9yIG1vcmU",
    );
    for (lines, contents) in [
        (format!("secret = \"{base64}\"\nsecret_encoding = \"base64\""), ""),
        (format!("secret = \"{base64url}\"\nsecret_encoding = \"base64url\""), ""),
        (
            "secret = { file = \"secret\" }".to_owned(),
            "the secret of the tests, 32 bytes or more\n",
        ),
        (
            "secret = { file = \"secret\" }\nsecret_encoding = \"base64\"".to_owned(),
            "dGhlIHNlY3JldCBvZiB0aGUgdGVzdHMs\nIDMyIGJ5dGVzIG9yIG1vcmU=\n",
        ),
        ("secret = { file = \"secret\" }\nsecret_encoding = \"bytes\"".to_owned(), SECRET),
    ] {
        let folder = folder(&format!("[channels.vouched.token]\n{lines}\n"));
        fs::write(folder.path().join("secret"), contents).expect("a file");
        let wharf = Wharf::start_in(folder, &[]).await;
        admitted(&wharf, &token).await;
        assert!(refused(&wharf, &hs256_with(base64, ann())).await.contains("signature"), "{lines}");
    }
    // Without its form the text itself is the secret.
    let wharf = started(&format!("secret = \"{base64}\"")).await;
    admitted(&wharf, &hs256_with(base64, ann())).await;
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_its_channels_problem_until_it_is_good() {
    let good = signed(Algorithm::ES256, None, ann());
    let key = fs::read(key_file("ec.public.pem")).expect("a key");
    for (file, words) in [
        (None, ["No such file"]),
        (Some("p384.public.pem"), ["(EC P-384)"]),
        (Some("rsa1024.public.pem"), ["of 1024 bits"]),
        (Some("ec.pem"), ["private key"]),
        (Some("README.md"), ["plain text"]),
    ] {
        let folder = folder("[channels.vouched.token]\npublic_key = \"key.pem\"\n");
        let path = folder.path().join("key.pem");
        if let Some(file) = file {
            fs::copy(key_file(file), &path).expect("a file");
        }
        let wharf = Wharf::start_in(folder, &[]).await;
        let is_complaint = |line: &Line| line.begins("the keys for tokens cannot be used");
        let line = wharf.log.wait_for("the complaint", is_complaint).await;
        assert_eq!(line.str("tables"), "channels.vouched.token");
        assert!(line.str("place").ends_with("key.pem"), "{line}");
        for word in words {
            assert!(line.str("reason").contains(word), "no {word:?}: {line}");
        }
        // The other channel serves, and the host says that it is ready.
        assert_eq!(wharf.connect("/echo").await.ask("hi").await, "hi");
        let mut raw = wharf.raw().await;
        raw.request("GET /readyz", &[]).await;
        let ready = raw.answer().await;
        assert_eq!(ready.status, 200, "{}", ready.text());
        assert!(ready.text().contains("keys for tokens that cannot be read 1"), "{}", ready.text());
        let rejected = with_header(&wharf, &good).await.expect_err("no keys");
        assert_eq!(
            (rejected.status, &rejected.headers["retry-after"]),
            (503, &"1".parse().expect("a value"))
        );
        // A client without a token is at fault, whatever the keys are.
        let rejected = wharf.try_connect("/vouched", &[]).await.expect_err("no token");
        assert_eq!(rejected.status, 401);
        // The file becomes good, and nothing is restarted.
        replace(&path, &key);
        until_admitted(&wharf, &good).await;
        let is_cure = |line: &Line| line.says("the keys for tokens can be used now");
        wharf.log.wait_for("the cure", is_cure).await;
        assert_eq!(
            wharf.log.find(is_complaint).len(),
            1,
            "one line, however often it was looked at"
        );
    }
}

#[tokio::test]
async fn a_key_set_that_cannot_be_used_names_what_was_found() {
    for (contents, word) in [
        ("[]", "JSON without keys"),
        (r#"{"keys":[]}"#, "no public key for"),
        (r#"{"keys":[{"kty":"oct","kid":"a","k":"c2VjcmV0"}]}"#, "1 oct"),
        (r#"{"keys":[{"kty":"OKP","crv":"Ed448","kid":"a","x":"AAAA"}]}"#, "1 OKP/Ed448"),
        (r#"{"kty":"OKP","crv":"Ed25519","kid":"a","x":"AAAA"}"#, "a single JSON Web Key"),
        ("a secret that is long enough for HS256", "`secret` is for that"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "`public_key` is for that",
        ),
    ] {
        let folder = folder("[token]\njwks = \"keys.json\"\n");
        fs::write(folder.path().join("keys.json"), contents).expect("a file");
        let wharf = Wharf::start_in(folder, &[]).await;
        let is_complaint = |line: &Line| line.begins("the keys for tokens cannot be used");
        let line = wharf.log.wait_for("the complaint", is_complaint).await;
        assert!(line.str("reason").contains(word), "no {word:?}: {line}");
        assert_eq!(line.str("tables"), "token");
        assert!(!line.text.contains("a secret that"), "{line}");
    }
}

#[tokio::test]
async fn a_file_of_a_key_may_change_in_every_way_and_the_last_good_key_stays() {
    let folder = folder("[channels.vouched.token]\nsecret = { file = \"secret\" }\n");
    let file = folder.path().join("secret");
    let (first, second) =
        ("the first secret, which is long enough", "the 2nd secret, which is longer enough");
    fs::write(&file, first).expect("a file");
    let times = fs::metadata(&file).and_then(|found| found.modified()).expect("a time");
    let wharf = Wharf::start_in(folder, &[]).await;
    let by = |secret: &str| hs256_with(secret, ann());
    admitted(&wharf, &by(first)).await;
    // The same size and the same time of modification, in the same file.
    assert_eq!(first.len(), second.len());
    fs::write(&file, second).expect("a file");
    let same =
        fs::File::options().write(true).open(&file).and_then(|file| file.set_modified(times));
    same.expect("a time that can be set");
    until_admitted(&wharf, &by(second)).await;
    until_refused(&wharf, &by(first), 401).await;
    // It vanishes, and becomes a folder: the last good key stays.
    let start = wharf.log.len();
    let stays = |line: &Line| line.says("the keys for tokens stay as they were");
    fs::remove_file(&file).expect("a file");
    let line = wharf.log.wait_for_after(start, "the complaint", stays).await;
    assert!(line.str("reason").contains("No such file"), "{line}");
    let start = wharf.log.len();
    fs::create_dir(&file).expect("a folder");
    let line = wharf.log.wait_for_after(start, "another complaint", stays).await;
    assert_eq!(line.str("reason"), "it is a folder");
    admitted(&wharf, &by(second)).await;
    // A link to another file, and back.
    fs::remove_dir(&file).expect("a folder");
    let other = file.with_file_name("other");
    fs::write(&other, first).expect("a file");
    std::os::unix::fs::symlink(&other, &file).expect("a link");
    until_admitted(&wharf, &by(first)).await;
    assert_eq!(with_header(&wharf, &by(second)).await.expect_err("the old key").status, 401);
}

#[tokio::test]
async fn a_pipe_in_place_of_a_key_is_not_waited_for() {
    let file = "[channels.vouched.token]\npublic_key = \"pipe\"\n";
    let folder = folder(file);
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status();
    assert!(made.expect("mkfifo runs").success());
    let wharf = Wharf::start_in(folder, &[]).await;
    let is_complaint = |line: &Line| line.begins("the keys for tokens cannot be used");
    let line = wharf.log.wait_for("the complaint", is_complaint).await;
    assert_eq!(line.str("reason"), "it is not a regular file");
    assert_eq!(wharf.connect("/echo").await.ask("hi").await, "hi");
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_among_what_the_operator_asks_for() {
    let file = format!(
        "operator_token = \"{TOKEN}\"\noperator_listen = \"127.0.0.1:0\"\n\
         [channels.vouched.token]\njwks = \"keys.json\"\n[channels.vouched.token.keys.ours]\nsecret = \"{SECRET}\"\n"
    );
    let folder = folder(&file);
    let path = folder.path().join("keys.json");
    let wharf = Wharf::start_in(folder, &[]).await;
    let line = wharf.log.wait_for("the API", |line| line.says("listening for the operator")).await;
    let api = line.str("address").parse().expect("an address");
    let operated = Operated { wharf, api };
    let unusable = async || operated.get("").await.1["unusable_keys"].clone();
    let found = eventually("the keys in the answer", async || {
        Some(unusable().await).filter(|found| found[0].is_object())
    });
    let found = found.await;
    assert_eq!(found[0]["tables"], json!(["channels.vouched.token"]));
    assert_eq!(found[0]["place"], "keys.json");
    assert!(found[0]["reason"].as_str().is_some_and(|why| why.contains("No such file")), "{found}");
    assert_eq!(found[0]["earlier_keys_serve"], false);
    // The other set of keys is used.
    admitted(&operated.wharf, &hs256(ann())).await;
    replace(&path, tokens::key_set(&[("one", Algorithm::EdDSA)]));
    until_admitted(&operated.wharf, &signed(Algorithm::EdDSA, Some("one"), ann())).await;
    assert_eq!(unusable().await, json!([]));
    replace(&path, "{");
    let found = eventually("the bad file in the answer", async || {
        Some(unusable().await).filter(|found| found[0].is_object())
    });
    assert_eq!(found.await[0]["earlier_keys_serve"], true);
}

#[tokio::test]
async fn two_issuers_have_their_own_keys_even_if_those_have_the_same_name() {
    let file = "[channels.vouched.token]\naudience = \"chat\"\n\
                [channels.vouched.token.keys.us]\njwks = \"us.json\"\nissuer = \"us\"\n\
                [channels.vouched.token.keys.them]\njwks = \"them.json\"\nissuer = \"them\"\n";
    let folder = folder(file);
    let put = |name: &str, algorithm| {
        fs::write(folder.path().join(name), tokens::key_set(&[("one", algorithm)]))
            .expect("a file");
    };
    put("us.json", Algorithm::ES256);
    put("them.json", Algorithm::EdDSA);
    let wharf = Wharf::start_in(folder, &[]).await;
    let claims =
        |issuer: &str, audience: &str| json!({ "sub": "ann", "iss": issuer, "aud": audience });
    let (mut client, _) =
        admitted(&wharf, &signed(Algorithm::ES256, Some("one"), claims("us", "chat"))).await;
    admitted(&wharf, &signed(Algorithm::EdDSA, Some("one"), claims("them", "chat"))).await;
    for (algorithm, kid, claims, word) in [
        // Each issuer could sign tokens of the other.
        (Algorithm::ES256, "one", claims("them", "chat"), "algorithm"),
        (Algorithm::EdDSA, "one", claims("us", "chat"), "algorithm"),
        (Algorithm::EdDSA, "one", claims("them", "mail"), "audience"),
        (Algorithm::EdDSA, "two", claims("them", "chat"), "not in the key set"),
        (Algorithm::EdDSA, "one", claims("nobody", "chat"), "issuer"),
    ] {
        let why = refused(&wharf, &signed(algorithm, Some(kid), claims.clone())).await;
        assert!(why.contains(word), "{claims}: {why}");
    }
    let theirs = signed(Algorithm::EdDSA, Some("one"), claims("them", "chat"));
    let answer = client.ask_json(json!({ "type": "renew", "token": theirs })).await;
    assert_eq!(answer["code"], "token-subject-changed");
}
