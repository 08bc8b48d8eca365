//! Messages in and out: text, JSON, bytes, control frames, closes.

use wharf::log::Level;
use wharf::prelude::*;
use wharf::testing::{Limits, LogLine, Received, TestHost};

#[derive(Serialize, Deserialize, Default)]
struct Typed {
    calls: Vec<String>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Incoming {
    Add { one: i64, other: i64 },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Outgoing {
    Sum { value: i64 },
}

#[wharf::channel]
impl Channel for Typed {
    const PATHS: &[&str] = &["/typed"];
    type Message = Incoming;

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Typed::default())
    }

    fn on_message(&mut self, conn: &Connection, message: Incoming) -> Result {
        let Incoming::Add { one, other } = message;
        let value = one.checked_add(other).context("the sum is too large")?;
        conn.send(Json(Outgoing::Sum { value }))
    }
}

#[test]
fn json_is_decoded_and_encoded() {
    let client = TestHost::new::<Typed>().connect("/typed").expect_open();
    client.send(json!({ "type": "add", "one": 1, "other": 2, "unknown": "ignored" }));
    client.assert_received(json!({ "type": "sum", "value": 3 }));
}

#[test]
fn a_text_is_expected_as_it_is_and_json_by_its_value() {
    let client = TestHost::new::<Typed>().connect("/typed").expect_open();
    let is_what_comes = |check: &dyn Fn()| {
        client.send(json!({ "type": "add", "one": 1, "other": 2 }));
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_ok()
    };
    assert!(is_what_comes(&|| client.assert_received(json!({ "value": 3, "type": "sum" }))));
    assert!(is_what_comes(&|| client.assert_received(Json(&Outgoing::Sum { value: 3 }))));
    assert!(is_what_comes(&|| client.assert_received(r#"{"type":"sum","value":3}"#)));
    for other in [r#"{"value":3,"type":"sum"}"#, r#"{"type":"sum","value":3} "#] {
        assert!(!is_what_comes(&|| client.assert_received(other)), "{other}");
        assert!(!is_what_comes(&|| client.assert_received(other.to_owned())), "{other}");
    }
}

#[test]
fn by_default_what_does_not_decode_is_answered_with_invalid_json() {
    let client = TestHost::new::<Typed>().connect("/typed").expect_open();
    for (text, explanation) in [
        ("", "not JSON: EOF while parsing a value"),
        ("hello", "not JSON: expected value"),
        ("{\"type\":\"dance\"} trailing", "not JSON: "),
        ("{\"type\":\"dance\"}", "this channel has no such message: unknown variant `dance`"),
        ("{\"type\":\"add\",\"one\":1}", "this channel has no such message: missing field `other`"),
        (
            "{\"type\":\"add\",\"one\":\"1\"}",
            "this channel has no such message: invalid type: string",
        ),
    ] {
        client.send(text);
        let answer = client.next_json();
        assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("INVALID_JSON")));
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(message.starts_with(explanation), "{text:?}: {message:?}");
    }
    client.assert_received_nothing();
}

#[test]
fn an_answer_quotes_no_more_than_a_little_of_what_the_client_sent() {
    let client = TestHost::new::<Typed>().connect("/typed").expect_open();
    client.send(json!({ "type": "ж".repeat(100_000) }));
    let answer = client.next_json();
    assert!(answer["message"].as_str().unwrap_or_default().chars().count() < 400);
}

#[test]
fn deeply_nested_json_is_an_invalid_message_and_no_crash() {
    let host = TestHost::new::<Typed>();
    let client = host.connect("/typed").expect_open();
    client.send("[".repeat(100_000));
    assert_eq!(client.next_json()["code"], "INVALID_JSON");
    assert!(client.is_open() && host.errors().is_empty());
}

#[test]
fn binary_is_no_json_and_is_ignored_unless_a_handler_wants_it() {
    let host = TestHost::new::<Typed>();
    let client = host.connect("/typed").expect_open();
    client.send(b"{}");
    client.assert_received_nothing();
    assert!(client.is_open());
}

/// Overrides every callback, with raw text.
#[derive(Serialize, Deserialize)]
struct Raw {
    heard: u32,
}

#[wharf::channel]
impl Channel for Raw {
    const PATHS: &[&str] = &["/raw"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Raw { heard: 0 })
    }

    fn on_message(&mut self, conn: &Connection, text: String) -> Result {
        match text.split_once(' ').unwrap_or((&text, "")) {
            ("bytes", text) => conn.send(text.as_bytes()),
            ("string", text) => conn.send(text.to_owned()),
            ("json", text) => conn.send(json!(text)),
            ("ping", text) => conn.ping(text.as_bytes()),
            ("close", reason) => {
                conn.close(4000, reason)?;
                // The first close counts. Messages of the same event still arrive.
                conn.close(4001, "second")?;
                conn.send("last words")
            }
            ("code", code) => conn.close(code.parse()?, ""),
            ("log", text) => {
                let heard = self.heard;
                info!("plain {text}");
                error!(heard, text = format!("<{text}>"); "with {} fields", 2);
                debug!(target: "other", text:? = text; "for another target");
                Ok(())
            }
            _ => conn.send(text),
        }
    }

    fn on_binary(&mut self, conn: &Connection, data: Vec<u8>) -> Result {
        conn.send(&data[..])
    }

    fn on_ping(&mut self, conn: &Connection, data: Vec<u8>) -> Result {
        self.heard += 1;
        conn.send(format!("ping {} {data:?}", self.heard))
    }

    fn on_pong(&mut self, conn: &Connection, data: Vec<u8>) -> Result {
        self.heard += 1;
        conn.send(format!("pong {} {data:?}", self.heard))
    }

    fn on_error(&mut self, conn: &Connection, error: Error) -> Result {
        conn.send(error.host_error().map_or("other", |error| error.code.as_str()))
    }

    fn on_close(&mut self, conn: &Connection, code: Option<u16>, reason: &str) -> Result {
        broadcast_to_all(format!("{code:?} {reason:?} {:?}", conn.ending()))
    }
}

