//! An event is a transaction: its commit, its rollback, and the clients that receive its effects.

use wharf::prelude::*;
use wharf::testing::{Received, TestHost};

/// Runs the steps of its message and then ends as it says; counts its steps.
#[derive(Serialize, Deserialize, Debug, PartialEq)]
struct Worker {
    done: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Order {
    Succeed,
    Fail,
    Panic,
    FlushAndFail,
    FlushAndPanic,
    CloseAndFail,
    Overdo,
}

#[wharf::channel]
impl Channel for Worker {
    const PATHS: &[&str] = &["/job"];
    type Message = Order;

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        conn.join("workers")?;
        Ok(Worker { done: 0 })
    }

    fn on_message(&mut self, conn: &Connection, order: Order) -> Result {
        self.done += 1;
        conn.send("started")?;
        conn.join("busy")?;
        conn.others().broadcast_to_room("workers", "somebody works")?;
        match order {
            Order::Succeed => Ok(()),
            Order::Fail => wharf::bail!("no tools"),
            Order::Panic => panic!("the roof fell in"),
            Order::FlushAndFail => {
                conn.flush()?;
                conn.send("never seen")?;
                wharf::bail!("no tools")
            }
            Order::FlushAndPanic => {
                conn.flush()?;
                conn.send("never seen")?;
                panic!("the roof fell in")
            }
            Order::CloseAndFail => {
                conn.close(4000, "going home")?;
                wharf::bail!("no tools")
            }
            Order::Overdo => {
                while conn.send("x").is_ok() {}
                // The refused call recorded nothing, and the effects recorded before it still
                // commit.
                Ok(())
            }
        }
    }

    fn on_fault(&mut self, conn: &Connection, fault: Fault) -> Result {
        self.done += 100;
        conn.send(format!("fault: {}, {:?}", fault.code, conn.ending()))
    }

    fn on_close(&mut self, conn: &Connection, code: Option<u16>, reason: &str) -> Result {
        let done = self.done;
        broadcast_to_all(format!("{done} done, {code:?} {reason:?} {:?}", conn.ending()))
    }
}

#[test]
fn effects_and_session_commit_together_when_a_handler_succeeds() {
    let host = TestHost::new::<Worker>();
    let (ann, bob) = (host.connect("/job").expect_open(), host.connect("/job").expect_open());

    ann.send(json!("succeed"));

    ann.assert_received("started");
    bob.assert_received("somebody works");
    assert_eq!(ann.session::<Worker>(), Worker { done: 1 });
    assert_eq!(ann.joined(), ["workers", "busy"]);
    assert!(host.errors().is_empty());
}

#[test]
fn a_handler_that_fails_has_done_nothing_and_the_client_is_told_so() {
    let host = TestHost::new::<Worker>();
    let (ann, bob) = (host.connect("/job").expect_open(), host.connect("/job").expect_open());

    ann.send(json!("fail"));

    ann.assert_received(json!({ "type": "error", "code": "INTERNAL_ERROR" }));
    ann.assert_received_nothing();
    bob.assert_received_nothing();
    assert_eq!(ann.session::<Worker>(), Worker { done: 0 });
    assert_eq!(ann.joined(), ["workers"]);
    assert_eq!(host.errors(), ["on_message failed: no tools"]);
    assert!(ann.is_open());
}

#[test]
fn a_close_is_an_effect_as_well() {
    let host = TestHost::new::<Worker>();
    let ann = host.connect("/job").expect_open();
    ann.send(json!("close_and_fail"));
    assert!(ann.is_open());
}

#[test]
fn what_was_flushed_stays_but_the_session_is_no_part_of_it() {
    let host = TestHost::new::<Worker>();
    let ann = host.connect("/job").expect_open();

    ann.send(json!("flush_and_fail"));

    ann.assert_received("started");
    ann.assert_received(json!({ "type": "error", "code": "INTERNAL_ERROR" }));
    ann.assert_received_nothing();
    assert_eq!(ann.joined(), ["workers", "busy"]);
    assert_eq!(ann.session::<Worker>(), Worker { done: 0 });
}

