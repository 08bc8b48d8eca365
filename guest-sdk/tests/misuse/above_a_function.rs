use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[wharf::channel]
fn on_message(_: &mut Chat, conn: &Connection, message: String) -> Result {
    conn.send(message)
}

fn main() {}
