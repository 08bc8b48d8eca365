//! Notifications for users, on all of their devices.
//!
//! A client connects to `/notifications?user=ann`, once for each of Ann's devices. (A real channel
//! would take a token and check it.) It can send:
//!
//! - `{"type": "notify", "to": ["bob", "eve"], "text": …}`: each of them gets
//!   `{"type": "notification", "from": "ann", "text": …}` on every device, and the sender gets the
//!   list of receivers: `{"type": "delivered", "online": ["bob"], "offline": ["eve"]}`;
//! - `{"type": "announce", "text": …}`: the same notification to all except Ann's devices;
//! - `{"type": "read", "id": …}`: Ann's other devices are told, so that they can remove it;
//! - `{"type": "sign_out_elsewhere"}`: Ann's other devices are closed with code 4001.
//!
//! Other programs notify users by the operator's API, `POST /api/channels/notifications/messages`:
//! `{"to": "ann", "from": "the shop", "text": …}` is answered with the number of devices that got
//! it, or refused with the code `OFFLINE`.

#![forbid(unsafe_code)]

//!
//! This example tells anybody who is online, by `delivered`. A real channel would tell friends only.

use wharf::prelude::*;
use wharf::users::user_connections;

/// Largest number of users that one notification is for.
const MOST_RECEIVERS: usize = 50;
/// Longest text of a notification, in bytes.
const LONGEST_TEXT: usize = 4000;
/// Longest name of a user or of a notification, in bytes.
const LONGEST_NAME: usize = 255;

#[derive(Serialize, Deserialize)]
struct Notifications {
    user: String,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Incoming {
    Notify { to: Vec<String>, text: String },
    Announce { text: String },
    Read { id: String },
    SignOutElsewhere,
}

/// A notification from another program.
#[derive(Deserialize)]
struct FromOutside {
    to: String,
    #[serde(default)]
    from: Option<String>,
    text: String,
}

#[derive(Serialize)]
struct Delivered {
    devices: usize,
}

#[wharf::channel]
impl Channel for Notifications {
    const PATHS: &[&str] = &["/notifications"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        let user = conn.query("user").ok_or(Refusal::unauthorized("user is required"))?;
        if conn.identify(&user).is_err() {
            return Err(Refusal::bad_request("a user's id has 1 to 255 bytes"));
        }
        let devices = user_connections(&user).count();
        conn.send(json!({ "type": "welcome", "user": user, "devices": devices }))?;
        Ok(Notifications { user })
    }

    fn on_message(&mut self, conn: &Connection, message: Incoming) -> Result {
        match message {
            Incoming::Notify { to, text } => {
                check("text", &text, LONGEST_TEXT)?;
                to.iter().try_for_each(|user| check("to", user, LONGEST_NAME))?;
                if to.len() > MOST_RECEIVERS {
                    let why = format!("a notification is for at most {MOST_RECEIVERS} users");
                    return conn.send(json!({ "type": "error", "message": why }));
                }
                let (online, offline): (Vec<_>, Vec<_>) = to.iter().partition(|u| is_online(u));
                conn.send_to_users(&online, self.notification(&text))?;
                conn.send(json!({ "type": "delivered", "online": online, "offline": offline }))
            }
            Incoming::Announce { text } => {
                check("text", &text, LONGEST_TEXT)?;
                to_all().except_user(&self.user).send(self.notification(&text))
            }
            Incoming::Read { id } => {
                check("id", &id, LONGEST_NAME)?;
                conn.others().send_to_user(&self.user, json!({ "type": "read", "id": id }))
            }
            Incoming::SignOutElsewhere => user_connections(&self.user)
                .filter(|id| id != conn.id())
                .try_for_each(|id| match disconnect(&id, 4001, "signed out") {
                    // That device has gone in the meantime.
                    Err(error) if error.is_gone() => Ok(()),
                    done => done,
                }),
        }
    }

