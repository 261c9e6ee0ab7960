//! "Did you mean": the known name that is closest to a mistyped one.

/// Returns the remedy for an unknown name: the closest known one, or all of them.
pub(crate) fn remedy<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    match closest(unknown, &known) {
        Some(name) => format!("did you mean {name}?"),
        None if known.is_empty() => "remove it".to_owned(),
        None => format!("use one of {}", known.join(", ")),
    }
}

/// Returns the known name that a mistyped one is most like, if it is like one at all.
pub(crate) fn closest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let wanted = plain(unknown);
    let allowed = (wanted.chars().count() / 3).clamp(1, 4);
    let mut best: Option<(usize, &str)> = None;
    for &name in known {
        let distance = strsim::damerau_levenshtein(&wanted, &plain(name));
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, name));
        }
    }
    best.map(|(_, name)| name)
}

/// Case, dashes and underscores are what people mix up most.
fn plain(name: &str) -> String {
    name.chars().take(64).filter(|character| !matches!(character, '-' | '_')).flat_map(char::to_lowercase).collect()
}
