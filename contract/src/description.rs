//! The description of a channel by itself when it is loaded: its paths and subprotocols.

use crate::header::is_token;
use crate::pattern::{MAX_PATTERN_BYTES, Pattern, PatternError};
use crate::router::Router;
use crate::sentences::sentences;
use crate::text::Shown;

/// Largest number of path patterns of a channel.
pub const MAX_PATHS: usize = 64;
/// Largest number of subprotocols of a channel.
pub(crate) const MAX_SUBPROTOCOLS: usize = 16;
/// Longest name of a subprotocol, in bytes.
pub(crate) const MAX_SUBPROTOCOL_BYTES: usize = 255;

sentences! {
    /// The reason why a channel with such a description is not loaded.
    pub enum Misdescribed {
        /// A path that is too long to be kept.
        PathTooLong { path: Shown, bytes: usize } =
            "its path {path}… has {bytes} bytes; {MAX_PATTERN_BYTES} are allowed";
        /// Too many paths.
        TooManyPaths = "it declares more than {MAX_PATHS} paths";
        /// No path.
        NoPath = "it declares no path; set PATHS in the channel";
        /// A path that is not a pattern.
        PathWrong { path: String, error: PatternError } = "its path {path:?} is wrong: {error}";
        /// A path that another plugin has, or this one twice.
        PathClaimed { path: Pattern, holder: String } =
            "its path {path} is claimed already, by {holder}";
        /// A subprotocol whose name is too long.
        SubprotocolTooLong { name: Shown, bytes: usize } =
            "its subprotocol {name}… has {bytes} bytes; {MAX_SUBPROTOCOL_BYTES} are allowed";
        /// A subprotocol with other characters than a token of RFC 9110 (RFC 6455, 4.1).
        SubprotocolInvalid { name: Shown } = "{name} is not a name for a subprotocol";
        /// Too many subprotocols.
        TooManySubprotocols = "it declares more than {MAX_SUBPROTOCOLS} subprotocols";
    }
}

/// The description of a channel so far.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// Path patterns, as the channel gave them.
    pub paths: Vec<String>,
    /// Subprotocols, best first.
    pub subprotocols: Vec<String>,
    /// The version of the session bytes.
    pub session_format: u32,
    /// First part that could not be kept.
    pub problem: Option<Misdescribed>,
}

impl Description {
    /// Adds a path pattern. [`patterns`](Description::patterns) checks it.
    pub fn path(&mut self, pattern: String) {
        if pattern.len() > MAX_PATTERN_BYTES {
            let (path, bytes) = (Shown::name(&pattern), pattern.len());
            self.problem.get_or_insert(Misdescribed::PathTooLong { path, bytes });
        } else if self.paths.len() < MAX_PATHS {
            self.paths.push(pattern);
        } else {
            self.problem.get_or_insert(Misdescribed::TooManyPaths);
        }
    }

    /// Adds a subprotocol.
    pub fn subprotocol(&mut self, name: String) {
        if name.len() > MAX_SUBPROTOCOL_BYTES {
            let (shown, bytes) = (Shown::name(&name), name.len());
            self.problem.get_or_insert(Misdescribed::SubprotocolTooLong { name: shown, bytes });
        } else if !is_token(&name) {
            let name = Shown::name(&name);
            self.problem.get_or_insert(Misdescribed::SubprotocolInvalid { name });
        } else if self.subprotocols.len() < MAX_SUBPROTOCOLS {
            self.subprotocols.push(name);
        } else {
            self.problem.get_or_insert(Misdescribed::TooManySubprotocols);
        }
    }

    /// Returns the path patterns, taken apart.
    ///
    /// # Errors
    ///
    /// There is none, or a wrong one.
    pub fn patterns(&self) -> Result<Vec<Pattern>, Misdescribed> {
        if self.paths.is_empty() {
            return Err(Misdescribed::NoPath);
        }
        let parsed = self.paths.iter().map(|path| {
            Pattern::parse(path)
                .map_err(|error| Misdescribed::PathWrong { path: crate::text::escape(path), error })
        });
        parsed.collect()
    }

    /// Returns a router with only the paths of this channel.
    ///
    /// # Errors
    ///
    /// Every reason for which a host would not load the channel, other plugins aside.
    pub fn router(&self) -> Result<Router<()>, Misdescribed> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let mut router = Router::default();
        for pattern in self.patterns()? {
            router.insert(pattern, ()).map_err(|conflict| Misdescribed::PathClaimed {
                path: conflict.pattern,
                holder: THE_PLUGIN_ITSELF.to_owned(),
            })?;
        }
        Ok(router)
    }
}

/// The holder of a path that a plugin declares twice, in [`Misdescribed::PathClaimed`].
pub const THE_PLUGIN_ITSELF: &str = "this plugin itself, a second time";

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(paths: &[&str], subprotocols: &[&str]) -> Option<String> {
        let mut description = Description::default();
        paths.iter().for_each(|path| description.path((*path).to_owned()));
        subprotocols.iter().for_each(|name| description.subprotocol((*name).to_owned()));
        description.router().err().map(|problem| problem.to_string())
    }

    #[test]
    fn a_channel_has_a_path_and_few_of_anything() {
        assert_eq!(problem(&["/chat"], &["chat.v1"]), None);
        for (paths, subprotocols, says) in [
            (&[][..], &[][..], "it declares no path"),
            (&["/a"; 65], &[], "more than 64 paths"),
            (&["/a"], &["a"; 17], "more than 16 subprotocols"),
            (&["/a", "/b/:x", "/b/:y"], &[], "its path /b/:y is claimed already, by this plugin"),
            (&["/a", "b"], &[], "its path \"b\" is wrong: a path pattern starts with `/`"),
            (&["/a"], &["a b"], "a b is not a name for a subprotocol"),
            (&["/a"], &[""], " is not a name for a subprotocol"),
        ] {
            let said = problem(paths, subprotocols).unwrap_or_default();
            assert!(said.contains(says), "{says}: {said}");
        }
        let long = "n".repeat(256);
        let said = problem(&[&long], &[]).unwrap_or_default();
        assert!(said.ends_with("n… has 256 bytes; 255 are allowed"), "{said}");
        let said = problem(&["/a"], &[&long]).unwrap_or_default();
        assert!(said.ends_with("n… has 256 bytes; 255 are allowed"), "{said}");
    }

    #[test]
    fn the_first_problem_is_the_one_that_is_told() {
        let said = problem(&["/a"], &["a b", "c d"]).unwrap_or_default();
        assert!(said.starts_with("a b"), "{said}");
    }
}