    fn on_outside_message(FromOutside { to, from, text }: FromOutside) -> Result<Delivered> {
        // Sending first: a device that is asked for may be gone a moment later.
        match send_to_user(&to, json!({ "type": "notification", "from": from, "text": text })) {
            Ok(()) => Ok(Delivered { devices: user_connections(&to).count() }),
            Err(error) if error.is_gone() => {
                Err(Invalid::new(format!("{to} is on no device")).code("OFFLINE").into())
            }
            Err(error) => Err(error),
        }
    }
}

impl Notifications {
    fn notification(&self, text: &str) -> wharf::serde_json::Value {
        json!({ "type": "notification", "from": self.user, "text": text })
    }
}

/// Checks the length of what a client has chosen, since others are sent it.
fn check(field: &str, value: &str, most: usize) -> Result<(), Invalid> {
    match value.len() <= most {
        true => Ok(()),
        false => {
            let why = format_args!("has at most {most} bytes");
            Err(Invalid::new("the message is too long").field(field, why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wharf::testing::{Client, TestHost};

    fn device(host: &TestHost, user: &str) -> Client {
        let client = host.connect(&format!("/notifications?user={user}")).expect_open();
        assert_eq!(client.next_json()["type"], "welcome");
        client
    }

    #[test]
    fn a_notification_reaches_all_devices_and_the_sender_hears_who_was_reached() {
        let host = TestHost::new::<Notifications>();
        let ann = device(&host, "ann");
        let [phone, laptop] = [device(&host, "bob"), device(&host, "bob")];
        ann.send(json!({ "type": "notify", "to": ["bob", "eve"], "text": "hi" }));
        for device in [&phone, &laptop] {
            device.assert_received(json!({ "type": "notification", "from": "ann", "text": "hi" }));
        }
        ann.assert_received(json!({ "type": "delivered", "online": ["bob"], "offline": ["eve"] }));
    }

    #[test]
    fn what_a_user_does_on_one_device_the_others_hear_of() {
        let host = TestHost::new::<Notifications>();
        let [phone, laptop] = [device(&host, "bob"), device(&host, "bob")];
        let ann = device(&host, "ann");
        phone.send(json!({ "type": "announce", "text": "hi all" }));
        assert_eq!(ann.next_json()["text"], "hi all");
        phone.send(json!({ "type": "read", "id": "7" }));
        laptop.assert_received(json!({ "type": "read", "id": "7" }));
        phone.send(json!({ "type": "sign_out_elsewhere" }));
        assert_eq!(laptop.closed(), Some((4001, "signed out".to_owned())));
        assert!(phone.is_open());
        phone.assert_received_nothing();
    }

    #[test]
    fn other_programs_notify_who_is_there_and_hear_who_is_not() {
        let host = TestHost::new::<Notifications>();
        let [phone, laptop] = [device(&host, "bob"), device(&host, "bob")];
        let sent = host.outside_message(json!({ "to": "bob", "from": "the shop", "text": "sold" }));
        assert_eq!(sent, Ok(json!({ "devices": 2 })));
        for device in [&phone, &laptop] {
            let sold = json!({ "type": "notification", "from": "the shop", "text": "sold" });
            device.assert_received(sold);
        }
        let refusal = host.outside_message(json!({ "to": "eve", "text": "hi" })).unwrap_err();
        assert_eq!((refusal.status, &refusal.body["error"]["code"]), (422, &json!("OFFLINE")));
        let refusal = host.outside_message(json!({ "to": "bob" })).unwrap_err();
        assert_eq!(refusal.status, 422);
    }

    #[test]
    fn what_is_too_long_is_the_clients_mistake() {
        let host = TestHost::new::<Notifications>();
        let ann = device(&host, "ann");
        let long = "x".repeat(LONGEST_TEXT + 1);
        for message in [
            json!({ "type": "notify", "to": ["bob"], "text": long }),
            json!({ "type": "notify", "to": [long], "text": "hi" }),
            json!({ "type": "announce", "text": long }),
            json!({ "type": "read", "id": long }),
        ] {
            ann.send(message);
            assert_eq!(ann.next_json()["code"], "INVALID");
        }
        assert!(host.errors().is_empty());
    }

    #[test]
    fn nobody_is_anonymous() {
        let host = TestHost::new::<Notifications>();
        assert_eq!(host.connect("/notifications").expect_refused().status(), Some(401));
        assert_eq!(host.connect("/notifications?user=").expect_refused().status(), Some(400));
    }
}
