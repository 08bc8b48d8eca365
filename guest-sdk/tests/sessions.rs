//! Sessions from one generation of a plugin to the next, while connections stay open.

use wharf::prelude::*;
use wharf::testing::{Client, Limits, TestHost};

/// Makes a channel that answers its one message with its session.
macro_rules! generation {
    ($(#[$attribute:meta])* $name:ident $body:tt, $new:expr) => {
        $(#[$attribute])*
        #[derive(Serialize, Deserialize, Debug)]
        struct $name $body

        #[wharf::channel]
        impl Channel for $name {
            const PATHS: &[&str] = &["/kept"];

            fn on_connect(_: &Connection) -> Result<Self, Refusal> {
                Ok($new)
            }

            fn on_message(&mut self, conn: &Connection, _: String) -> Result {
                conn.send(format!("{self:?} in generation {}", wharf::event::generation()))
            }
        }
    };
}

generation!(First { name: String, old: u8 }, First { name: "Ann".into(), old: 1 });
generation!(
    Grown {
        name: String,
        #[serde(default)]
        score: u32,
        #[serde(default)]
        rooms: Vec<String>
    },
    Grown { name: "Bob".into(), score: 7, rooms: vec!["a".into()] }
);
generation!(Broken { name: String, needed: u32 }, Broken { name: "Eve".into(), needed: 1 });
generation!(Nothing {}, Nothing {});

#[derive(Serialize, Deserialize)]
struct Unit;

#[wharf::channel]
impl Channel for Unit {
    const PATHS: &[&str] = &["/kept"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Unit)
    }

    fn on_message(&mut self, conn: &Connection, _: String) -> Result {
        conn.send("nothing to remember")
    }
}

#[derive(Serialize, Deserialize, Debug)]
struct AllDefaults {
    #[serde(default)]
    count: u32,
}

#[wharf::channel]
impl Channel for AllDefaults {
    const PATHS: &[&str] = &["/kept"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(AllDefaults { count: 0 })
    }

    fn on_message(&mut self, conn: &Connection, _: String) -> Result {
        self.count += 1;
        conn.send(format!("{self:?}"))
    }
}

fn connected<C: Channel>() -> (TestHost, Client) {
    let host = TestHost::new::<C>();
    let client = host.connect("/kept").expect_open();
    (host, client)
}

#[track_caller]
fn expect(client: &Client, answer: &str) {
    client.send("what do you remember?");
    client.assert_received(answer);
}

#[test]
fn a_struct_may_gain_and_lose_fields() {
    let (host, client) = connected::<First>();
    expect(&client, "First { name: \"Ann\", old: 1 } in generation 1");
    host.reload::<Grown>();
    expect(&client, "Grown { name: \"Ann\", score: 0, rooms: [] } in generation 2");
    // The fields that the first generation knew are still there, should it come back.
    let (host, client) = connected::<Grown>();
    host.reload::<Grown>();
    expect(&client, "Grown { name: \"Bob\", score: 7, rooms: [\"a\"] } in generation 2");
}

#[test]
fn a_session_that_does_not_fit_ends_its_connection_and_says_what_to_do() {
    let (host, client) = connected::<First>();
    host.reload::<Broken>();
    client.send("what do you remember?");
    assert_eq!(client.closed(), Some((1011, "guest-failure".to_owned())));
    let errors = host.errors();
    assert!(errors[0].contains("`sessions::Broken`"), "{errors:?}");
    assert!(errors[0].contains("`#[serde(default)]`"), "{errors:?}");
    assert!(errors[0].contains("missing field `needed`"), "{errors:?}");
    assert!(
        !errors[0].contains("field `name`"),
        "a field that is there is not to blame: {errors:?}"
    );
    assert_eq!(errors.len(), 2, "the error and the panic, and nothing of on_close: {errors:?}");
}

#[test]
fn a_session_without_data_is_no_bytes_and_may_gain_fields() {
    for (host, client) in [connected::<Unit>(), connected::<Nothing>()] {
        assert!(client.session_bytes().is_empty());
        host.reload::<AllDefaults>();
        expect(&client, "AllDefaults { count: 1 }");
        expect(&client, "AllDefaults { count: 2 }");
    }
}

#[test]
fn a_session_may_lose_all_of_its_fields() {
    let (host, client) = connected::<First>();
    host.reload::<Nothing>();
    expect(&client, "Nothing in generation 2");
    host.reload::<Unit>();
    expect(&client, "nothing to remember");
}

#[derive(Serialize, Deserialize)]
struct Hoarder {
    kept: String,
}

#[wharf::channel]
impl Channel for Hoarder {
    const PATHS: &[&str] = &["/kept"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        Ok(Hoarder { kept: conn.query("kept").unwrap_or_default() })
    }

    fn on_message(&mut self, conn: &Connection, text: String) -> Result {
        self.kept.push_str(&text);
        conn.send("kept")
    }
}

#[test]
fn a_session_that_is_too_big_fails_as_a_panic_does() {
    let (host, client) = connected::<Hoarder>();
    host.set_limits(Limits { max_session_bytes: 100, ..Limits::default() });
    client.send("x".repeat(200));
    client.assert_received_nothing();
    assert_eq!(client.closed(), Some((1011, "guest-failure".to_owned())));
    assert_eq!(client.session::<Hoarder>().kept, "");
    let target = format!("/kept?kept={}", "x".repeat(200));
    assert_eq!(host.connect(&target).expect_refused().status(), Some(500));
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Place {
    Nowhere,
    At { ip: std::net::IpAddr, seen: std::collections::BTreeMap<u32, String> },
    Far { distance: u128 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Inner {
    ip: std::net::IpAddr,
}

/// Keeps what serde reads by way of a buffer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Traveller {
    place: Place,
    #[serde(flatten)]
    inner: Option<Inner>,
}

#[wharf::channel]
impl Channel for Traveller {
    const PATHS: &[&str] = &["/travel/:to"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        let ip: std::net::IpAddr = "192.0.2.7".parse()?;
        let place = match conn.param("to")?.as_str() {
            "far" => Place::Far { distance: 7 },
            "at" => Place::At { ip, seen: [(7, "seven".to_owned())].into() },
            _ => Place::Nowhere,
        };
        Ok(Traveller { place, inner: Some(Inner { ip }) })
    }

    fn on_message(&mut self, conn: &Connection, to: String) -> Result {
        if to == "far" {
            self.place = Place::Far { distance: 7 };
        }
        conn.send(format!("{self:?}"))
    }
}

#[test]
fn what_on_connect_returned_is_what_later_callbacks_see() {
    let host = TestHost::new::<Traveller>();
    let ann = host.connect("/travel/at").expect_open();
    let kept = ann.session::<Traveller>();
    assert!(kept.inner.is_some());
    ann.send("look");
    ann.assert_received(format!("{kept:?}"));
    assert!(host.errors().is_empty());
}

#[test]
fn a_session_that_could_not_be_read_back_is_refused_where_it_is_made() {
    let host = TestHost::new::<Traveller>();
    assert_eq!(host.connect("/travel/far").expect_refused().status(), Some(500));
    let errors = host.errors();
    let said = "on_connect failed: the session `sessions::Traveller` would not be read back: its \
                field `place.distance`: ";
    assert!(errors[0].starts_with(said), "{errors:?}");

    let ann = host.connect("/travel/nowhere").expect_open();
    ann.send("far");
    ann.assert_received(json!({ "type": "error", "code": "INTERNAL_ERROR" }));
    assert!(host.errors()[0].contains("`place.distance`"));
    assert_eq!(ann.session::<Traveller>().place, Place::Nowhere);
    ann.send("look");
    assert!(ann.is_open());
}

#[derive(Debug, Serialize, Deserialize)]
enum Stage {
    Lobby,
}

#[wharf::channel]
impl Channel for Stage {
    const PATHS: &[&str] = &["/stage"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Stage::Lobby)
    }

    fn on_message(&mut self, conn: &Connection, _: String) -> Result {
        conn.send(format!("{self:?}"))
    }
}

#[test]
fn a_session_may_be_an_enum_with_one_variant() {
    let ann = TestHost::new::<Stage>().connect("/stage").expect_open();
    ann.send("look");
    ann.assert_received("Lobby");
    assert!(ann.is_open());
}
