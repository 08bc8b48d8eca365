//! Path patterns, as far as the compiler can check them.

/// Checks [`Channel::PATHS`](crate::Channel::PATHS) when the plugin is compiled, for mistakes that
/// every host would refuse. The host checks again, and knows more: for one, if two patterns are the
/// same.
#[doc(hidden)]
#[expect(
    clippy::indexing_slicing,
    reason = "it runs in the compiler, where slices have no iterators"
)]
pub const fn check_paths(paths: &[&str]) {
    assert!(!paths.is_empty(), "PATHS is empty: a channel needs a path such as \"/chat/:room_id\"");
    assert!(paths.len() <= 64, "PATHS has more than 64 patterns");
    let mut number = 0;
    while number < paths.len() {
        let path = paths[number].as_bytes();
        assert!(path.len() <= 255, "a pattern in PATHS is longer than 255 bytes");
        assert!(!path.is_empty() && path[0] == b'/', "a pattern in PATHS must begin with `/`");
        let mut at = 1;
        while at < path.len() {
            let is_start = path[at - 1] == b'/';
            if is_start && (path[at] == b':' || path[at] == b'*') {
                assert!(
                    at + 1 < path.len() && path[at + 1] != b'/',
                    "a parameter in PATHS has no name: write `:name` or `*name`"
                );
            }
            if is_start && path[at] == b'*' {
                let mut rest = at + 1;
                while rest < path.len() {
                    assert!(path[rest] != b'/', "in PATHS `*name` must be the last segment");
                    rest += 1;
                }
            }
            at += 1;
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use wharf_contract::description::{Description, MAX_PATHS};
    use wharf_contract::pattern::MAX_PATTERN_BYTES;

    use super::check_paths;

    /// Returns whether the compiler would refuse these paths, and whether a host would.
    fn refused(paths: &[&str]) -> (bool, bool) {
        let mut description = Description::default();
        paths.iter().for_each(|path| description.path((*path).to_owned()));
        (catch_unwind(|| check_paths(paths)).is_err(), description.router().is_err())
    }

    #[test]
    fn the_compiler_refuses_nothing_that_a_host_would_load() {
        let names: Vec<String> = (0..=MAX_PATHS).map(|number| format!("/{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let long = format!("/{}", "a".repeat(MAX_PATTERN_BYTES));
        let longest = long.split_at(MAX_PATTERN_BYTES).0;
        for refused_by_both in
            [&[][..], &[""], &["chat"], &["/:"], &["/a/:/b"], &["/*rest/b"], &[&long], &names]
        {
            assert_eq!(refused(refused_by_both), (true, true), "{refused_by_both:?}");
        }
        for taken in
            [&["/"][..], &["/chat/:room_id", "/chat"], &["/a/*rest"], &[longest], &names[1..]]
        {
            assert_eq!(refused(taken), (false, false), "{taken:?}");
        }
    }
}
