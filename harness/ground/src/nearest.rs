//! The word that was probably meant.

/// Returns the word among `known` that `word` was probably meant to be: one slip of the finger for a short one, three for
/// a long one.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = match word.len() {
        0..=3 => 1,
        4..=8 => 2,
        _ => 3,
    };
    let known = known.into_iter();
    let scored = known.map(|name| (strsim::osa_distance(word, name), name));
    let best = scored.min_by_key(|(distance, _)| *distance);
    best.filter(|(distance, _)| *distance <= limit)
        .map(|(_, name)| name)
}
