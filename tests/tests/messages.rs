//! Messages in and out: every kind and length, fragments, order, and breaches of the protocol.

use tokio_tungstenite::tungstenite::Message;
use wharf_tests::raw::frame;
use wharf_tests::{Ended, Raw, Value, Wharf, json};

#[tokio::test]
async fn text_and_binary_come_back_as_they_were_sent() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let mut client = wharf.connect("/echo").await;
    for text in ["", "hello", "null\0byte", "grüße, 世界 🚢", "\u{feff}\u{10ffff}"] {
        assert_eq!(client.ask(text).await, text);
    }
    let all_bytes: Vec<u8> = (0..=255).collect();
    for data in [vec![], vec![0], all_bytes] {
        client.send_message(Message::binary(data.clone())).await;
        assert_eq!(client.binary().await, data);
    }
}

#[tokio::test]
async fn messages_of_every_length_come_back_whole() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let mut client = wharf.connect("/echo").await;
    // The lengths are at the edges of the length encodings, the read buffer, and the limit.
    for length in [1, 124, 125, 126, 127, 4095, 4096, 4097, 65_535, 65_536, 65_537, 1 << 20] {
        let text: String = (0..length).map(|at| char::from(b'a' + (at % 26) as u8)).collect();
        client.send(text.clone()).await;
        assert!(client.text().await == text, "text of {length} bytes");
        client.send_message(Message::binary(text.clone())).await;
        assert!(client.binary().await == text.as_bytes(), "binary of {length} bytes");
    }
}

#[tokio::test]
async fn fragments_are_joined_and_control_frames_may_come_between_them() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let mut raw = wharf.raw_websocket("/echo").await;
    // The first fragment ends in the middle of a character.
    raw.write(frame(0x01, b"gr\xc3")).await;
    raw.send_frame(9, "between").await;
    let pong = raw.frame().await.expect("a pong");
    assert_eq!((pong.opcode, pong.payload.as_slice()), (10, b"between".as_slice()));
    raw.write(frame(0x00, b"\xbc")).await;
    raw.write(frame(0x00, b"")).await;
    raw.write(frame(0x80, b"n")).await;
    let echo = raw.frame().await.expect("an echo");
    assert_eq!((echo.opcode, echo.is_final, echo.payload.as_slice()), (1, true, "grün".as_bytes()));
}

#[tokio::test]
async fn a_frame_may_arrive_byte_by_byte() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let mut raw = wharf.raw_websocket("/echo").await;
    for byte in frame(0x81, "slowly, slowly".repeat(20).as_bytes()) {
        raw.write([byte]).await;
    }
    assert_eq!(raw.frame().await.expect("an echo").payload.len(), 280);
}

#[tokio::test]
async fn a_thousand_pipelined_messages_are_answered_in_their_order() {
    let wharf = Wharf::start(&["counts"], &[]).await;
    let mut client = wharf.connect("/counts/pipeline").await;
    for number in 1..=1000 {
        client.feed(format!("message {number}")).await;
    }
    client.flush().await;
    for number in 1..=1000 {
        let answer = client.json().await;
        assert_eq!(answer["count"], number, "each message is handled once");
        assert_eq!(answer["message"], format!("message {number}"), "and in its order");
    }
}

/// Sends bytes that break a rule, checks that the stream ends after the close frame, and returns
/// its code.
async fn code_for(wharf: &Wharf, bytes: &[u8]) -> Option<u16> {
    let mut raw = wharf.raw_websocket("/echo").await;
    raw.write(bytes).await;
    let (frames, close) = raw.until_close().await;
    assert_eq!(frames, [], "nothing before the close frame");
    raw.ended().await;
    close.expect("a close frame").close_code()
}

#[tokio::test]
async fn what_breaks_the_protocol_is_closed_with_1002() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let unmasked = [&[0x81, 5], b"hello".as_slice()].concat();
    for (what, bytes) in [
        ("an unmasked frame", unmasked),
        ("a reserved bit", frame(0xc1, b"x")),
        ("another reserved bit", frame(0x91, b"x")),
        ("a reserved data opcode", frame(0x83, b"x")),
        ("a reserved control opcode", frame(0x8b, b"x")),
        ("a continuation of nothing", frame(0x80, b"x")),
        ("a message inside a message", [frame(0x01, b"a"), frame(0x81, b"b")].concat()),
        ("a fragmented ping", frame(0x09, b"x")),
        ("a ping that is too long", frame(0x89, &[b'x'; 126])),
        ("a close frame of one byte", frame(0x88, &[3])),
        ("a close code that does not exist", frame(0x88, &999_u16.to_be_bytes())),
        ("a close code that is never sent", frame(0x88, &1006_u16.to_be_bytes())),
    ] {
        assert_eq!(code_for(&wharf, &bytes).await, Some(1002), "{what}");
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_is_closed_with_1007() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    for (what, bytes) in [
        ("a bad byte", frame(0x81, b"a\xffb")),
        ("a surrogate", frame(0x81, b"\xed\xa0\x80")),
        ("an overlong slash", frame(0x81, b"\xc0\xaf")),
        ("half a character", frame(0x81, b"\xe2\x82")),
        ("half a character in fragments", [frame(0x01, b"\xe2"), frame(0x80, b"\x82")].concat()),
        ("a close reason", frame(0x88, b"\x03\xe8\xff\xff")),
    ] {
        assert_eq!(code_for(&wharf, &bytes).await, Some(1007), "{what}");
    }
}

