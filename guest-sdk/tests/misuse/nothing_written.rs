use wharf::prelude::*;

#[derive(Serialize, Deserialize)]
struct Chat;

#[wharf::channel]
impl Channel for Chat {}

fn main() {}
