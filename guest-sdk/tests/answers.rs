//! The answers that a client gets to its messages: replies, and the public part of errors.

use wharf::log::Level;
use wharf::prelude::*;
use wharf::testing::{Client, Refused, TestHost};

#[derive(Serialize, Deserialize, Default)]
struct Desk {
    served: u32,
    /// Reference for an answer that comes later.
    waiting: Option<Ref>,
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
enum Incoming {
    Double(i64),
    Wait,
    Wake,
    Check { name: String },
    Refuse,
    Parse(String),
}

#[wharf::channel]
impl Channel for Desk {
    const PATHS: &[&str] = &["/desk/:how"];
    type Message = Request<Incoming>;

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        conn.join("desk")?;
        match conn.param("how")?.as_str() {
            "open" => Ok(Desk::default()),
            "invalid" => Err(Invalid::new("not today").field("how", "must be open").into()),
            "number" => Err("x".parse::<u8>().context("the secret number").unwrap_err().into()),
            _ => Err(Refusal::not_found("no such desk")),
        }
    }

    fn on_message(&mut self, conn: &Connection, request: Request<Incoming>) -> Result {
        self.served += 1;
        match request.message {
            Incoming::Wait => {
                self.waiting = request.reference;
                Ok(())
            }
            Incoming::Wake => conn.reply(&self.waiting.take(), "good morning"),
            Incoming::Refuse => conn.reply_error(
                &request.reference,
                Invalid::new("that is not done here").code("NOT_DONE"),
            ),
            _ => request.answer(conn, |message| match message {
                Incoming::Double(number) => {
                    let doubled = number.checked_mul(2).ok_or(Invalid::new("too large"))?;
                    Ok(json!({ "number": doubled }))
                }
                Incoming::Check { name } => {
                    let mut invalid = Invalid::new("the form is not complete");
                    if name.is_empty() {
                        invalid.add_field("name", "is required");
                    }
                    invalid.unless_fields_are_valid()?;
                    Ok(json!(null))
                }
                Incoming::Parse(text) => {
                    Ok(json!(text.parse::<u8>().context("the secret file /etc/desk")?))
                }
                Incoming::Wait | Incoming::Wake | Incoming::Refuse => unreachable!(),
            }),
        }
    }

    fn on_binary(&mut self, conn: &Connection, data: Vec<u8>) -> Result {
        conn.send("never seen")?;
        Err(Invalid::new("too many bytes").field("bytes", data.len()))?
    }
}

fn desk() -> (TestHost, Client) {
    let host = TestHost::new::<Desk>();
    let client = host.connect("/desk/open").expect_open();
    (host, client)
}

#[test]
fn a_message_with_a_ref_is_answered_with_it() {
    let (_, client) = desk();
    for reference in [json!(7), json!("a-1"), json!(-1), json!("")] {
        client.send(json!({ "type": "double", "payload": 4, "ref": reference }));
        let payload = json!({ "number": 8 });
        client.assert_received(
            json!({ "type": "reply", "ref": reference, "status": "ok", "payload": payload }),
        );
    }
}

#[test]
fn a_message_without_a_ref_is_handled_and_not_answered() {
    let (_, client) = desk();
    client.send(json!({ "type": "double", "payload": 4 }));
    client.assert_received_nothing();
    assert_eq!(client.session::<Desk>().served, 1);
}

#[test]
fn an_answer_may_come_in_a_later_event() {
    let (_, client) = desk();
    client.send(json!({ "type": "wait", "ref": "late" }));
    client.assert_received_nothing();
    client.send(json!({ "type": "wake", "ref": "other" }));
    let payload = "good morning";
    client.assert_received(
        json!({ "type": "reply", "ref": "late", "status": "ok", "payload": payload }),
    );
    client.assert_received_nothing();
}

#[test]
fn what_is_invalid_is_told_to_the_client_and_undone() {
    let (_, client) = desk();
    client.send(json!({ "type": "check", "payload": { "name": "" }, "ref": 1 }));
    client.assert_received(json!({
        "type": "error",
        "ref": 1,
        "status": "error",
        "code": "INVALID",
        "message": "the form is not complete",
        "fields": { "name": "is required" },
    }));
    client.send(json!({ "type": "check", "payload": { "name": "" } }));
    client.assert_received(json!({
        "type": "error",
        "code": "INVALID",
        "message": "the form is not complete",
        "fields": { "name": "is required" },
    }));
    assert_eq!(client.session::<Desk>().served, 0);
}