#[test]
fn a_string_is_the_text_itself_in_both_directions() {
    let client = TestHost::new::<Raw>().connect("/raw").expect_open();
    for text in ["\"quoted\"", "{", "", "a\u{0}b"] {
        client.send(text);
        assert_eq!(client.received(), [Received::Text(text.to_owned())]);
    }
    client.send("string a\"b");
    assert_eq!(client.received(), [Received::Text("a\"b".to_owned())]);
    client.send("json a\"b");
    assert_eq!(client.received(), [Received::Text("\"a\\\"b\"".to_owned())]);
}

#[test]
fn bytes_are_binary_in_both_directions() {
    let client = TestHost::new::<Raw>().connect("/raw").expect_open();
    client.send([0, 255]);
    client.send("bytes abc");
    assert_eq!(
        client.received(),
        [Received::Binary(vec![0, 255]), Received::Binary(b"abc".to_vec())]
    );
}

#[test]
fn pings_and_pongs_reach_the_channel_that_wants_them() {
    let client = TestHost::new::<Raw>().connect("/raw").expect_open();
    client.ping(&[1]);
    client.pong(&[2]);
    client.assert_received("ping 1 [1]");
    client.assert_received("pong 2 [2]");
    client.send("ping are you there?");
    assert_eq!(client.received(), [Received::Ping(b"are you there?".to_vec())]);

    let deaf = TestHost::new::<Typed>().connect("/typed").expect_open();
    deaf.ping(&[1]);
    deaf.pong(&[2]);
    deaf.assert_received_nothing();
}

#[test]
fn a_close_comes_after_what_was_sent_and_its_code_and_reason_reach_on_close() {
    let host = TestHost::new::<Raw>();
    let (ann, bob) = (host.connect("/raw").expect_open(), host.connect("/raw").expect_open());
    ann.send("close enough");
    ann.assert_received("last words");
    ann.assert_received_nothing();
    assert_eq!(ann.closed(), Some((4000, "enough".to_owned())));
    bob.assert_received("Some(4000) \"enough\" Some(\"channel-closed\")");
}

#[test]
fn every_ending_has_its_code_and_its_reason() {
    type End = fn(&wharf::testing::Client);
    let endings: [(End, &str); 6] = [
        (|c| c.disconnect(3001, "bye"), "Some(3001) \"bye\" Some(\"client-closed\")"),
        (|c| c.vanish(), "None \"\" Some(\"network-lost\")"),
        (|c| c.violate("protocol-error"), "Some(1002) \"protocol-error\" Some(\"protocol-error\")"),
        (|c| c.violate("invalid-utf8"), "Some(1007) \"invalid-utf8\" Some(\"invalid-utf8\")"),
        (|c| c.send("x".repeat(1001)), "Some(1009) \"message-too-big\" Some(\"message-too-big\")"),
        (|c| c.send(vec![0; 1001]), "Some(1009) \"message-too-big\" Some(\"message-too-big\")"),
    ];
    for (end, heard) in endings {
        let host = TestHost::new::<Raw>();
        host.set_limits(Limits { max_message_bytes: 1000, ..Limits::default() });
        let (ann, bob) = (host.connect("/raw").expect_open(), host.connect("/raw").expect_open());
        end(&ann);
        assert!(!ann.is_open());
        bob.assert_received(heard);
        bob.assert_received_nothing();
    }
}

#[test]
#[should_panic(expected = "its connection has ended (network-lost)")]
fn a_client_that_is_gone_can_do_no_more() {
    let client = TestHost::new::<Raw>().connect("/raw").expect_open();
    client.vanish();
    client.send("hello?");
}

#[test]
fn closes_and_pings_are_checked_at_the_call() {
    let client = TestHost::new::<Raw>().connect("/raw").expect_open();
    for code in ["0", "999", "1001", "1005", "1011", "2999", "5000", "65535"] {
        client.send(format!("code {code}"));
        client.assert_received("close-code-invalid");
    }
    client.send(format!("close {}", "x".repeat(124)));
    client.assert_received("close-reason-too-long");
    client.send(format!("ping {}", "x".repeat(126)));
    client.assert_received("control-frame-too-big");
    assert!(client.is_open());
    client.send("code 1000");
    assert_eq!(client.closed(), Some((1000, String::new())));
}

#[test]
fn log_lines_have_a_level_a_message_and_fields() {
    let host = TestHost::new::<Raw>();
    let client = host.connect("/raw").expect_open();
    client.send("log tea");
    let line = |level, message: &str, fields: &[(&str, &str)]| LogLine {
        level,
        message: message.to_owned(),
        fields: fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
    };
    assert_eq!(
        host.log(),
        [
            line(Level::Info, "plain tea", &[]),
            line(Level::Error, "with 2 fields", &[("heard", "0"), ("text", "<tea>")]),
            line(Level::Debug, "for another target", &[("target", "other"), ("text", "\"tea\"")]),
        ]
    );
    assert!(host.log().is_empty());
}
