//! The examples of `docs/operator-api.md` and `docs/demo.md` run as they are written.

use std::path::Path;
use std::process::Command;

use wharf_tests::operator::TOKEN;
use wharf_tests::{Operated, Value, artefacts, eventually, json};

/// Returns the commands, each with the answer that the page shows for it.
fn examples() -> Vec<(String, Value)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operator-api.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let mut blocks = page.split("```").skip(1).step_by(2);
    let mut examples = Vec::new();
    while let Some(block) = blocks.next() {
        if let Some(command) = block.strip_prefix("sh\n")
            && command.starts_with("curl")
        {
            let answer = blocks.next().and_then(|block| block.strip_prefix("json\n"));
            let answer = answer.unwrap_or_else(|| panic!("no answer is shown for {command}"));
            examples.push((command.to_owned(), answer.parse().expect("the answer is JSON")));
        }
    }
    examples
}

/// Returns true if two answers have the same fields of the same types. Lists are compared by their
/// first entry.
fn has_form_of(answer: &Value, shown: &Value) -> bool {
    match (answer, shown) {
        (Value::Object(answer), Value::Object(shown)) => {
            answer.keys().eq(shown.keys())
                && shown.iter().all(|(name, value)| has_form_of(&answer[name], value))
        }
        (Value::Array(answer), Value::Array(shown)) => match (answer.first(), shown.first()) {
            (Some(answer), Some(shown)) => has_form_of(answer, shown),
            (answer, shown) => answer.is_none() == shown.is_none(),
        },
        (answer, shown) => std::mem::discriminant(answer) == std::mem::discriminant(shown),
    }
}

#[tokio::test]
async fn the_examples_of_the_operators_page_do_what_it_says() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("plugins")).expect("a folder");
    let chat = folder.path().join("plugins/chat.wasm");
    std::fs::write(chat, artefacts::component("operated")).expect("a plugin");
    let it = Operated::start_in(folder, &[]).await;
    let mut ann = it.wharf.connect("/operated/lobby?user=ann&join=lobby&role=moderator").await;
    let connection = ann.ask("id").await;
    assert_eq!(ann.ask("timer").await, "timer");
    it.post("/chat/messages", json!({ "do": "prepare" })).await;
    let path = "/operated/lobby?user=bob&join=lobby&present=lobby&role=moderator";
    let mut bobs = [it.wharf.connect(path).await, it.wharf.connect(path).await];
    for bob in &mut bobs {
        assert_eq!(bob.ask("here").await, "here");
    }
    let examples = examples();
    assert!(examples.len() > 10, "the page's examples are not found");
    for (command, shown) in examples {
        // The page needs no `--silent`, and the test needs the status.
        let command = command.replacen("curl", "curl --silent --show-error --fail", 1);
        let output = Command::new("sh")
            .args(["-c", &command])
            .env("API", format!("http://{}/api/channels", it.api))
            .env("AUTH", format!("Authorization: Bearer {TOKEN}"))
            .env("CONNECTION", &connection)
            .output()
            .expect("sh runs");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}{complaint}");
        let answer = serde_json_of(&output.stdout);
        assert!(has_form_of(&answer, &shown), "{command}answers {answer}, not as {shown}");
    }
}

#[tokio::test]
async fn the_curl_of_the_demo_notifies_a_user_who_is_connected() {
    let it = Operated::start(&["notifications"], &[]).await;
    let mut bob = it.wharf.connect("/notifications?user=bob").await;
    assert_eq!(bob.json().await["type"], "welcome");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/demo.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let command = page.split("```sh\n").find(|block| block.contains("notifications/messages"));
    let command = command.and_then(|block| block.split("```").next()).expect("the command");
    let command = command.replacen("curl", "curl --silent --show-error --fail", 1);
    let command = command.replace("127.0.0.1:4001", &it.api.to_string());
    let output = Command::new("sh")
        .args(["-c", &command])
        .env("WHARF_OPERATOR_TOKEN", TOKEN)
        .output()
        .expect("sh runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}{complaint}");
    assert_eq!(serde_json_of(&output.stdout), json!({ "devices": 1 }));
    let expected = json!({
        "type": "notification", "from": "the shop", "text": "your order has been shipped"
    });
    assert_eq!(bob.json().await, expected);
    bob.close(1000, "").await;
    let offline = json!({ "to": "bob", "text": "hello?" });
    eventually("bob to be offline", async || {
        let (status, body) = it.post("/notifications/messages", offline.clone()).await;
        (status == 422).then(|| assert_eq!(body["error"]["code"], "OFFLINE"))
    })
    .await;
}

fn serde_json_of(bytes: &[u8]) -> Value {
    let text = String::from_utf8_lossy(bytes);
    text.parse().unwrap_or_else(|error| panic!("{error} in {text}"))
}
