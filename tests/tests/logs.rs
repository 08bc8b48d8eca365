//! The operator's log: one line for each occurrence, for any text of guests and clients.

use wharf_tests::{Line, Value, Wharf, json};

/// Text that a terminal or a collector of logs must never get from a guest.
const NASTY: &str = "first\nsecond\r\x1b[2J\x1b]0;title\x07\x00end\u{9b}31m";

fn is_guests(line: &Line) -> bool {
    line.str("target") == "wharf::guest"
}

#[tokio::test]
async fn every_line_is_one_json_object() {
    let wharf = Wharf::start(&["prints", "panics", "faulty"], &[]).await;
    let mut client = wharf.connect("/prints").await;
    for to in ["stdout", "stderr"] {
        client.ask_json_text(json!({ "to": to, "text": format!("{NASTY}\n") })).await;
    }
    client.ask_json_text(json!({ "to": "log", "level": "warn", "text": NASTY })).await;
    client.ask_json_text(json!({ "to": "fields", "name": NASTY, "value": NASTY })).await;
    wharf.connect("/panics").await.send("panic").await;
    wharf.connect("/faulty").await.ask("fail").await;
    wharf.log.wait_for("the trap", |line| line.says("guest call failed")).await;
    wharf.log.wait_for("the error", |line| line.says("handler failed")).await;
    for line in wharf.log.lines() {
        assert!(line.fields.is_object(), "{line}");
        for field in ["timestamp", "level", "message", "target"] {
            assert!(line.fields[field].is_string(), "no {field} in {line}");
        }
        let values = line.fields.as_object().expect("an object").values();
        for text in values.filter_map(Value::as_str) {
            assert!(!text.contains(char::is_control), "{line}");
        }
    }
}

#[tokio::test]
async fn lines_for_people_are_one_line_too_and_have_no_escapes_where_nobody_watches() {
    let wharf = Wharf::start(&["prints", "panics"], &["--log-format human"]).await;
    let mut client = wharf.connect("/prints").await;
    client.ask_json_text(json!({ "to": "log", "level": "warn", "text": NASTY })).await;
    client.ask_json_text(json!({ "to": "stdout", "text": format!("{NASTY}\n") })).await;
    client.ask_json_text(json!({ "to": "fields", "name": NASTY, "value": NASTY })).await;
    wharf.connect("/panics").await.send("panic").await;
    wharf.log.wait_for("the trap", |line| line.text.contains("guest call failed")).await;
    for line in wharf.log.lines() {
        assert!(!line.text.contains(char::is_control), "{line:?}");
        // A guest cannot forge a line: each begins with the host's own time and level.
        assert!(line.text.starts_with("20"), "{line}");
    }
    assert!(!wharf.log.find(|line| line.text.contains("prints")).is_empty());
}

#[tokio::test]
async fn a_guests_lines_are_marked_with_its_channel_generation_and_connection() {
    let wharf = Wharf::start(&["prints"], &["--log trace"]).await;
    let mut client = wharf.connect("/prints").await;
    for (level, expected) in [
        ("error", "ERROR"),
        ("warn", "WARN"),
        ("info", "INFO"),
        ("debug", "DEBUG"),
        ("trace", "TRACE"),
    ] {
        let text = format!("a line of level {level}");
        client.ask_json_text(json!({ "to": "log", "level": level, "text": text })).await;
        let line = wharf.log.wait_for(&text, |line| line.says(&text)).await;
        assert_eq!((line.str("level"), line.str("channel")), (expected, "prints"));
        assert_eq!(line.number("generation"), Some(1));
        assert!(!line.str("connection").is_empty(), "{line}");
        assert!(is_guests(&line), "{line}");
    }
    for (to, level) in [("stdout", "INFO"), ("stderr", "WARN")] {
        client.ask_json_text(json!({ "to": to, "text": format!("one to {to}\ntwo") })).await;
        let one = format!("one to {to}");
        let line = wharf.log.wait_for(&one, |line| line.says(&one)).await;
        assert_eq!((line.str("level"), line.str("channel")), (level, "prints"));
        // Text without a line feed at its end is not written yet, since the rest may follow.
        client.ask_json_text(json!({ "to": to, "text": " and a half\n" })).await;
        wharf.log.wait_for("the rest", |line| line.says("two and a half")).await;
    }
}

