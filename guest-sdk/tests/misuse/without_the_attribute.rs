use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

impl Channel for Chat {
    const PATHS: &'static [&'static str] = &["/chat"];
    type Message = String;

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat)
    }
}

fn main() {}
