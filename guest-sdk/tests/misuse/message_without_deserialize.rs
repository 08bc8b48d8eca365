use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

struct Incoming;

#[wharf::channel]
impl Channel for Chat {
    const PATHS: &[&str] = &["/chat"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat)
    }

    fn on_message(&mut self, _: &Connection, _: Incoming) -> Result {
        Ok(())
    }
}

fn main() {}
