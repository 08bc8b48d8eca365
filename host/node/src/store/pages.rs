//! Reading many entries, a page at a time.

use wharf_cluster::{Engine, Entry, Unavailable};

/// Entries of a page whose values may be large.
const FEW: usize = 64;

/// Most entries of a page.
const MANY: usize = 1000;

/// Bytes of a page, about: few enough for one answer in time.
const PAGE_BYTES: usize = 4 << 20;

/// Pages of the entries of a store. Their sizes follow those of the values.
pub(super) struct Pages<'a> {
    engine: &'a dyn Engine,
    /// Beginning of the names of the store.
    base: &'a str,
    prefix: String,
    after: Option<String>,
    most: usize,
    has_ended: bool,
}

impl<'a> Pages<'a> {
    /// Begins with the entry after `after`.
    pub(super) fn new(
        engine: &'a dyn Engine,
        base: &'a str,
        prefix: &str,
        after: Option<&str>,
    ) -> Pages<'a> {
        Pages {
            engine,
            base,
            prefix: format!("{base}{prefix}"),
            after: after.map(|after| format!("{base}{after}")),
            most: FEW,
            has_ended: false,
        }
    }

    /// Returns the next entries by their keys, at most `limit`; `None` after the last ones.
    pub(super) async fn next(
        &mut self,
        limit: usize,
    ) -> Result<Option<Vec<(String, Entry)>>, Unavailable> {
        if self.has_ended || limit == 0 {
            return Ok(None);
        }
        let most = self.most.min(limit);
        let asked = u32::try_from(most).unwrap_or(u32::MAX);
        let mut found = self.engine.list(&self.prefix, self.after.as_deref(), asked).await?;
        // No more than was asked for, whatever comes.
        found.truncate(most);
        self.has_ended = found.len() < most;
        if let Some((last, _)) = found.last() {
            self.after = Some(last.clone());
        }
        let bytes: usize = found.iter().map(|(name, entry)| name.len() + entry.value.len()).sum();
        let each = (bytes / found.len().max(1)).max(1);
        self.most = (PAGE_BYTES / each).clamp(FEW.min(16), MANY);
        let keys = found
            .into_iter()
            .filter_map(|(name, entry)| Some((name.strip_prefix(self.base)?.to_owned(), entry)));
        Ok(Some(keys.collect()))
    }
}
