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
    client.ask_json_text(json!({ "to": "fields", "name": "room", "value": "a \"b\"" })).await;
    let line = wharf.log.wait_for("fields", |line| line.begins("with fields")).await;
    assert_eq!(line.message(), r#"with fields room="a \"b\"""#);
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
    let line = wharf.log.wait_for("the line", |line| line.begins("of 7")).await;
    assert_eq!(
        line.message(),
        "of 7 count=\"3\" text=\"a b\" half=\"0.5\" yes=\"true\" none=\"None\" \
         why=\"invalid digit found in string\" list=\"[1, 2]\""
    );
}

#[tokio::test]
async fn crates_that_a_plugin_uses_log_as_well_and_are_named() {
    let wharf = Wharf::start(&["prints"], &[]).await;
    let mut client = wharf.connect("/prints").await;
    client.ask_json_text(json!({ "to": "library" })).await;
    let line = wharf.log.wait_for("the library", |line| line.begins("the library works")).await;
    assert_eq!(line.message(), "the library works target=\"prints_library\" pages=\"3\"");
    assert_eq!((line.str("level"), line.str("channel")), ("WARN", "prints"));
    assert!(!line.str("connection").is_empty() && is_guests(&line), "{line}");
    let line = wharf.log.wait_for("the other", |line| line.begins("for another target")).await;
    assert_eq!(line.message(), "for another target target=\"audit\" user=\"ann\"");
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