#[test]
fn what_is_invalid_is_no_failure_that_the_operator_hears_of() {
    let (host, client) = desk();
    client.send(json!({ "type": "check", "payload": { "name": "" } }));
    client.send(vec![1, 2, 3]);
    let _ = host.connect("/desk/invalid").expect_refused();
    assert!(host.errors().is_empty());
    let log = host.log();
    let said: Vec<_> = log.iter().map(|line| line.message.as_str()).collect();
    assert_eq!(
        said,
        [
            "on_message refused: the form is not complete (INVALID; name: is required)",
            "on_binary refused: too many bytes (INVALID; bytes: 3)",
            "on_connect refused: not today (INVALID; how: must be open)",
        ]
    );
    assert!(log.iter().all(|line| line.level == Level::Debug && line.fields.is_empty()));
}

#[test]
fn a_binary_message_can_be_invalid_as_well() {
    let (_, client) = desk();
    client.send(vec![1, 2, 3]);
    client.assert_received(json!({
        "type": "error",
        "code": "INVALID",
        "message": "too many bytes",
        "fields": { "bytes": "3" },
    }));
    client.assert_received_nothing();
}

#[test]
fn a_handler_may_refuse_and_go_on() {
    let (host, client) = desk();
    client.send(json!({ "type": "refuse", "ref": 5 }));
    client.assert_received(json!({
        "type": "error",
        "ref": 5,
        "status": "error",
        "code": "NOT_DONE",
        "message": "that is not done here",
    }));
    client.send(json!({ "type": "refuse" }));
    client.assert_received(
        json!({ "type": "error", "code": "NOT_DONE", "message": "that is not done here" }),
    );
    assert_eq!(client.session::<Desk>().served, 2);
    assert!(host.errors().is_empty());
}

#[test]
fn of_other_errors_a_client_learns_nothing_but_which_message_failed() {
    let (host, client) = desk();
    client.send(json!({ "type": "parse", "payload": "x", "ref": 9 }));
    client.assert_received(
        json!({ "type": "error", "ref": 9, "status": "error", "code": "INTERNAL_ERROR" }),
    );
    client.send(json!({ "type": "parse", "payload": "x" }));
    client.assert_received(json!({ "type": "error", "code": "INTERNAL_ERROR" }));
    let said = "on_message failed: the secret file /etc/desk: invalid digit found in string";
    assert_eq!(host.errors(), [said, said]);
}

