use wharf::prelude::*;

#[wharf::channel]
#[derive(Serialize, Deserialize)]
struct Chat;

fn main() {}
