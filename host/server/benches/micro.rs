//! What single steps of a message's journey take, in time. `cargo xtask bench micro` runs this;
//! what has to be compiled before is compiled by it as well.

mod jobs;

use std::cell::RefCell;

use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

/// Names of the jobs, for the table.
fn names() -> impl Iterator<Item = &'static str> {
    jobs::ALL.iter().map(|kind| kind.name)
}

/// A row has the time of one run; the line below it says how many units were done in a second.
#[divan::bench(args = names())]
fn step(bencher: Bencher<'_, '_>, name: &str) {
    let kind = jobs::ALL.iter().find(|kind| kind.name == name).expect("one of those listed");
    let job = match kind.start() {
        Ok(job) => RefCell::new(job),
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::exit(1);
        }
    };
    bencher
        .counter(ItemsCount::new(kind.units))
        .with_inputs(|| job.borrow_mut().prepare())
        .bench_local_values(|()| job.borrow_mut().run());
}
