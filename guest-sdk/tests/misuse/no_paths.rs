use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[wharf::channel]
impl Channel for Chat {
    const PATHS: &[&str] = &[];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat)
    }
}

fn main() {}
