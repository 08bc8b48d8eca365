use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[wharf::channel]
impl Channel for Chat {
    const PATHS: &[&str] = &["/chat"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat)
    }

    fn on_close(&mut self, _code: Option<u16>, _reason: &str) -> Result {
        Ok(())
    }
}

fn main() {}