#[tokio::test]
async fn a_guests_level_is_filtered_by_the_operators() {
    let wharf = Wharf::start(&["prints"], &["--log warn,wharf=info"]).await;
    let mut client = wharf.connect("/prints").await;
    for level in ["debug", "warn"] {
        let order = json!({ "to": "log", "level": level, "text": format!("at {level}") });
        client.ask_json_text(order).await;
    }
    wharf.log.wait_for("the warning", |line| line.says("at warn")).await;
    assert!(wharf.log.find(|line| line.says("at debug")).is_empty());
}

#[tokio::test]
async fn fields_of_every_type_are_written_with_the_line() {
    let wharf = Wharf::start(&["prints"], &[]).await;
    let mut client = wharf.connect("/prints").await;
    client.ask_json_text(json!({ "to": "types", "count": 3, "text": "a b" })).await;
    let line = wharf.log.wait_for("the line", |line| line.says("of 7")).await;
    assert_eq!(
        line.fields["fields"],
        json!({
            "count": 3, "text": "a b", "half": 0.5, "yes": true, "none": null,
            "why": "invalid digit found in string", "list": "[1, 2]",
        })
    );
    // Without fields there is no such member, and none of the host's lines has one.
    client.ask_json_text(json!({ "to": "log", "level": "info", "text": "no fields" })).await;
    wharf.log.wait_for("the other line", |line| line.says("no fields")).await;
    assert_eq!(wharf.log.find(|line| !line.fields["fields"].is_null()).len(), 1);
}

#[tokio::test]
async fn fields_are_readable_for_people_too() {
    let wharf = Wharf::start(&["prints"], &["--log-format human"]).await;
    let mut client = wharf.connect("/prints").await;
    client.ask_json_text(json!({ "to": "types", "count": 3, "text": "a b" })).await;
    let line = wharf.log.wait_for("the line", |line| line.text.contains("of 7")).await;
    let fields = "of 7 count=3 text=\"a b\" half=0.5 yes=true none=None \
        why=\"invalid digit found in string\" list=\"[1, 2]\" channel=\"prints\" generation=1";
    assert!(line.text.contains(fields), "{line}");
}

/// Puts a client's text into a plugin's message, its fields and what it prints.
#[tokio::test]
async fn a_client_cannot_forge_a_field() {
    let forged = "hi\" user=\"root\" channel=\"admin\" connection=\"1-1\",\"level\":\"ERROR";
    for format in ["json", "human"] {
        let wharf = Wharf::start(&["prints"], &[&format!("--log-format {format}")]).await;
        let mut client = wharf.connect("/prints").await;
        client.ask_json_text(json!({ "to": "log", "level": "info", "text": forged })).await;
        client.ask_json_text(json!({ "to": "fields", "name": "room", "value": forged })).await;
        client.ask_json_text(json!({ "to": "stdout", "text": format!("{forged}\n") })).await;
        // A refused path and a refused origin are a stranger's.
        let path = "/none/x\"%20channel=\"admin\"";
        let _ = wharf.try_connect(path, &[]).await;
        let _ = wharf.try_connect("/prints", &[("Origin", "x\" channel=\"admin\"")]).await;
        wharf.log.wait_for("the last line", |line| line.text.contains("origin refused")).await;
        let lines = wharf.log.find(|line| line.text.contains("admin"));
        assert!(lines.len() >= 4, "{lines:?}");
        for line in lines {
            if format == "json" {
                assert_ne!((line.str("level"), line.str("channel")), ("ERROR", "admin"), "{line}");
                assert_eq!((line.str("user"), line.str("level")), ("", "INFO"), "{line}");
                continue;
            }
            let mut outside = String::new();
            let (mut is_quoted, mut is_escaped) = (false, false);
            for character in line.text.chars() {
                match character {
                    '"' if !is_escaped => is_quoted = !is_quoted,
                    _ if !is_quoted => outside.push(character),
                    _ => {}
                }
                is_escaped = is_quoted && character == '\\' && !is_escaped;
            }
            assert!(
                !is_quoted && !outside.contains("admin") && !outside.contains("user="),
                "{line}"
            );
        }
    }
}

