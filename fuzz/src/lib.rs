//! Fuzzing with the stable toolchain.
//!
//! A target is a test beside the code that it tries, so that private code stays private. The test
//! hands [`run`] a function that takes bytes, panics if a promise is broken, and returns what came
//! of the bytes. `run` feeds it the kept inputs in `fuzz/corpus/TARGET/`, and then changes of them.
//! An input with a result that no other input had is changed further.
//!
//! A test runs for a second. `cargo xtask fuzz [TARGET...] --seconds N` runs targets for longer.
//!
//! - `corpus`: the kept inputs;
//! - `mutation`: changes of them;
//! - `watch`: inputs that end the process or never end.

mod corpus;
mod mutation;
mod watch;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use corpus::Corpus;
use mutation::{Mutator, Random};
use watch::Watch;

/// Time for one target in a test run, unless `WHARF_FUZZ_SECONDS` says otherwise.
const SHORT_RUN: Duration = Duration::from_secs(1);

/// Largest input, in bytes, unless a kept one is larger.
const MAX_BYTES: usize = 4096;

/// Largest number of inputs that are changed further.
const MAX_POOL: usize = 4096;

/// Feeds a target the inputs of its corpus and changes of them.
///
/// `words` are put into inputs as a whole: names and numbers that chance would not find.
///
/// # Panics
///
/// A call of `check` panics. The input is kept in the corpus, and its file and the seed are printed.
pub fn run<R: Hash>(target: &str, words: &[&[u8]], check: impl Fn(&[u8]) -> R) {
    let seconds = number("WHARF_FUZZ_SECONDS").map(Duration::from_secs);
    let limit = seconds.unwrap_or(SHORT_RUN);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = number("WHARF_FUZZ_SEED").unwrap_or(since_1970.as_nanos() as u64);
    let corpus = Corpus::of(target);
    let mut kept = corpus.inputs();
    assert!(!kept.is_empty(), "{} has no inputs", corpus.folder().display());
    let watch = Watch::begin(&corpus);
    let mut known = HashSet::new();
    let mut feed = |input: &[u8]| -> bool {
        watch.before(input);
        match catch_unwind(AssertUnwindSafe(|| check(input))) {
            Ok(result) => known.insert(hash(&result)),
            Err(panic) => {
                eprintln!("fuzz: {target}: seed {seed}: {}", corpus.keep_failure(input));
                resume_unwind(panic);
            }
        }
    };
    for input in &kept {
        feed(input);
    }
    let of_corpus = kept.len();
    let max_bytes = kept.iter().map(Vec::len).max().unwrap_or_default().max(MAX_BYTES);
    let mut mutator = Mutator::new(Random::new(seed), words, max_bytes);
    let begun = Instant::now();
    let mut inputs = of_corpus;
    while begun.elapsed() < limit {
        let input = mutator.change(&kept);
        inputs += 1;
        if feed(&input) && kept.len() < MAX_POOL {
            kept.push(input);
        }
    }
    watch.end();
    println!(
        "fuzz: {target}: {inputs} inputs in {:.1} s, {of_corpus} of them kept, {} different results, \
         seed {seed}",
        begun.elapsed().as_secs_f64(),
        known.len()
    );
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text:?}")))
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// The target of these tests; its corpus has the inputs `hello` and `world`.
    const SELF: &str = "self";

    #[test]
    fn the_kept_inputs_come_first_and_then_others() {
        let seen = RefCell::new(Vec::new());
        run(SELF, &[], |input| seen.borrow_mut().push(input.to_vec()));
        let seen = seen.into_inner();
        assert_eq!(seen[..2], [b"hello".to_vec(), b"world".to_vec()]);
        assert!(seen[2..].iter().any(|input| !seen[..2].contains(input)));
    }

    #[test]
    fn results_that_are_new_lead_further() {
        // Six right letters in a row are not found at once in a second, and one after the other they
        // are.
        let letters = [b"w", b"h", b"a", b"r", b"f", b"!"].map(<[u8; 1]>::as_slice);
        let longest = Cell::new(0);
        run(SELF, &letters, |input| {
            let right = input.iter().zip(b"wharf!").take_while(|(a, b)| a == b).count();
            longest.set(longest.get().max(right));
            right
        });
        assert_eq!(longest.get(), 6);
    }

    #[test]
    fn a_failure_is_raised_again_and_its_input_is_kept() {
        const TARGET: &str = "self-failing";
        let folder = Corpus::of(TARGET).folder().to_owned();
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("seed"), "a seed").expect("a file");
        let failed = catch_unwind(|| run(TARGET, &[], |input| assert!(input.len() < 9)));
        let kept = Corpus::of(TARGET).inputs();
        std::fs::remove_dir_all(&folder).expect("the folder is removed");
        assert!(failed.is_err());
        assert!(kept.iter().any(|input| input.len() >= 9), "{kept:?}");
    }
}
