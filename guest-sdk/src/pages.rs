//! Lists that the host gives a page at a time.

use crate::error::HostError;

/// Fetches a page: of what, after which, at most how many.
type Fetch<T> = fn(&str, Option<&str>, u32) -> Result<Vec<T>, HostError>;

/// Something in a list, which has a name to go on after.
pub(crate) trait Named {
    /// Returns the name.
    fn name(&self) -> &str;
}

impl Named for String {
    fn name(&self) -> &str {
        self
    }
}

/// Iterates over a list that is fetched a page at a time. It ends with the first error.
#[derive(Debug, Clone)]
pub(crate) struct Pages<T> {
    of: String,
    fetch: Fetch<T>,
    page: std::vec::IntoIter<T>,
    last: Option<String>,
    is_done: bool,
}

/// The largest page that the host gives.
const PAGE: u32 = 1000;

impl<T> Pages<T> {
    pub(crate) fn of(name: &str, fetch: Fetch<T>) -> Self {
        let page = Vec::new().into_iter();
        Self { of: name.to_owned(), fetch, page, last: None, is_done: false }
    }
}

impl<T: Named> Iterator for Pages<T> {
    type Item = Result<T, HostError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0 && !self.is_done {
            match (self.fetch)(&self.of, self.last.as_deref(), PAGE) {
                Ok(page) => {
                    // A short page is the last one, which saves asking for an empty one.
                    self.is_done = page.len() < PAGE as usize;
                    self.last = page.last().map(|last| last.name().to_owned());
                    self.page = page.into_iter();
                }
                Err(error) => {
                    self.is_done = true;
                    return Some(Err(error));
                }
            }
        }
        self.page.next().map(Ok)
    }
}