#[tokio::test]
async fn a_message_that_is_too_big_is_closed_with_1009_before_it_has_arrived() {
    let flags = ["--max-message-bytes 1000", "--max-frame-bytes 600"];
    let wharf = Wharf::start(&["echo"], &flags).await;
    let mut raw = wharf.raw_websocket("/echo").await;
    raw.write([frame(0x01, &[b'x'; 600]), frame(0x80, &[b'y'; 400])].concat()).await;
    assert_eq!(raw.frame().await.expect("an echo").payload.len(), 1000, "the limit itself is fine");

    let two = [frame(0x02, &[0; 600]), frame(0x80, &[0; 401])].concat();
    assert_eq!(code_for(&wharf, &two).await, Some(1009), "one byte too many in two frames");
    assert_eq!(code_for(&wharf, &frame(0x82, &[0; 601])).await, Some(1009), "one frame too large");
    // The head of a frame announces too much. The host does not wait for the rest.
    let length = 1_u64 << 62;
    let announced = [&[0x82, 0xff], length.to_be_bytes().as_slice(), &[0; 4]].concat();
    assert_eq!(code_for(&wharf, &announced).await, Some(1009), "an enormous announcement");
    let fragments = frame(0x02, &[0; 500]);
    let endless = [fragments, frame(0x00, &[0; 500]), frame(0x00, &[0; 500])].concat();
    assert_eq!(code_for(&wharf, &endless).await, Some(1009), "a message without end");
}

#[tokio::test]
async fn a_broken_client_hears_the_answers_to_what_it_sent_before() {
    let wharf = Wharf::start(&["counts"], &[]).await;
    let mut raw = wharf.raw_websocket("/counts/x").await;
    raw.write([frame(0x81, b"good"), frame(0x81, b"\xff"), frame(0x81, b"never")].concat()).await;
    let (frames, close) = raw.until_close().await;
    assert_eq!(frames.len(), 1);
    let answer: Value = serde_json::from_slice(&frames[0].payload).expect("JSON");
    assert_eq!((&answer["message"], &answer["count"]), (&json!("good"), &json!(1)));
    assert_eq!(close.expect("a close frame").close_code(), Some(1007));
}

#[tokio::test]
async fn pings_are_answered_whether_or_not_the_channel_wants_them() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    let mut raw = wharf.raw_websocket("/echo").await;
    for payload in [b"".as_slice(), b"hello", &[0xff; 125]] {
        raw.send_frame(9, payload).await;
        let pong = raw.frame().await.expect("a pong");
        assert_eq!((pong.opcode, pong.payload.as_slice()), (10, payload));
    }
    // Unsolicited pongs are no error.
    raw.send_frame(10, "unasked").await;
    raw.send_frame(1, "hello").await;
    assert_eq!(raw.frame().await.expect("an echo").payload, b"hello");
}

#[tokio::test]
async fn a_channel_that_wants_pings_and_pongs_gets_them_in_order_with_messages() {
    let wharf = Wharf::start(&["pings"], &[]).await;
    let mut raw = wharf.raw_websocket("/pings").await;
    let sent = [frame(0x89, b"one"), frame(0x81, b"count"), frame(0x8a, b"two"), frame(0x81, b"?")];
    raw.write(sent.concat()).await;
    let mut answers = Vec::new();
    while answers.len() < 4 {
        let frame = raw.frame().await.expect("an answer");
        match frame.opcode {
            10 => assert_eq!(frame.payload, b"one", "the pong is the host's"),
            _ => answers.push(serde_json::from_slice::<Value>(&frame.payload).expect("JSON")),
        }
    }
    assert_eq!(
        answers,
        [
            json!({ "ping": "one" }),
            json!({ "pings": 1, "pongs": 0 }),
            json!({ "pong": "two" }),
            json!({ "pings": 1, "pongs": 1 }),
        ]
    );
}

#[tokio::test]
async fn a_channel_can_ping() {
    let wharf = Wharf::start(&["pings"], &[]).await;
    let mut raw = wharf.raw_websocket("/pings").await;
    raw.send_frame(1, "ping are you there?").await;
    let ping = raw.frame().await.expect("a ping");
    assert_eq!((ping.opcode, ping.payload.as_slice()), (9, b"are you there?".as_slice()));
    raw.send_frame(10, ping.payload).await;
    assert_eq!(json_frame(&mut raw).await, json!({ "pong": "are you there?" }));

    raw.send_frame(1, format!("ping {}", "x".repeat(126))).await;
    assert_eq!(json_frame(&mut raw).await, json!({ "refused": "control-frame-too-big" }));
    let rejected = wharf.try_connect("/pings?ping", &[]).await.expect_err("nobody is there yet");
    assert_eq!(rejected.status, 500);
    let line = wharf.log.wait_for("the error", |line| line.says("handler failed")).await;
    assert!(line.str("error").contains("refused-while-connecting"), "{line}");
}