/// Shows that one field has one spelling in all lines.
#[tokio::test]
async fn names_are_spelled_alike_in_lines_of_the_host_and_of_guests() {
    let wharf = Wharf::start(&["prints", "faulty"], &["--log-format human", "--log debug"]).await;
    let mut client = wharf.connect("/prints").await;
    client.ask_json_text(json!({ "to": "log", "level": "info", "text": "here" })).await;
    for failure in ["fail", "panic"] {
        wharf.connect("/faulty").await.send(failure).await;
    }
    wharf.log.wait_for("the trap", |line| line.text.contains("guest call failed")).await;
    wharf.log.wait_for("the error", |line| line.text.contains("handler failed")).await;
    client.close(1000, "").await;
    wharf.log.wait_for("the end", |line| line.text.contains("connection ends")).await;
    for line in wharf.log.lines() {
        for name in ["channel", "connection", "error", "detail", "plugins", "file", "room", "path"]
        {
            let bare =
                line.text.split(&format!(" {name}=")).skip(1).find(|rest| !rest.starts_with('"'));
            assert_eq!(bare, None, "{line}");
        }
    }
}

#[tokio::test]
async fn a_failure_is_one_line_with_channel_connection_function_and_place() {
    let wharf = Wharf::start(&["faulty", "panics"], &[]).await;
    let mut client = wharf.connect("/panics").await;
    let id = client.ask_for_json("x").await["id"].as_str().expect("an id").to_owned();
    client.send("panic").await;
    let line = wharf.log.wait_for("the trap", |line| line.says("guest call failed")).await;
    assert_eq!((line.str("channel"), line.str("connection")), ("panics", id.as_str()));
    assert_eq!((line.str("event"), line.str("kind")), ("on-message", "trap"));
    assert!(line.str("place").contains("panics/src/lib.rs:"), "{line}");
    let detail = "panicked: the floor of on_message\\ngave way\\u{1b}[31m";
    assert_eq!(line.str("detail"), detail);
    assert!(line.str("backtrace").contains("give_way"), "{line}");
    wharf.connect("/faulty").await.ask("fail").await;
    let line = wharf.log.wait_for("the error", |line| line.says("handler failed")).await;
    assert_eq!((line.str("channel"), line.str("event")), ("faulty", "on-message"));
    assert!(!line.str("connection").is_empty() && line.str("error").contains("told to"), "{line}");
    let mut hoarder = wharf.connect("/faulty").await;
    hoarder.send("hoard").await;
    let is_memory = |line: &Line| line.str("kind") == "out-of-memory";
    let line = wharf.log.wait_for("the memory", is_memory).await;
    assert!(line.str("detail").contains("memory allocation of"), "{line}");
    // Nothing else tells of the three.
    assert_eq!(wharf.log.find(is_guests).len(), 0, "{:?}", wharf.log.find(is_guests));
    let is_told = |line: &Line| ["WARN", "ERROR"].contains(&line.str("level"));
    assert_eq!(wharf.log.find(is_told).len(), 3, "{:?}", wharf.log.find(is_told));
}

