//! The store, as a plugin's own tests see it.

use std::time::Duration;

use wharf::prelude::*;
use wharf::store;
use wharf::testing::{Limits, TestHost};

/// Counts the messages of all clients, and fails on demand.
#[derive(Serialize, Deserialize)]
struct Counts;

#[wharf::channel]
impl Channel for Counts {
    const PATHS: &[&str] = &["/counts"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Counts)
    }

    fn on_message(&mut self, conn: &Connection, message: String) -> Result {
        let count = store::increment("messages", 1)?;
        conn.send(count.to_string())?;
        if message == "fail" {
            wharf::bail!("as ordered");
        }
        Ok(())
    }
}

fn host() -> TestHost {
    TestHost::new::<Counts>()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, code: &str) {
    let error = result.expect_err("a refusal");
    assert_eq!(error.host_error().expect("of the host").code, code, "{error}");
}

#[test]
fn connections_share_values_and_failures_do_not_undo_them() {
    let host = host();
    let (ann, bob) = (host.connect("/counts").expect_open(), host.connect("/counts").expect_open());
    ann.send("hello");
    ann.assert_received("1");
    bob.send("fail");
    bob.assert_received(json!({ "type": "error", "code": "INTERNAL_ERROR" }));
    ann.send("hello");
    ann.assert_received("3");
    assert_eq!(host.run(|| store::get::<u32>("messages")).unwrap(), Some(3));
    assert_eq!(host.errors(), ["on_message failed: as ordered"]);
}

#[test]
fn values_expire_when_the_test_says_so() {
    let host = host();
    host.run(|| {
        store::set_for("a", "x", Duration::from_secs(5)).unwrap();
        store::set_for("n", &1, Duration::from_secs(5)).unwrap();
        store::set("b", "y").unwrap();
    });
    host.advance(Duration::from_millis(4_999));
    assert_eq!(host.run(|| store::increment("n", 1)).unwrap(), 2);
    assert_eq!(host.run(|| store::get::<String>("a")).unwrap().as_deref(), Some("x"));
    host.advance(Duration::from_millis(1));
    assert_eq!(host.run(|| store::get::<String>("a")).unwrap(), None);
    assert_eq!(host.run(|| store::increment("n", 1)).unwrap(), 1);
    let keys = host.run(|| store::keys("").collect::<Result<Vec<_>>>());
    assert_eq!(keys.unwrap(), ["b", "n"]);
}

#[test]
fn keys_are_listed_in_order_beyond_one_page() {
    let host = host();
    host.run(|| {
        for number in (0..2345).rev() {
            store::set(&format!("a{number:04}"), &number).unwrap();
        }
        store::set("b", &0).unwrap();
        let keys = store::keys("a").collect::<Result<Vec<_>>>().unwrap();
        let expected: Vec<_> = (0..2345).map(|number| format!("a{number:04}")).collect();
        assert_eq!(keys, expected);
        refused(store::keys(&"x".repeat(513)).collect::<Result<Vec<_>>>(), "store-key-invalid");
    });
}

#[test]
fn an_update_runs_again_where_somebody_wrote_in_between() {
    host().run(|| {
        let mut disturbed = false;
        let sum = store::update("n", |n: Option<i64>| {
            if !disturbed {
                disturbed = true;
                store::increment("n", 10).unwrap();
            }
            n.unwrap_or(0) + 1
        });
        assert_eq!(sum.unwrap(), 11);
        let always = store::update("n", |_: Option<i64>| store::increment("n", 1).unwrap());
        refused(always, "store-conflict");
        let not: Result<i64> = store::try_update("n", None, |_| wharf::bail!("not today"));
        assert_eq!(not.unwrap_err().to_string(), "not today");
        assert_eq!(store::get::<i64>("n").unwrap(), Some(111));
    });
}

#[test]
fn limits_are_those_of_the_host() {
    let host = host();
    host.set_limits(Limits {
        max_store_bytes: 600,
        max_store_value_bytes: 100,
        ..Limits::default()
    });
    host.run(|| {
        refused(store::set("", &1), "store-key-invalid");
        refused(store::set_bytes("k", &[0; 101]), "store-value-too-big");
        refused(store::set_for("k", &1, Duration::from_micros(999)), "store-ttl-invalid");
        store::set_bytes("a", &[0; 100]).unwrap();
        refused(
            store::set_bytes("b", &[0; 100]).and_then(|_| store::set_bytes("c", &[])),
            "store-full",
        );
        store::set_bytes("a", &[1; 100]).unwrap();
        refused(store::increment("a", 1), "store-not-a-number");
        let wrong = store::get::<u8>("a").unwrap_err().to_string();
        assert!(wrong.contains("the store's value of \"a\" is no u8"), "{wrong}");
        assert!(store::delete("b").unwrap());
        assert!(!store::delete("b").unwrap());
        let version = store::set_bytes("b", b"1").unwrap();
        let swapped = store::compare_and_swap("b", Some(version), b"2", None).unwrap();
        assert!(swapped > version);
        refused(store::compare_and_swap("b", Some(version), b"3", None), "store-conflict");
    });
}
