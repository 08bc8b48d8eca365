use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[wharf::channel("/chat")]
impl Channel for Chat {
    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat)
    }
}

fn main() {}
