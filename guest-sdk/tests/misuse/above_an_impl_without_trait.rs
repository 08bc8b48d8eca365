use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[wharf::channel]
impl Chat {
    const PATHS: &[&str] = &["/chat"];
}

fn main() {}
