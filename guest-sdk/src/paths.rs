//! Path patterns, as far as the compiler can check them.

/// Checks [`Channel::PATHS`](crate::Channel::PATHS) when the plugin is compiled, for mistakes that
/// every host would refuse. The host checks again, and knows more: for one, if two patterns are the
/// same.
#[doc(hidden)]
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
