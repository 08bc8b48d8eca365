//! `on_connect`: its data, its effects, its refusals.

use wharf::prelude::*;
use wharf::testing::{Received, Refused, TestHost};

/// Answers with the data of its connection.
#[derive(Serialize, Deserialize)]
struct Mirror;

#[wharf::channel]
impl Channel for Mirror {
    const PATHS: &[&str] = &["/mirror", "/mirror/:name", "/files/*path"];
    const SUBPROTOCOLS: &[&str] = &["mirror.v2", "mirror.v1"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        conn.set_response_header("X-Mirror", "yes")?;
        conn.send(json!({
            "path": conn.path(),
            "query": conn.query_string(),
            "pairs": conn.query_pairs(),
            "name": conn.query("name"),
            "params": conn.params(),
            "agent": conn.header("User-Agent"),
            "subprotocol": conn.subprotocol(),
            "remote": conn.remote_address(),
            "ending": conn.ending(),
        }))?;
        Ok(Mirror)
    }

    fn on_message(&mut self, conn: &Connection, name: String) -> Result {
        match name.as_str() {
            "set header" => conn.set_response_header("x-late", "1"),
            _ => conn.send(conn.param(&name)?),
        }
    }

    fn on_error(&mut self, conn: &Connection, error: Error) -> Result {
        conn.send(error.to_string())
    }
}

#[test]
fn a_connection_knows_how_it_was_asked_for() {
    let host = TestHost::new::<Mirror>();
    let client = host
        .connect("/mirror/a%20b?name=Ann+Lee&name=other&flag")
        .header("User-Agent", "test")
        .subprotocol("mirror.v1, mirror.v2")
        .remote_address("[2001:db8::7]:52114")
        .expect_open();
    client.assert_received(json!({
        "path": "/mirror/a%20b",
        "query": "name=Ann+Lee&name=other&flag",
        "pairs": [["name", "Ann Lee"], ["name", "other"], ["flag", ""]],
        "name": "Ann Lee",
        "params": [["name", "a b"]],
        "agent": "test",
        "subprotocol": "mirror.v2",
        "remote": "[2001:db8::7]:52114",
        "ending": null,
    }));
    assert_eq!(client.response_header("x-mirror").as_deref(), Some("yes"));
    assert_eq!(client.subprotocol().as_deref(), Some("mirror.v2"));
}

#[test]
fn a_subprotocol_that_nobody_offers_is_not_agreed_upon() {
    let host = TestHost::new::<Mirror>();
    assert_eq!(host.connect("/mirror").subprotocol("other").expect_open().subprotocol(), None);
    assert_eq!(host.connect("/mirror").expect_open().subprotocol(), None);
}

#[test]
fn the_rest_of_a_path_is_one_parameter() {
    let host = TestHost::new::<Mirror>();
    let client = host.connect("/files/a/b.txt").expect_open();
    assert_eq!(client.next_json()["params"], json!([["path", "a/b.txt"]]));
}

#[test]
fn a_parameter_that_the_pattern_does_not_have_is_explained() {
    let host = TestHost::new::<Mirror>();
    let client = host.connect("/mirror/x").expect_open();
    client.received();
    client.send("nam");
    client.assert_received(
        "the path has no parameter `nam`: it has [\"name\"]; name it `:nam` in PATHS",
    );
}

#[test]
fn headers_can_be_set_while_connecting_only() {
    let host = TestHost::new::<Mirror>();
    let client = host.connect("/mirror").expect_open();
    client.received();
    client.send("set header");
    client.assert_received(
        "the host refused: the response is sent: set `x-late` in on_connect (only-while-connecting)",
    );
}

#[test]
fn a_path_of_no_pattern_is_not_found() {
    let host = TestHost::new::<Mirror>();
    for target in ["/", "/mirro", "/mirror/", "/mirror/a/b", "/files/"] {
        assert_eq!(host.connect(target).expect_refused().status(), Some(404), "{target}");
    }
}

/// Refuses in the way that its path names.
#[derive(Serialize, Deserialize)]
struct Bouncer;

#[wharf::channel]
impl Channel for Bouncer {
    const PATHS: &[&str] = &["/door/:how", "/inside"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        let Ok(how) = conn.param("how") else {
            conn.join("guests")?;
            return Ok(Bouncer);
        };
        // None of these effects may be visible.
        conn.join("guests")?;
        conn.send("welcome")?;
        broadcast_to_room("guests", "somebody is coming")?;
        Err(match how.as_str() {
            "unauthorized" => Refusal::unauthorized("who are you?"),
            "json" => Refusal::forbidden("{}").header("Content-Type", "application/json"),
            "elsewhere" => Refusal::http(302, "").header("location", "/door/other"),
            "status" => Refusal::http(101, "no"),
            "smuggle" => Refusal::not_found("").header("connection", "close").header("x", "a\r\nb"),
            "close" => Refusal::close(4001, "Unauthorized")
                .message(json!({ "type": "error", "message": "Unauthorized" }))
                .message(vec![1, 2]),
            "code" => Refusal::close(1011, "x".repeat(122) + "éé"),
            "flush" => conn.flush().unwrap_err().into(),
            "ping" => conn.ping(b"").unwrap_err().into(),
            "number" => how.parse::<u32>().unwrap_err().into(),
            "session" => Error::msg("secret detail").context("making a session").into(),
            _ => panic!("no such door"),
        })
    }

