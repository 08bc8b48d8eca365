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

use wharf::prelude::*;
use wharf::users::user_connections;

/// Largest number of users that one notification is for.
const MOST_RECEIVERS: usize = 50;

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
    type Message = Incoming;

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
                if to.len() > MOST_RECEIVERS {
                    let why = format!("a notification is for at most {MOST_RECEIVERS} users");
                    return conn.send(json!({ "type": "error", "message": why }));
                }
                let (online, offline): (Vec<_>, Vec<_>) = to.iter().partition(|u| is_online(u));
                conn.send_to_users(&online, self.notification(&text))?;
                conn.send(json!({ "type": "delivered", "online": online, "offline": offline }))
            }
            Incoming::Announce { text } => {
                to_all().except_user(&self.user).send(self.notification(&text))
            }
            Incoming::Read { id } => {
                conn.others().send_to_user(&self.user, json!({ "type": "read", "id": id }))
            }
            Incoming::SignOutElsewhere => user_connections(&self.user)
                .filter(|id| id != conn.id())
                .try_for_each(|id| disconnect(&id, 4001, "signed out")),
        }
    }

    fn on_outside_message(FromOutside { to, from, text }: FromOutside) -> Result<Delivered> {
        let devices = user_connections(&to).count();
        if devices == 0 {
            return Err(Invalid::new(format!("{to} is on no device")).code("OFFLINE").into());
        }
        send_to_user(&to, json!({ "type": "notification", "from": from, "text": text }))?;
        Ok(Delivered { devices })
    }
}

impl Notifications {
    fn notification(&self, text: &str) -> wharf::serde_json::Value {
        json!({ "type": "notification", "from": self.user, "text": text })
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
    fn nobody_is_anonymous() {
        let host = TestHost::new::<Notifications>();
        assert_eq!(host.connect("/notifications").expect_refused().status(), Some(401));
        assert_eq!(host.connect("/notifications?user=").expect_refused().status(), Some(400));
    }
}
