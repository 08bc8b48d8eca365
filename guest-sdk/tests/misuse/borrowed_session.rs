use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat<'a> {
    name: &'a str,
}

#[wharf::channel]
impl Channel for Chat<'_> {
    const PATHS: &[&str] = &["/chat"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat { name: "Ann" })
    }
}

fn main() {}
