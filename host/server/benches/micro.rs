//! The time of single steps of a message's journey. `cargo xtask bench micro` runs this, and
//! compiles the plugins before.

mod jobs;

use std::cell::RefCell;

use divan::Bencher;
use divan::counter::ItemsCount;

fn main() {
    divan::main();
}

/// Returns the names of the jobs, for the table.
fn names() -> impl Iterator<Item = &'static str> {
    jobs::ALL.iter().map(|kind| kind.name)
}

/// Measures the time of one run, which is a row. The line below it has the units done in a second.
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
