//! Names that were mistyped.

/// Returns the question for the name that was probably meant, if one of these is near.
pub fn suggestion(text: &str, names: &[&str]) -> Option<String> {
    let nearest = names.iter().min_by_key(|known| distance(known, text))?;
    (distance(nearest, text) <= 3).then(|| format!("did you mean `{nearest}`?"))
}

/// Returns the number of letters that must be added, removed or replaced to make one name of the
/// other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}
