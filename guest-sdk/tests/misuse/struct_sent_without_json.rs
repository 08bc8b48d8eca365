use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[derive(Serialize)]
struct Pong {
    generation: u64,
}

#[wharf::channel]
impl Channel for Chat {
    const PATHS: &[&str] = &["/chat"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat)
    }

    fn on_message(&mut self, conn: &Connection, _: String) -> Result {
        conn.send(&Pong { generation: 1 })
    }
}

fn main() {}
