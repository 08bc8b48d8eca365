use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[wharf::channel]
impl Channel for Chat {
    const PATHS: &[&str] = &["/chat"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        match conn.query("name") {
            Some(_) => Ok(Chat),
            None => Err("no name".to_string()),
        }
    }

    fn on_message(&mut self, _: &Connection, text: String) -> Result {
        let check = || -> Result<(), &str> { Err("of its own") };
        check().map_err(Error::msg)?;
        if text.is_empty() {
            return Err(Refusal::forbidden("empty"));
        }
        Err(format!("cannot do {text}"))
    }
}

fn main() {}
