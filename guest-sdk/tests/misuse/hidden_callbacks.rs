use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

macro_rules! callbacks {
    () => {};
}

#[wharf::channel]
impl Channel for Chat {
    const PATHS: &[&str] = &["/chat"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat)
    }

    callbacks!();
}

fn main() {}
