//! The test kit's second level: the means of a test whose component runs in the host itself.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use wharf::prelude::*;
use wharf::testing::{HttpAnswer, Limits, Received, Refused, TestHost};
use wharf_tests::artefacts::{binary, component_file};
use wharf_tests::kit::{host, panic_of, prepared, with_environment};

#[test]
fn time_passes_where_the_test_says_so_and_nowhere_else() {
    let begun = Instant::now();
    let host = host("batched");
    let ann = host.connect("/batched").expect_open();
    for round in 1..=3 {
        ann.send("hi");
        host.advance(Duration::from_millis(99));
        ann.assert_received_nothing();
        host.advance(Duration::from_millis(1));
        assert_eq!(ann.next_json()["number"], round);
    }
    // A client that is silent for hours answers the host's pings.
    host.advance(Duration::from_secs(3 * 60 * 60));
    assert!(ann.is_open());
    host.assert_no_more();
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn a_handler_that_waits_waits_for_the_tests_clock() {
    let host = host("waits");
    let ann = host.connect("/waits").expect_open();
    let bob = host.connect("/waits").expect_open();
    ann.send("wait 1000");
    bob.send("at once");
    bob.assert_received(json!({ "count": 1, "message": "at once" }));
    host.advance(Duration::from_millis(999));
    ann.assert_received_nothing();
    host.advance(Duration::from_millis(1));
    ann.assert_received(json!({ "count": 1, "message": "wait 1000" }));

    ann.send("wait 10000");
    host.advance(Duration::from_secs(5));
    ann.assert_closed(1011);
    assert!(host.errors()[0].contains("wall_budget_ms"), "a real deadline");

    let said = panic_of(|| drop(host.connect("/waits?wait=10").open()));
    assert!(said.contains("on_connect waits"), "{said}");
}

#[test]
fn requests_to_other_servers_are_answered_by_the_test() {
    let host = host("fetches");
    let ann = host.connect("/fetches").expect_open();
    let ask = |order: serde_json::Value| {
        ann.send(order);
        ann.next_json()
    };
    let get = |url: &str| json!({ "method": "GET", "url": url });
    host.http_answer("https://api.example.com/*", HttpAnswer::new(404).body("none"));
    host.http_answer("https://api.example.com/users/7", HttpAnswer::json(json!({ "name": "Ann" })));
    host.http_answer("http://away.example", HttpAnswer::unreachable());
    host.http_answer("http://slow.example/", HttpAnswer::timeout());

    let answer = ask(get("https://api.example.com/users/7"));
    assert_eq!((&answer["status"], &answer["text"]), (&json!(200), &json!(r#"{"name":"Ann"}"#)));
    assert_eq!(answer["kind"], "application/json");
    assert_eq!(ask(get("https://api.example.com/users/8"))["status"], 404);
    assert_eq!(ask(get("http://away.example"))["refused"], "http-unreachable");
    assert_eq!(ask(get("http://slow.example/"))["refused"], "http-timeout");
    let answer = ask(get("http://other.example/"));
    assert_eq!(answer["refused"], "http-not-granted");
    assert!(answer["detail"].as_str().is_some_and(|d| d.contains("http_answer")), "{answer}");

    let [one, ..] = &host.http_requests()[..] else { panic!("there were requests") };
    assert_eq!((&*one.method, &*one.url), ("GET", "https://api.example.com/users/7"));
    assert!(one.headers.is_empty(), "{one:?}");
    ask(json!({
        "method": "POST", "url": "https://api.example.com/", "headers": [["X-A", "b"]], "json": [1],
    }));
    let requests = host.http_requests();
    assert_eq!(requests[0].body, b"[1]");
    assert!(requests[0].headers.contains(&("x-a".to_owned(), b"b".to_vec())), "{requests:?}");
    assert_eq!(requests.len(), 1, "each is told once");
    let order = json!({
        "method": "GET", "url": "https://api.example.com/", "max_body_bytes": 3,
    });
    assert_eq!(ask(order)["refused"], "http-response-too-big");
}

#[test]
fn a_panic_is_a_trap_of_the_component() {
    let host = host("panics");
    let observer = host.connect("/panics?observe").expect_open();
    let ann = host.connect("/panics").expect_open();
    ann.send("hello");
    ann.next_json();
    ann.send("panic");
    ann.assert_closed(1011);
    ann.assert_received_nothing();
    assert_eq!(
        host.errors(),
        ["on_message panicked: the floor of on_message\ngave way\\u{1b}[31m"]
    );
    let closed = observer.next_json();
    assert_eq!((&closed["closed"], &closed["count"]), (&json!(ann.id()), &json!(1)));
    assert_eq!(host.connect("/panics?panic").expect_refused().status(), Some(500));
    let said = panic_of(|| ann.send("again"));
    assert!(said.contains("can do no more"), "{said}");
    host.assert_no_more();
}

#[test]
fn a_guest_that_spins_is_ended_though_the_clock_stands_still() {
    let host = host("spins");
    let ann = host.connect("/spins").expect_open();
    ann.send("spin");
    ann.assert_closed(1011);
    let errors = host.errors();
    assert!(errors[0].starts_with("on_message failed: deadline"), "{errors:?}");
    assert_eq!(host.connect("/spins?spin").expect_refused().status(), Some(503));
}

#[test]
fn memory_stack_and_sessions_end_where_the_hosts_do() {
    let host = host("allocates");
    let told = |order: serde_json::Value| {
        let ann = host.connect("/allocates").expect_open();
        ann.send(order);
        ann.assert_closed(1011);
        let errors = host.errors();
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors[0].clone()
    };
    let everything = told(json!({ "do": "everything" }));
    assert!(everything.contains("max_memory_bytes"), "{everything}");
    let recursion = told(json!({ "do": "recurse" }));
    assert!(recursion.starts_with("on_message trapped: "), "{recursion}");
    let session = told(json!({ "do": "keep", "bytes": 65 * 1024 }));
    assert!(session.contains("max_session_bytes"), "{session}");
}

#[test]
fn endings_are_those_of_the_host() {
    let host = host("panics");
    let observer = host.connect("/panics?observe").expect_open();
    let told = || {
        let closed = observer.next_json();
        (closed["ending"].clone(), closed["code"].clone())
    };
    let client = || host.connect("/panics").expect_open();
    for (rule, code) in
        [("protocol-error", 1002), ("invalid-utf8", 1007), ("message-too-big", 1009)]
    {
        let ann = client();
        ann.violate(rule);
        ann.assert_closed(code);
        assert_eq!(told(), (json!(rule), json!(code)));
    }
    let ann = client();
    ann.disconnect(4000, "enough");
    assert_eq!((ann.is_open(), ann.closed()), (false, None));
    assert_eq!(told(), (json!("client-closed"), json!(4000)));
    let said = panic_of(|| ann.assert_closed(4000));
    assert!(said.contains("of itself"), "{said}");
    client().vanish();
    assert_eq!(told(), (json!("network-lost"), json!(null)));
    assert_eq!(host.room_members("observers"), [observer.id()]);
}

#[test]
fn refusals_are_seen_as_they_are_sent() {
    let host = host("refuses");
    let refused = host.connect("/refuses?how=http&code=403").expect_refused();
    assert_eq!((refused.status(), &*refused.body()), (Some(403), "not today"));
    let Refused::Http { headers, .. } = refused else { panic!("by HTTP") };
    let reasons = headers.iter().filter(|(name, _)| name == "x-reason");
    let reasons: Vec<&[u8]> = reasons.map(|(_, value)| value.as_slice()).collect();
    assert_eq!(reasons, [&b"closed"[..], b"holiday"]);

    let refused = host.connect("/refuses?how=close&code=4001").expect_refused();
    let Refused::Close { messages, code, .. } = refused else { panic!("by a close frame") };
    assert_eq!(code, 4001);
    assert_eq!(messages[1], Received::Binary(vec![1, 2, 3]));
    assert_eq!(host.connect("/elsewhere").expect_refused().status(), Some(404));

    let ann = host.connect("/refuses?how=greet").subprotocol("chat.v1").expect_open();
    assert_eq!(ann.response_header("set-cookie").as_deref(), Some("a=b; Path=/"));
    assert_eq!(ann.subprotocol().as_deref(), Some("chat.v1"));
    ann.assert_received("welcome");
    let said = panic_of(|| drop(host.connect("/refuses").header("x-a", "b\r\nc: d").open()));
    assert!(said.contains("line break"), "{said}");
}

#[test]
fn messages_may_be_as_big_as_sockets_are_not() {
    let host = host("echo");
    let ann = host.connect("/echo").expect_open();
    for bytes in [0, 125, 126, 65_535, 65_536, 1024 * 1024] {
        let message = vec![0xa5; bytes];
        ann.send(message.clone());
        assert!(ann.next() == Some(Received::Binary(message)), "{bytes} bytes");
    }
    ann.send(vec![0; 1024 * 1024 + 1]);
    ann.assert_closed(1009);
}

#[test]
fn control_frames_come_and_go() {
    let host = host("pings");
    let ann = host.connect("/pings").expect_open();
    ann.send("ping are you there?");
    assert_eq!(ann.received(), [Received::Ping(b"are you there?".to_vec())]);
    ann.pong(b"I am");
    ann.assert_received(json!({ "pong": "I am" }));
    ann.ping(b"and you?");
    ann.assert_received(json!({ "ping": "and you?" }));
    ann.assert_received_nothing();
}

#[test]
fn the_configuration_is_said_before_the_first_client() {
    let limits = Limits { max_message_bytes: 100, ..Limits::default() };
    let host = prepared("configured", |host| {
        host.set_setting("greeting", "hello");
        host.set_secret("password", "hunter22");
        host.set_limits(limits);
    });
    let ann = host.connect("/configured").expect_open();
    let ask = |name: &str| {
        ann.send(json!({ "type": "ask", "name": name }));
        ann.next_json()["value"].clone()
    };
    assert_eq!((ask("greeting"), ask("other")), (json!("hello"), json!(null)));
    ann.send(json!({ "type": "need", "name": "other" }));
    assert_eq!(ann.next_json()["code"], "setting-missing");
    ann.send(json!({ "type": "leak", "name": "greeting", "to": "field", "before": "oh " }));
    ann.received();
    let line = host.log().pop().expect("it is logged");
    assert_eq!(line.message, "a field");
    assert_eq!(line.fields, [("leak".to_owned(), "oh hello".to_owned())]);
    assert_eq!(ask("password"), "hunter22");
    ann.send(json!({ "type": "leak", "name": "password", "to": "log", "before": "oh " }));
    ann.received();
    assert_eq!(host.log().pop().expect("it is logged").message, "oh ***");
    ann.send("x".repeat(101));
    ann.assert_closed(1009);
    for late in [
        panic_of(|| host.set_setting("greeting", "bye")),
        panic_of(|| host.set_secret("password", "another")),
        panic_of(|| host.set_limits(limits)),
        panic_of(|| host.grant_publishing("news")),
    ] {
        assert!(late.contains("before the first client connects"), "{late}");
    }
}

#[test]
fn other_channels_are_published_to_where_the_test_grants_it() {
    let host = prepared("publishes", |host| host.grant_publishing("news"));
    let ann = host.connect("/publishes").expect_open();
    let publish = |to: &str| {
        ann.send(json!({ "do": "text", "to": to, "room": "sport", "text": "goal" }));
        ann.next_json()
    };
    assert_eq!(publish("news"), "ok");
    let published = host.published();
    assert_eq!(published.len(), 1);
    assert_eq!((&*published[0].channel, &*published[0].room), ("news", "sport"));
    assert_eq!(published[0].message, Received::Text("goal".to_owned()));
    assert_eq!(publish("other")["refused"], "publish-not-granted");
    ann.send(json!({ "do": "then_fail", "to": "news", "room": "sport" }));
    ann.received();
    host.remove_channel("news");
    assert_eq!(publish("news")["refused"], "unknown-channel");
    assert_eq!(host.published(), []);
}

#[test]
fn tokens_hold_where_the_test_says_so() {
    let host = host("vouched");
    let claims = json!({ "sub": "ann" });
    let ann = host.connect("/vouched").claims(&claims).expect_open();
    ann.assert_received(json!({ "claims": claims }));
    let renew = |client: &wharf::testing::Client, token: &str| {
        client.send(json!({ "type": "renew", "token": token }));
        client.next_json()
    };
    assert_eq!(renew(&ann, "new")["code"], "token-invalid");
    host.accept_token("new", json!({ "sub": "ann", "exp": 99_999_999_999_u64 }));
    host.accept_token("bobs", json!({ "sub": "bob" }));
    assert_eq!(renew(&ann, "new")["claims"]["exp"], 99_999_999_999_u64);
    host.accept_token("anybodys", json!({}));
    host.accept_token("another issuer's", json!({ "sub": "ann", "iss": "them" }));
    for token in ["bobs", "anybodys", "another issuer's"] {
        assert_eq!(renew(&ann, token)["code"], "token-subject-changed", "{token}");
    }

    // A token with an expiry expires.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let soon = now.expect("a clock that is set").as_secs() + 60;
    let bob = host.connect("/vouched").claims(json!({ "sub": "bob", "exp": soon })).expect_open();
    host.advance(Duration::from_secs(58));
    assert!(bob.is_open());
    host.advance(Duration::from_secs(3));
    bob.assert_closed(1008);
    assert!(ann.is_open());
}

#[test]
fn without_tokens_none_is_checked() {
    let host = host("vouched");
    let ann = host.connect("/vouched").header("authorization", "Bearer nonsense").expect_open();
    ann.assert_received(json!({ "claims": null }));
    ann.send(json!({ "type": "renew", "token": "new" }));
    assert_eq!(ann.next_json()["code"], "no-token-rules");
}

#[test]
fn the_store_is_given_values_and_looked_into() {
    let host = prepared("stores", |host| host.store("motto", "ahoy"));
    let ann = host.connect("/stores").expect_open();
    let ask = |order: serde_json::Value| {
        ann.send(order);
        ann.next_json()
    };
    assert!(ask(json!({ "do": "get", "key": "motto" })).to_string().contains("ahoy"));
    let order = json!({ "do": "set", "key": "short", "value": 7, "milliseconds": 1000 });
    ask(order);
    assert_eq!(host.stored::<u32>("short"), Some(7));
    host.advance(Duration::from_millis(999));
    assert_eq!(host.stored::<u32>("short"), Some(7));
    host.advance(Duration::from_millis(1));
    assert_eq!(host.stored::<u32>("short"), None);
    assert_eq!(host.stored::<String>("motto").as_deref(), Some("ahoy"));
}

#[test]
fn other_code_is_another_component() {
    let host = host("counts");
    let ann = host.connect("/counts/ann").expect_open();
    ann.send("one");
    assert_eq!(ann.next_json()["version"], 1);
    host.reload_component(component_file("counts-v2"));
    ann.send("two");
    let answer = ann.next_json();
    assert_eq!((&answer["version"], &answer["count"]), (&json!(2), &json!(2)));
    assert_eq!(answer["generation"], 2);
    let said = panic_of(|| host.reload_component(component_file("misrouted")));
    assert!(said.contains("/misrouted"), "{said}");
    ann.send("three");
    assert_eq!(ann.next_json()["count"], 3, "what was refused has changed nothing");
}

/// A channel of these tests, for which there is no component.
#[derive(Serialize, Deserialize)]
struct Here;

#[wharf::channel]
impl Channel for Here {
    const PATHS: &[&str] = &["/here"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        conn.join("room")?;
        Ok(Here)
    }

    fn on_message(&mut self, conn: &Connection, message: String) -> Result {
        match message.as_str() {
            "aside" => conn.send("aside"),
            _ => conn.broadcast_to_room("room", message),
        }
    }
}

#[test]
fn what_there_is_at_one_level_only_says_what_to_write_at_the_other() {
    let component = host("echo");
    for said in [panic_of(|| component.run(|| ())), panic_of(|| component.reload::<Here>())] {
        assert!(said.contains("TestHost::native"), "{said}");
    }
    let native = TestHost::native::<Here>();
    let said = panic_of(|| native.reload_component("here.wasm"));
    assert!(said.contains("reload::<C>()"), "{said}");

    // The level is the same for any command that runs the tests.
    let variables =
        [("WHARF_TEST_COMPONENT", component_file("echo")), ("WHARF_TEST_HOST", binary())];
    with_environment(&variables, || {
        TestHost::native::<Here>().connect("/here").expect_open();
        let said = panic_of(|| drop(TestHost::new::<Here>().connect("/here").open()));
        assert!(said.contains("is another channel") && said.contains("\"/echo\""), "{said}");
        assert!(said.contains("TestHost::native"), "{said}");
    });
}

/// Makes a program that takes the place of the host.
fn impostor(script: &str) -> (tempfile::TempDir, PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("impostor");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a program");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it can be run");
    (folder, program)
}

#[test]
fn a_host_that_dies_is_heard() {
    let version = env!("CARGO_PKG_VERSION");
    let said_by = |script: &str| {
        let (_folder, program) = impostor(script);
        with_environment(&[("WHARF_TEST_HOST", program)], || {
            panic_of(|| drop(TestHost::component("echo.wasm").connect("/echo").open()))
        })
    };
    let said = said_by(&format!(
        "echo '{{\"wharf\":\"{version}\"}}'; read -r line; echo 'out of luck' >&2; exit 3"
    ));
    assert!(said.contains("has died (exit status: 3)") && said.contains("out of luck"), "{said}");
    let said = said_by("echo '{\"wharf\":\"0.0.1\"}'; read -r line");
    assert!(said.contains("Wharf 0.0.1") && said.contains(&format!("Wharf {version}")), "{said}");
    let said = said_by("echo 'what do you mean?'; exit 2");
    assert!(said.contains("what do you mean?"), "{said}");
    let missing = PathBuf::from("no-such-host");
    let said = with_environment(&[("WHARF_TEST_HOST", missing)], || {
        panic_of(|| drop(TestHost::component("echo.wasm").connect("/echo").open()))
    });
    assert!(said.contains("wharf test") && said.contains("no-such-host"), "{said}");
}

#[test]
fn a_component_that_no_host_loads_is_refused_with_the_reason() {
    let said = panic_of(|| drop(host("misrouted")));
    assert!(said.contains("would not load") && said.contains("/misrouted"), "{said}");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("text.wasm");
    fs::write(&file, "(component)").expect("a file");
    let said = with_environment(&[("WHARF_TEST_HOST", binary())], || {
        panic_of(|| drop(TestHost::component(&file).connect("/echo").open()))
    });
    assert!(said.contains("not WebAssembly"), "{said}");
}

#[test]
fn assertions_fail_when_they_should_at_both_levels() {
    let native = TestHost::native::<Here>();
    let (ann, bob) = (native.connect("/here").expect_open(), native.connect("/here").expect_open());
    check_assertions(&native, "room", &ann, &bob, "aside");

    let component = host("relay");
    let enter = || component.connect("/room/lobby").expect_open();
    let (ann, bob) = (enter(), enter());
    check_assertions(&component, "lobby", &ann, &bob, "");
}

fn check_assertions(
    host: &TestHost,
    room: &str,
    ann: &wharf::testing::Client,
    bob: &wharf::testing::Client,
    aside: &str,
) {
    ann.send("hello");
    let said = panic_of(|| host.assert_no_more());
    assert!(said.contains(&ann.id()) && said.contains(&bob.id()), "{said}");
    assert!(said.contains("hello"), "{said}");
    let what = ann.next().expect("it is heard by all");
    let Received::Text(text) = what else { panic!("{what:?}") };
    // One member has received it already.
    let missing = panic_of(|| host.assert_broadcast(room, text.as_str()));
    assert!(missing.contains(&ann.id()) && missing.contains("nothing more"), "{missing}");
    bob.received();

    ann.send("hello");
    host.assert_broadcast(room, text.as_str());
    host.assert_no_more();

    if !aside.is_empty() {
        bob.send(aside);
        ann.send("hello");
        let said = panic_of(|| host.assert_broadcast(room, text.as_str()));
        assert!(said.contains(&bob.id()) && said.contains(aside), "{said}");
        bob.received();
    }
    let said = panic_of(|| host.assert_broadcast("elsewhere", "hello"));
    assert!(said.contains("nobody is in the room"), "{said}");
    let said = panic_of(|| ann.assert_closed(1000));
    assert!(said.contains("is open"), "{said}");
}
