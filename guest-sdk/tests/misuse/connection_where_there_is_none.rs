use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[wharf::channel]
impl Channel for Chat {
    const PATHS: &[&str] = &["/chat"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat)
    }

    fn on_room_event(_: &mut (), conn: &Connection, _: &Room, event: String) -> Result {
        conn.send(event)
    }

    fn on_channel_timer(conn: &Connection, _: Timer) -> Result {
        conn.send("now")
    }
}

fn main() {}
