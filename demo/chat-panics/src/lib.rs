//! A version of the chat that panics when the host tries it out, so that it never serves.

#![forbid(unsafe_code)]

use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[wharf::channel]
impl Channel for Chat {
    const PATHS: &[&str] = &["/chat", "/chat/:room_id"];

    fn on_start() -> Result {
        panic!("I am not ready yet")
    }

    fn on_connect(_conn: &Connection) -> Result<Self, Refusal> {
        Ok(Chat)
    }
}
