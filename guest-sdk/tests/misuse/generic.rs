use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat<T>(T);

#[wharf::channel]
impl<T: Default + Serialize + serde::de::DeserializeOwned + 'static> Channel for Chat<T> {
    const PATHS: &[&str] = &["/chat"];

    fn on_connect(_: &Connection) -> Result<Self, Refusal> {
        Ok(Chat(T::default()))
    }
}

fn main() {}