#[tokio::test]
async fn failures_that_a_client_causes_at_will_are_limited_and_counted() {
    // A channel that may log nothing does not hide its failures.
    let wharf = Wharf::start(&["faulty"], &["--log-lines-per-second 0"]).await;
    let mut client = wharf.connect("/faulty").await;
    for _ in 0..300 {
        client.ask("fail").await;
    }
    let is_failure = |line: &Line| line.says("handler failed");
    let is_count = |line: &Line| line.begins("log lines about failures dropped");
    let told = wharf.log.wait_for("the number of dropped lines", is_count).await;
    assert_eq!(told.str("channel"), "faulty");
    let seen = async || {
        loop {
            let dropped: u64 =
                wharf.log.find(is_count).iter().filter_map(|l| l.number("dropped")).sum();
            let failures = wharf.log.find(is_failure).len();
            if dropped + failures as u64 == 300 {
                return failures;
            }
            tokio::task::yield_now().await;
        }
    };
    let failures = wharf_tests::soon("all failures are accounted for", seen()).await;
    assert!((10..=200).contains(&failures), "{failures} lines");
}

#[tokio::test]
async fn a_printed_line_is_marked_with_the_connection_of_its_event() {
    let wharf = Wharf::start(&["prints"], &[]).await;
    let mut ids = Vec::new();
    for text in ["one", "another"] {
        let mut client = wharf.connect("/prints").await;
        client
            .ask_json_text(json!({ "to": "log", "level": "info", "text": format!("l {text}") }))
            .await;
        client.ask_json_text(json!({ "to": "stdout", "text": format!("o {text}\n") })).await;
        client.ask_json_text(json!({ "to": "stderr", "text": format!("e {text}\n") })).await;
        let mut of = Vec::new();
        for kind in ["l", "o", "e"] {
            let wanted = format!("{kind} {text}");
            let line = wharf.log.wait_for(&wanted, |line| line.says(&wanted)).await;
            of.push(line.str("connection").to_owned());
        }
        assert!(!of[0].is_empty() && of.iter().all(|id| *id == of[0]), "{of:?}");
        ids.push(of.remove(0));
    }
    assert_ne!(ids[0], ids[1]);
}

/// Shows that a handler which prints what a panic prints, and goes on, has printed it.
#[tokio::test]
async fn a_panic_that_ends_nothing_is_printed_text() {
    let wharf = Wharf::start(&["prints"], &[]).await;
    let mut client = wharf.connect("/prints").await;
    let panic = "thread 'x' panicked at src/lib.rs:1:1:\nnot really\n";
    client.ask_json_text(json!({ "to": "stderr", "text": panic })).await;
    let line = wharf.log.wait_for("the line", |line| line.says("not really")).await;
    assert!(is_guests(&line) && line.str("level") == "WARN", "{line}");
    assert_eq!(wharf.log.find(|line| line.begins("thread 'x' panicked")).len(), 1);
}

#[tokio::test]
async fn crates_that_a_plugin_uses_log_as_well_and_are_named() {
    let wharf = Wharf::start(&["prints"], &[]).await;
    let mut client = wharf.connect("/prints").await;
    client.ask_json_text(json!({ "to": "library" })).await;
    let line = wharf.log.wait_for("the library", |line| line.begins("the library works")).await;
    assert_eq!(line.message(), "the library works");
    assert_eq!(line.fields["fields"], json!({ "target": "prints_library", "pages": 3 }));
    assert_eq!((line.str("level"), line.str("channel")), ("WARN", "prints"));
    assert!(!line.str("connection").is_empty() && is_guests(&line), "{line}");
    let line = wharf.log.wait_for("the other", |line| line.begins("for another target")).await;
    assert_eq!(line.fields["fields"], json!({ "target": "audit", "user": "ann" }));
}

#[tokio::test]
async fn a_guest_knows_which_lines_nobody_would_see() {
    for (log, enabled) in [
        ("--log info", "ERROR WARN INFO"),
        ("--log info,wharf::guest=trace", "ERROR WARN INFO DEBUG TRACE"),
        ("--log info,wharf::guest=error", "ERROR"),
        ("--log info,wharf::guest=off", ""),
    ] {
        let wharf = Wharf::start(&["prints"], &[log]).await;
        let mut client = wharf.connect("/prints").await;
        let order = json!({ "to": "enabled" });
        assert_eq!(client.ask_json_text(order).await, enabled, "{log}");
    }
}