    fn on_close(&mut self, _: &Connection, _: Option<u16>, _: &str) -> Result {
        broadcast_to_all("somebody left")
    }
}

fn refused(how: &str) -> (Refused, Vec<String>) {
    let host = TestHost::new::<Bouncer>();
    let guest = host.connect("/inside").expect_open();
    let refused = host.connect(&format!("/door/{how}")).expect_refused();
    // The effects of the refused handler have left no trace.
    guest.assert_received_nothing();
    assert_eq!(host.room_members("guests"), [guest.id()]);
    (refused, host.errors())
}

#[test]
fn a_refusal_by_status_has_a_status_a_body_and_headers() {
    let (refused_as, errors) = refused("unauthorized");
    assert_eq!((refused_as.status(), refused_as.body().as_str()), (Some(401), "who are you?"));
    assert!(errors.is_empty());

    let (Refused::Http { status: 403, headers, .. }, _) = refused("json") else { panic!() };
    assert_eq!(headers, [("content-type".to_owned(), b"application/json".to_vec())]);

    let (Refused::Http { status: 302, headers, .. }, _) = refused("elsewhere") else { panic!() };
    assert!(headers.contains(&("location".to_owned(), b"/door/other".to_vec())));
}

#[test]
fn what_cannot_be_sent_is_not_sent() {
    assert_eq!(refused("status").0.status(), Some(500));
    let (Refused::Http { status: 404, headers, .. }, _) = refused("smuggle") else { panic!() };
    assert!(headers.iter().all(|(name, _)| name == "content-type"), "{headers:?}");
    let (Refused::Close { code: 1008, reason, .. }, _) = refused("code") else { panic!() };
    assert_eq!(reason, "x".repeat(122));
}

#[test]
fn a_refusal_by_close_code_can_explain_itself_first() {
    let (refused, errors) = refused("close");
    let text = json!({ "type": "error", "message": "Unauthorized" }).to_string();
    let messages = vec![Received::Text(text), Received::Binary(vec![1, 2])];
    assert_eq!(refused, Refused::Close { messages, code: 4001, reason: "Unauthorized".into() });
    assert!(errors.is_empty());
}

#[test]
fn an_error_refuses_without_telling_the_client_why() {
    let (refused_as, errors) = refused("session");
    assert_eq!(refused_as.status(), Some(500));
    assert!(!refused_as.body().contains("secret"));
    assert_eq!(errors, ["on_connect failed: making a session: secret detail"]);
    assert_eq!(refused("number").1, ["on_connect failed: invalid digit found in string"]);
}

#[test]
fn a_panic_refuses_with_500() {
    let (refused, errors) = refused("xyz");
    assert_eq!(refused.status(), Some(500));
    assert_eq!(errors, ["on_connect panicked: no such door"]);
}

#[test]
fn nothing_can_be_flushed_or_pinged_while_connecting() {
    for how in ["flush", "ping"] {
        let (_, errors) = refused(how);
        assert!(errors[0].ends_with("(refused-while-connecting)"), "{errors:?}");
    }
}

#[test]
fn a_missing_setting_is_an_error_that_says_what_to_write() {
    let host = TestHost::new::<Mirror>();
    host.run(|| {
        assert_eq!(wharf::optional_setting("greeting"), None);
        let error = wharf::setting("greeting").expect_err("nobody has set it");
        let refusal = error.host_error().expect("the host's answer");
        assert_eq!(refusal.code, "setting-missing");
        assert_eq!(refusal.remedy, wharf::Remedy::AskOperator);
        assert!(refusal.detail.contains("greeting = \"…\""), "{refusal}");
    });
    host.set_setting("greeting", "hello");
    host.run(|| {
        assert_eq!(wharf::setting("greeting").expect("it is set"), "hello");
        assert_eq!(wharf::optional_setting("greeting").as_deref(), Some("hello"));
    });
}

#[test]
fn a_secret_is_read_like_a_setting_and_no_line_shows_it() {
    let host = TestHost::new::<Mirror>();
    host.set_secret("password", "hunter22");
    host.run(|| {
        let password = wharf::setting("password").expect("it is set");
        assert_eq!(password, "hunter22");
        wharf::log::info!(password = password; "it is {password}");
    });
    let line = host.log().pop().expect("it is logged");
    assert_eq!(line.message, "it is ***");
    assert_eq!(line.fields, [("password".to_owned(), "***".to_owned())]);
    // It is no secret any more.
    host.set_setting("password", "hunter22");
    host.run(|| wharf::log::info!("hunter22"));
    assert_eq!(host.log().pop().expect("it is logged").message, "hunter22");
}
