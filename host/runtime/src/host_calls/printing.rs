//! The event in which an instance prints, and the panic that it prints.
//!
//! A guest of Rust prints its last words to standard error before it traps. They are kept for the
//! line about the failure, so that one failure is one line, and that line has the place and the reason.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use wharf_contract::text::cut;
use wharf_hub::connection::ConnectionRecord;
use wharf_hub::connection_id::ConnectionId;

/// Longest part of last words that is kept, in bytes.
const MAX_WORDS_BYTES: usize = 4 * 1024;

/// The part of an instance's state that its outputs share with it.
#[derive(Debug, Default)]
pub struct Printing {
    /// Number of the connection whose event is being handled; 0 if there is none.
    connection: AtomicU64,
    /// True if there are last words, so that most events need not look for them.
    is_ending: AtomicBool,
    words: Mutex<Option<LastWords>>,
}

/// The text that a guest prints before it traps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastWords {
    /// Place in the source code, if it is a panic: file, line and column.
    pub place: Option<String>,
    /// Reason, with line feeds.
    pub reason: String,
    /// All lines, as they were printed.
    pub lines: Vec<String>,
}

impl Printing {
    /// Begins an event.
    pub(crate) fn begin(&self, client: Option<&ConnectionRecord>) {
        let number = client.and_then(|client| client.id.local_number()).unwrap_or_default();
        self.connection.store(number, Ordering::Relaxed);
    }

    /// Returns the connection of the event.
    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        match self.connection.load(Ordering::Relaxed) {
            0 => None,
            number => Some(ConnectionId::local(number)),
        }
    }

    /// Keeps a line of standard error if it is one of a guest's last words.
    pub(crate) fn keep(&self, line: &str) -> bool {
        let mut words = self.words.lock();
        match (words.as_mut(), beginning(line)) {
            (Some(words), _) => words.go_on(line),
            (None, Some(beginning)) => {
                *words = Some(beginning);
                self.is_ending.store(true, Ordering::Relaxed);
            }
            (None, None) => return false,
        }
        true
    }

    /// Takes the last words, if there are any.
    pub(crate) fn take_words(&self) -> Option<LastWords> {
        if !self.is_ending.swap(false, Ordering::Relaxed) {
            return None;
        }
        self.words.lock().take()
    }
}

impl LastWords {
    fn go_on(&mut self, line: &str) {
        let free = MAX_WORDS_BYTES.saturating_sub(self.reason.len());
        if free == 0 {
            return;
        }
        if !self.reason.is_empty() {
            self.reason.push('\n');
        }
        self.reason.push_str(cut(line, free));
        self.lines.push(line.to_owned());
    }
}

/// Returns the last words that this line begins, if it is such a line of Rust's standard library.
fn beginning(line: &str) -> Option<LastWords> {
    let lines = || vec![line.to_owned()];
    if line.starts_with("memory allocation of ") && line.ends_with(" failed") {
        return Some(LastWords { place: None, reason: line.to_owned(), lines: lines() });
    }
    let (_, place) = line.strip_prefix("thread '")?.split_once(" panicked at ")?;
    let place = place.strip_suffix(':')?.to_owned();
    Some(LastWords { place: Some(place), reason: String::new(), lines: lines() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_kept_with_its_place_and_reason() {
        let printing = Printing::default();
        assert!(!printing.keep("all is well"));
        for line in ["thread '<unnamed>' (1) panicked at src/lib.rs:64:37:", "one", "two"] {
            assert!(printing.keep(line), "{line}");
        }
        let words = printing.take_words().expect("last words");
        assert_eq!(words.place.as_deref(), Some("src/lib.rs:64:37"));
        assert_eq!((words.reason.as_str(), words.lines.len()), ("one\ntwo", 3));
        assert_eq!(printing.take_words(), None);
        assert!(!printing.keep("all is well again"));
    }

    #[test]
    fn memory_that_is_not_there_is_a_reason_without_a_place() {
        let printing = Printing::default();
        assert!(printing.keep("memory allocation of 100 bytes failed"));
        let words = printing.take_words().expect("last words");
        assert_eq!((words.place, words.reason.as_str()), (None, words.lines[0].as_str()));
    }

    #[test]
    fn last_words_are_bounded() {
        let printing = Printing::default();
        printing.keep("thread 'main' panicked at src/lib.rs:1:1:");
        (0..1_000).for_each(|_| assert!(printing.keep(&"é".repeat(100))));
        let words = printing.take_words().expect("last words");
        assert!(words.reason.len() <= MAX_WORDS_BYTES + 100, "{}", words.reason.len());
        assert!(words.lines.len() < 30, "{}", words.lines.len());
    }
}