#[tokio::test]
async fn a_flood_of_lines_is_cut_and_counted_and_silences_nobody_else() {
    const LINES: usize = 5000;
    let wharf = Wharf::start(&["prints", "panics"], &["--log-lines-per-second 50"]).await;
    let mut client = wharf.connect("/prints").await;
    let flood = json!({ "to": "flood", "lines": LINES });
    assert_eq!(client.ask(&flood.to_string()).await, "done");
    // Another channel has its own budget.
    wharf.connect("/panics").await.send("panic").await;
    wharf.log.wait_for("the trap", |line| line.says("guest call failed")).await;
    let is_flood = |line: &Line| line.begins("flood ");
    let passed = wharf.log.find(is_flood).len();
    // The flood may extend over two or three seconds.
    assert!((50..=150).contains(&passed), "{passed} lines have passed");
    let mut dropped = async || {
        loop {
            client.ask_json_text(json!({ "to": "log", "level": "info", "text": "quiet" })).await;
            let lines = wharf.log.find(|line| line.begins("log lines dropped"));
            if lines.iter().filter_map(|line| line.number("dropped")).sum::<u64>() > 0 {
                return lines;
            }
        }
    };
    let lines = wharf_tests::soon("the number of dropped lines", dropped()).await;
    assert_eq!(lines[0].str("channel"), "prints");
    assert!(lines[0].message().contains("log_lines_per_second"), "{}", lines[0]);
}

#[tokio::test]
async fn dropped_lines_are_told_even_where_the_channel_says_nothing_more() {
    let wharf = Wharf::start(&["prints"], &["--log-lines-per-second 50"]).await;
    let mut client = wharf.connect("/prints").await;
    let flood = json!({ "to": "flood", "lines": 1000 });
    assert_eq!(client.ask(&flood.to_string()).await, "done");
    let told = |line: &Line| line.begins("log lines dropped");
    let line = wharf.log.wait_for("the number of dropped lines", told).await;
    assert!(line.number("dropped").is_some_and(|dropped| dropped > 0), "{line}");
}

#[tokio::test]
async fn long_lines_are_cut() {
    let wharf = Wharf::start(&["prints"], &[]).await;
    let mut client = wharf.connect("/prints").await;
    client.ask_json_text(json!({ "to": "long", "bytes": 100_000 })).await;
    let logged = wharf.log.wait_for("the line", |line| line.begins("lll")).await;
    assert_eq!(logged.message().len(), 4096);
    let printed = wharf.log.wait_for("the printed line", |line| line.begins("LLL")).await;
    assert!(printed.message().len() <= 4096, "{} bytes", printed.message().len());
}

#[tokio::test]
async fn lines_that_nobody_sees_leave_the_budget_to_those_that_are_seen() {
    let wharf =
        Wharf::start(&["prints"], &["--log warn,wharf_server=info,wharf_runtime=info"]).await;
    let mut client = wharf.connect("/prints").await;
    assert_eq!(client.ask_json_text(json!({ "to": "unseen", "lines": 1000 })).await, "done");
    wharf.log.wait_for("the error", |line| line.says("after the unseen")).await;
    assert!(wharf.log.find(|line| line.begins("unseen")).is_empty());
}

#[tokio::test]
async fn a_line_is_bounded_whatever_is_in_its_message_and_fields() {
    let wharf = Wharf::start(&["prints"], &[]).await;
    let mut client = wharf.connect("/prints").await;
    // These characters grow when they are escaped, or are cut in the middle.
    for text in ["\u{1}", "\"", "\\", "é", "\u{202e}"] {
        let start = wharf.log.len();
        client.ask_json_text(json!({ "to": "huge", "text": text })).await;
        let is_huge = |line: &Line| line.begins("huge ");
        let line = wharf.log.wait_for_after(start, &format!("{text:?}"), is_huge).await;
        assert!(line.message().len() <= 8 * 1024, "{} bytes of {text:?}", line.message().len());
        // Quotes and backslashes are escaped once more in JSON.
        let bytes = line.text.len();
        assert!(bytes < 17 * 1024, "a line of {bytes} bytes with {text:?}");
    }
}
