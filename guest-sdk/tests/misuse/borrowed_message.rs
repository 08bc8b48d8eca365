use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[wharf::channel]
impl Channel for Chat {
    const PATHS: &[&str] = &["/chat"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat)
    }

    fn on_message(&mut self, conn: &Connection, message: &str) -> Result {
        conn.send(message)
    }
}

fn main() {}
