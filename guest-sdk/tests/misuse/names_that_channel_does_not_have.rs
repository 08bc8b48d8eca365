use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[wharf::channel]
impl Channel for Chat {
    const PATH: &[&str] = &["/chat"];
    const PATHS: &[&str] = &["/chat"];
    type Messages = String;

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat)
    }

    fn on_mesage(&mut self, conn: &Connection, message: String) -> Result {
        self.greet(conn, &message)
    }

    fn greet(&self, conn: &Connection, name: &str) -> Result {
        conn.send(format!("hello {name}"))
    }
}

fn main() {}