#[test]
fn a_panic_costs_its_own_connection_only_and_on_close_gets_the_last_session() {
    let host = TestHost::new::<Worker>();
    let (ann, bob) = (host.connect("/job").expect_open(), host.connect("/job").expect_open());
    ann.send(json!("succeed"));
    ann.received();
    bob.received();

    ann.send(json!("panic"));

    ann.assert_received(r#"fault: trap, Some("guest-failure")"#);
    ann.assert_received_nothing();
    assert_eq!(ann.closed(), Some((1011, "guest-failure".to_owned())));
    bob.assert_received(r#"101 done, Some(1011) "guest-failure" Some("guest-failure")"#);
    bob.assert_received_nothing();
    assert!(bob.is_open());
    assert_eq!(host.room_members("workers"), [bob.id()]);
    assert_eq!(host.errors(), ["on_message panicked: the roof fell in"]);
}

#[test]
fn what_was_flushed_before_a_panic_stays() {
    let host = TestHost::new::<Worker>();
    let ann = host.connect("/job").expect_open();
    ann.send(json!("flush_and_panic"));
    ann.assert_received("started");
    assert!(matches!(ann.next(), Some(Received::Text(text)) if text.starts_with("fault:")));
    ann.assert_received_nothing();
}

#[test]
fn one_event_records_so_many_effects_and_no_more() {
    let host = TestHost::new::<Worker>();
    let ann = host.connect("/job").expect_open();
    host.set_limits(wharf::testing::Limits { max_effects_per_event: 10, ..Default::default() });
    ann.send(json!("overdo"));
    // One send, one join and one broadcast came first.
    assert_eq!(ann.received().len(), 8);
}

/// Fails in every callback that can.
#[derive(Serialize, Deserialize)]
struct Hopeless {
    attempts: u32,
}

#[wharf::channel]
impl Channel for Hopeless {
    const PATHS: &[&str] = &["/hopeless"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Hopeless { attempts: 0 })
    }

    fn on_message(&mut self, _: &Connection, text: String) -> Result {
        self.attempts += 1;
        text.parse::<u32>().context("reading a number")?;
        Ok(())
    }

    fn on_error(&mut self, conn: &Connection, error: Error) -> Result {
        assert_eq!(self.attempts, 0, "the session is as it was before the event");
        self.attempts += 1;
        conn.send("about to fail again")?;
        Err(error.context("on top of it"))
    }

    fn on_close(&mut self, conn: &Connection, _: Option<u16>, _: &str) -> Result {
        conn.others().broadcast_to_all("never seen")?;
        conn.send("too late")
    }
}

#[test]
fn on_error_may_fail_too_and_then_nothing_has_happened() {
    let host = TestHost::new::<Hopeless>();
    let ann = host.connect("/hopeless").expect_open();

    ann.send("x");

    ann.assert_received_nothing();
    assert_eq!(ann.session::<Hopeless>().attempts, 0);
    assert_eq!(
        host.errors(),
        [
            "on_message failed: reading a number: invalid digit found in string",
            "on_error failed: on top of it: reading a number: invalid digit found in string",
        ]
    );
}

#[test]
fn on_close_may_fail_and_is_undone_without_an_on_error() {
    let host = TestHost::new::<Hopeless>();
    let ann = host.connect("/hopeless").expect_open();
    let bob = host.connect("/hopeless").expect_open();

    ann.disconnect(1000, "bye");

    bob.assert_received_nothing();
    let errors = host.errors();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("on_close failed: the host refused:"), "{errors:?}");
    assert!(errors[0].ends_with("(connection-ended)"), "{errors:?}");
}

/// Panics in the callback of its end.
#[derive(Serialize, Deserialize)]
struct Rude;

#[wharf::channel]
impl Channel for Rude {
    const PATHS: &[&str] = &["/rude"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Rude)
    }

    fn on_close(&mut self, _: &Connection, _: Option<u16>, _: &str) -> Result {
        panic!("no goodbye")
    }
}

#[test]
fn a_panic_in_on_close_is_noted_and_changes_nothing() {
    let host = TestHost::new::<Rude>();
    let ann = host.connect("/rude").expect_open();
    ann.disconnect(1000, "");
    assert!(!ann.is_open());
    assert_eq!(ann.closed(), None);
    assert_eq!(host.errors(), ["on_close panicked: no goodbye"]);
}

#[test]
fn code_without_a_connection_runs_as_an_event_of_its_own() {
    let host = TestHost::new::<Worker>();
    let ann = host.connect("/job").expect_open();
    host.run(|| {
        broadcast_to_room("workers", "lunch").unwrap();
        assert_eq!(room_count("workers"), 1);
        send_to(&ann.id(), "you too").unwrap();
        assert!(send_to("nobody", "hello?").unwrap_err().is_gone());
    });
    ann.assert_received("lunch");
    ann.assert_received("you too");
}

#[test]
#[should_panic(expected = "there is no host outside an event")]
fn host_calls_outside_an_event_say_what_to_do() {
    room_count("workers");
}
