//! The work of an instance before its first event.

use wharf_tests::artefacts::{component, padded};
use wharf_tests::{Wharf, configured, json};

#[tokio::test]
async fn work_that_is_done_once_may_take_longer_than_an_event() {
    let flags = ["--cpu-budget-ms 50", "--start-budget-ms 10000"];
    let wharf = Wharf::start(&["starts"], &flags).await;
    for _ in 0..3 {
        let mut client = wharf.connect("/starts").await;
        assert_eq!(client.ask_for_json("is it there?").await, json!({ "table": true }));
    }
    let starting = wharf.log.find(|line| line.message() == "starting");
    assert!(!starting.is_empty(), "its lines are logged");
}

#[tokio::test]
async fn an_instance_that_computes_too_long_in_its_first_event_is_told_of_the_start_hook() {
    let wharf = Wharf::start(&["starts"], &["--cpu-budget-ms 50"]).await;
    let mut client = wharf.connect("/starts").await;
    // The connection's first event was another.
    client.send("compute").await;
    assert_eq!(client.close_code().await, 1011);
    let line = wharf.log.wait_for("the failure", |line| line.says("guest call failed")).await;
    assert!(line.str("detail").contains("cpu_budget_ms"), "{line:?}");
    assert!(!line.str("detail").contains("first event"), "{line:?}");

    let seen = wharf.log.len();
    let mut client = wharf.connect("/starts").await;
    wharf.swap("starts", &padded(&component("starts"), 1)).await;
    // It is the first one of the new generation's instance.
    client.send("compute").await;
    assert_eq!(client.close_code().await, 1011);
    let failed = |line: &wharf_tests::Line| line.says("guest call failed");
    let line = wharf.log.wait_for_after(seen, "the failure", failed).await;
    assert!(line.str("detail").contains("first event of this instance"), "{line:?}");
    assert!(line.str("detail").contains("on_start"), "{line:?}");
}

#[tokio::test]
async fn code_that_cannot_start_is_refused_and_the_code_before_goes_on() {
    for (how, why) in [
        ("fail", "on_start failed: there is no table"),
        ("panic", "told to panic"),
        ("call", "need an event"),
    ] {
        let settings = format!("[channels.echo.settings]\nstart = \"{how}\"\n");
        let wharf = Wharf::start_in(configured(&["echo"], &settings), &[]).await;
        let mut client = wharf.connect("/echo").await;
        let seen = wharf.log.len();
        wharf.install("echo", &component("starts"));
        let line = wharf.refused_after(seen, "echo").await;
        assert!(format!("{line:?}").contains(why), "{line:?}");
        assert_eq!(client.ask("still there?").await, "still there?");
    }
}
