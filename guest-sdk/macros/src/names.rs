//! Names that were mistyped.

use wharf_contract::names::distance;

/// Returns the question for the name that was probably meant, if one of these is near.
pub fn suggestion(text: &str, names: &[&str]) -> Option<String> {
    let nearest = names.iter().min_by_key(|known| distance(known, text))?;
    (distance(nearest, text) <= 3).then(|| format!("did you mean `{nearest}`?"))
}