async fn json_frame(raw: &mut Raw) -> Value {
    serde_json::from_slice(&raw.frame().await.expect("a message").payload).expect("JSON")
}

#[tokio::test]
async fn outgoing_messages_are_checked_when_they_are_sent() {
    let flags = ["--max-outbound-message-bytes 1000"];
    let wharf = Wharf::start(&["raw", "rooms"], &flags).await;
    let mut client = wharf.connect("/raw").await;
    assert_eq!(client.ask("bad utf8").await, "invalid-utf8");
    client.send("pass 1000").await;
    assert_eq!(client.binary().await.len(), 1000);
    assert_eq!(client.text().await, "ok");
    assert_eq!(client.ask("pass 1001").await, "message-too-big");

    let mut client = wharf.connect("/rooms").await;
    let long = "x".repeat(1001);
    let refused = client.ask_json(json!({ "do": "send", "text": long })).await;
    assert_eq!(refused["refused"], "message-too-big");
    assert!(refused["detail"].as_str().expect("a detail").contains("1000"), "{refused}");
}

#[tokio::test]
async fn a_message_that_the_channel_does_not_understand_is_answered_and_harms_nobody() {
    let wharf = Wharf::start(&["rooms"], &[]).await;
    let mut client = wharf.connect("/rooms").await;
    for nonsense in ["", "{", "[]", "{\"do\": \"fly\"}", "\u{0}", &"[".repeat(100_000)] {
        let answer = client.ask_for_json(nonsense).await;
        let start: String = nonsense.chars().take(20).collect();
        assert_eq!(answer["code"], "INVALID_JSON", "{start}");
    }
    assert_eq!(client.ask_json(json!({ "do": "count", "room": "a" })).await, json!({ "count": 0 }));
}

#[tokio::test]
async fn the_clients_close_frame_is_answered_with_its_code() {
    let wharf = Wharf::start(&["echo"], &[]).await;
    for (payload, code) in [
        (vec![], None),
        (1000_u16.to_be_bytes().to_vec(), Some(1000)),
        ([4999_u16.to_be_bytes().as_slice(), b"bye"].concat(), Some(4999)),
    ] {
        let mut raw = wharf.raw_websocket("/echo").await;
        // A message before the close frame is still answered.
        raw.write([frame(0x81, b"last words"), frame(0x88, &payload)].concat()).await;
        assert_eq!(raw.frame().await.expect("an echo").payload, b"last words");
        let close = raw.frame().await.expect("a close frame");
        assert_eq!((close.opcode, close.close_code()), (8, code));
        raw.ended().await;
    }
}

#[tokio::test]
async fn a_message_after_the_clients_close_frame_is_not_handled() {
    let wharf = Wharf::start(&["ends"], &[]).await;
    let mut observer = wharf.connect("/ends").await;
    let mut raw = wharf.raw_websocket("/ends?room=a").await;
    let greet = frame(0x81, b"{\"do\": \"greet\"}");
    let close = frame(0x88, &1000_u16.to_be_bytes());
    raw.write([greet.clone(), close, greet.clone(), greet].concat()).await;
    assert_eq!(observer.json().await["count"], 1);
    let (frames, _) = raw.until_close().await;
    assert_eq!(frames.len(), 1);
}

#[tokio::test]
async fn a_channel_closes_with_its_code_after_what_it_sent() {
    let wharf = Wharf::start(&["ends", "rooms"], &[]).await;
    let mut client = wharf.connect("/ends").await;
    client.send_json(json!({ "do": "close", "code": 3000, "reason": "done" })).await;
    assert_eq!(client.text().await, "goodbye");
    assert_eq!(client.ended().await, Ended::Closed(3000, "done".to_owned()));

    let mut client = wharf.connect("/ends?close").await;
    assert_eq!(client.text().await, "goodbye");
    assert_eq!(client.ended().await, Ended::Closed(4002, "at once".to_owned()));

    let mut client = wharf.connect("/rooms").await;
    for code in [0, 999, 1001, 1005, 1006, 1011, 2999, 5000] {
        let order = json!({ "do": "close", "code": code, "reason": "" });
        assert_eq!(client.ask_json(order).await["refused"], "close-code-invalid", "{code}");
    }
    let order = json!({ "do": "close", "code": 1000, "reason": "x".repeat(124) });
    assert_eq!(client.ask_json(order).await["refused"], "close-reason-too-long");
    client.send_json(json!({ "do": "close", "code": 4999, "reason": "x".repeat(123) })).await;
    assert_eq!(client.ended().await, Ended::Closed(4999, "x".repeat(123)));
}