#[test]
fn whoever_waits_for_an_answer_hears_that_the_message_was_none() {
    let (_, client) = desk();
    for (text, reference) in [
        (r#"{"type":"dance","ref":3}"#, json!(3)),
        (r#"{"ref":"r","type":"double","payload":"x"}"#, json!("r")),
        (r#"{"type":"dance"}"#, json!(null)),
        (r#"{"type":"wait","ref":[3]}"#, json!(null)),
        (r#"{"type":"dance","ref":3"#, json!(null)),
        (r#"{"type":"check","payload":{"name":"green\ud83d"},"ref":3}"#, json!(3)),
        (r#"{"ref":3,"type":"double","payload":01}"#, json!(3)),
        (r#"{"type":"wait","ref":3} trailing"#, json!(3)),
        (r#"[3]"#, json!(null)),
        (r#""ref""#, json!(null)),
    ] {
        client.send(text);
        let answer = client.next_json();
        assert_eq!(answer["code"], "INVALID_JSON", "{answer}");
        assert_eq!(answer["ref"], reference, "{text}");
        assert_eq!(answer.get("status").is_some(), !reference.is_null(), "{answer}");
    }
}

#[test]
fn half_an_emoji_is_said_to_be_no_json() {
    let (_, client) = desk();
    client.send(r#"{"type":"check","payload":{"name":"green\ud83d"},"ref":3}"#);
    let answer = client.next_json();
    let message = answer["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("not JSON: "), "{message}");
}

#[test]
fn the_content_may_stand_before_the_type() {
    let (_, client) = desk();
    client.send(r#"{"ref":3,"payload":{"name":"Ann"},"type":"check"}"#);
    assert_eq!(client.next_json()["status"], "ok");
}

#[test]
fn a_ref_has_a_largest_length() {
    let (_, client) = desk();
    client.send(json!({ "type": "wait", "ref": "x".repeat(128) }));
    client.assert_received_nothing();
    client.send(json!({ "type": "wait", "ref": "x".repeat(129) }));
    let answer = client.next_json();
    assert_eq!(answer["code"], "INVALID_JSON");
    assert!(answer["message"].as_str().unwrap().contains("at most 128 bytes"), "{answer}");
    assert!(answer.get("ref").is_none(), "it is not sent back");
}

#[test]
fn an_invalid_request_to_connect_is_refused_with_400_and_json() {
    let (host, _) = desk();
    let refused = host.connect("/desk/invalid").expect_refused();
    let Refused::Http { status: 400, headers, body } = &refused else { panic!("{refused:?}") };
    assert_eq!(*headers, [("content-type".to_owned(), b"application/json".to_vec())]);
    assert_eq!(
        wharf::serde_json::from_slice::<wharf::serde_json::Value>(body).expect("JSON"),
        json!({
            "type": "error",
            "code": "INVALID",
            "message": "not today",
            "fields": { "how": "must be open" },
        })
    );
    let refused = host.connect("/desk/number").expect_refused();
    assert_eq!((refused.status(), refused.body().as_str()), (Some(500), "Internal Server Error"));
    assert_eq!(
        host.errors(),
        ["on_connect failed: the secret number: invalid digit found in string"]
    );
}

/// Answers with its own errors, unchanged.
#[derive(Serialize, Deserialize)]
struct Blunt;

#[derive(Deserialize)]
struct Dial {
    number: String,
}

#[wharf::channel]
impl Channel for Blunt {
    const PATHS: &[&str] = &["/blunt"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Blunt)
    }

    fn on_message(&mut self, conn: &Connection, request: Request<Dial>) -> Result {
        let number: u8 = request.message.number.parse().in_reply_to(&request.reference)?;
        conn.reply(&request.reference, number)
    }

    fn on_error(&mut self, conn: &Connection, error: Error) -> Result {
        assert!(error.invalid().is_none());
        conn.reply_error(error.reference(), Invalid::new(&error).code("BLUNT"))
    }
}

#[test]
fn an_on_error_of_ones_own_knows_which_message_failed() {
    let client = TestHost::new::<Blunt>().connect("/blunt").expect_open();
    client.send(json!({ "number": "7", "ref": 1 }));
    client.assert_received(json!({ "type": "reply", "ref": 1, "status": "ok", "payload": 7 }));
    client.send(json!({ "number": "seven", "ref": 2 }));
    client.assert_received(json!({
        "type": "error",
        "ref": 2,
        "status": "error",
        "code": "BLUNT",
        "message": "invalid digit found in string",
    }));
}

/// Fails without a word about the message.
#[derive(Serialize, Deserialize)]
struct Curt;

#[wharf::channel]
impl Channel for Curt {
    const PATHS: &[&str] = &["/curt"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Curt)
    }

    fn on_message(&mut self, conn: &Connection, request: Request<Dial>) -> Result {
        let number: u8 = request.message.number.parse()?;
        if number == 0 {
            return Err(Invalid::new("nobody has this number").into());
        }
        // A name that the host does not take is the client's mistake.
        conn.join(&"x".repeat(usize::from(number) + 200))?;
        conn.reply(&request.reference, number)
    }
}

#[test]
fn an_error_that_names_no_message_answers_the_request_of_its_handler() {
    let host = TestHost::new::<Curt>();
    let client = host.connect("/curt").expect_open();
    let answer = |number: &str| {
        client.send(json!({ "number": number, "ref": 5 }));
        let answer = client.next_json();
        assert_eq!((&answer["ref"], &answer["status"]), (&json!(5), &json!("error")));
        answer
    };
    assert_eq!(answer("x")["code"], "INTERNAL_ERROR");
    assert_eq!(answer("0")["message"], "nobody has this number");
    assert_eq!(host.errors().len(), 1);
    let message = "a room's name has at most 255 bytes, this one has 256";
    assert_eq!(answer("56")["message"], message);
    assert!(host.errors().is_empty(), "a client must not fill the operator's log");
    client.send(json!({ "number": "x" }));
    client.assert_received(json!({ "type": "error", "code": "INTERNAL_ERROR" }));
}

#[test]
fn a_mistake_becomes_the_answer_to_its_message_without_a_word_about_types() {
    fn refused(invalid: Invalid, reference: &Option<Ref>) -> Result<u32> {
        Err(invalid).in_reply_to(reference)
    }
    fn also_refused(invalid: Invalid, reference: &Option<Ref>) -> Result<u32> {
        Err(invalid.in_reply_to(reference))
    }
    let reference: Option<Ref> = wharf::serde_json::from_value(json!(7)).expect("a ref");
    for refuse in [refused, also_refused] {
        let error = refuse(Invalid::new("no"), &reference).expect_err("it is refused");
        let told = json!({
            "type": "error", "ref": 7, "status": "error", "code": "INVALID", "message": "no",
        });
        assert_eq!(error.for_client(), told);
    }
}
