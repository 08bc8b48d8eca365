use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[wharf::channel]
impl Channel for Chat {
    const PATHS: &[&str] = &["/chat/:room/:seat", "/all"];

    fn on_connect(conn: &Connection) -> Result<Self, Refusal> {
        let _: String = conn.param("rom")?;
        let _: u32 = conn.param_as::<u32>("place")?;
        // Only the compiler of the whole knows these.
        let name = "later".to_owned();
        conn.param(&name)?;
        conn.param("seat")?;
        Ok(Chat)
    }
}

fn main() {}
