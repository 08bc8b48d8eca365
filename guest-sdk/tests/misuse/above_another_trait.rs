use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[wharf::channel]
impl Default for Chat {
    fn default() -> Self {
        Chat
    }
}

fn main() {}
