//! Lists that the host gives a page at a time.

/// A function that asks for a page of ids: of a list, after an id, at most a number.
type Fetch = fn(&str, Option<&str>, u32) -> Vec<String>;

/// Iterates over ids that are fetched a page at a time.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    of: String,
    fetch: Fetch,
    page: std::vec::IntoIter<String>,
    last: Option<String>,
    done: bool,
}

/// The largest page that the host gives.
const PAGE: u32 = 1000;

impl Pages {
    pub(crate) fn of(name: &str, fetch: Fetch) -> Self {
        let page = Vec::new().into_iter();
        Self { of: name.to_owned(), fetch, page, last: None, done: false }
    }
}

impl Iterator for Pages {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if self.page.len() == 0 && !self.done {
            let page = (self.fetch)(&self.of, self.last.as_deref(), PAGE);
            // A short page is the last one, which saves asking for an empty one.
            self.done = page.len() < PAGE as usize;
            self.last = page.last().cloned();
            self.page = page.into_iter();
        }
        self.page.next()
    }
}
