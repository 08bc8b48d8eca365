//! Path patterns, as the host matches them.

/// Path parameters by name, decoded.
pub(crate) type Params = Vec<(String, String)>;

/// The parameters of the pattern that fits `path` best: a literal segment beats `:name`, which
/// beats `*name`, from left to right. `None` where no pattern fits.
pub(crate) fn best(patterns: &[&str], path: &str) -> Option<Params> {
    let fits = patterns.iter().filter_map(|pattern| fit(pattern, path));
    fits.min_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, params)| params)
}

/// How well each segment fits, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Literal,
    Parameter,
    Rest,
}

fn fit(pattern: &str, path: &str) -> Option<(Vec<Fit>, Params)> {
    let mut segments = path.split('/');
    let (mut fits, mut params) = (Vec::new(), Vec::new());
    for part in pattern.split('/') {
        if let Some(name) = part.strip_prefix('*') {
            let rest: Vec<_> = segments.collect();
            let rest = rest.join("/");
            fits.push(Fit::Rest);
            params.push((name.to_owned(), decoded(&rest)?));
            return (!rest.is_empty()).then_some((fits, params));
        }
        let segment = segments.next()?;
        match part.strip_prefix(':') {
            Some(_) if segment.is_empty() => return None,
            Some(name) => {
                fits.push(Fit::Parameter);
                params.push((name.to_owned(), decoded(segment)?));
            }
            None if decoded(segment)? == part => fits.push(Fit::Literal),
            None => return None,
        }
    }
    segments.next().is_none().then_some((fits, params))
}

/// A segment without its percent escapes; `+` is a plus in a path.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || (rest.next()? as char).to_digit(16);
        bytes.push((digit()? << 4 | digit()?) as u8);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(patterns: &[&str], path: &str) -> Option<Vec<String>> {
        let params = best(patterns, path)?;
        Some(params.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
    }

    #[test]
    fn a_parameter_takes_exactly_one_segment() {
        let patterns = ["/chat/:room_id"];
        assert_eq!(params(&patterns, "/chat/lobby"), Some(vec!["room_id=lobby".into()]));
        assert_eq!(params(&patterns, "/chat"), None);
        assert_eq!(params(&patterns, "/chat/"), None);
        assert_eq!(params(&patterns, "/chat/lobby/"), None);
        assert_eq!(params(&patterns, "/chat/a/b"), None);
    }

    #[test]
    fn the_rest_takes_one_segment_or_more() {
        let patterns = ["/docs/*path"];
        assert_eq!(params(&patterns, "/docs/a/b"), Some(vec!["path=a/b".into()]));
        assert_eq!(params(&patterns, "/docs/"), None);
        assert_eq!(params(&patterns, "/docs"), None);
    }

    #[test]
    fn literal_segments_beat_parameters_which_beat_the_rest() {
        let patterns = ["/*rest", "/chat/:room", "/chat/lobby"];
        assert_eq!(params(&patterns, "/chat/lobby"), Some(vec![]));
        assert_eq!(params(&patterns, "/chat/other"), Some(vec!["room=other".into()]));
        assert_eq!(params(&patterns, "/news"), Some(vec!["rest=news".into()]));
    }

    #[test]
    fn values_are_decoded_and_an_escaped_slash_is_part_of_its_segment() {
        assert_eq!(params(&["/r/:name"], "/r/a%2Fb%20c+d"), Some(vec!["name=a/b c+d".into()]));
        assert_eq!(params(&["/r/:name"], "/r/%zz"), None);
        assert_eq!(params(&["/r/:name"], "/r/%ff"), None);
    }
}
