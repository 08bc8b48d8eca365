use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[derive(Deserialize)]
struct In<'a> {
    text: &'a str,
}

#[wharf::channel]
impl Channel for Chat {
    const PATHS: &[&str] = &["/chat"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat)
    }

    fn on_message(&mut self, conn: &Connection, message: In<'_>) -> Result {
        conn.send(message.text)
    }
}

fn main() {}
