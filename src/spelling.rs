//! What a misspelt name was probably meant to be. Stands apart because the configuration's keys and the names of
//! its expressions both ask.

/// The name among `known` that `name` is probably a slip of.
pub fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let allowed = (name.chars().count() / 3).clamp(1, 3);
    known
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Edits between two names, a swap of neighbours being one (optimal string alignment); ASCII case
/// and `-` for `_` are none.
fn distance(a: &str, b: &str) -> usize {
    let fold = |c: char| match c {
        '-' => '_',
        c => c.to_ascii_lowercase(),
    };
    // Names are short; a long one is no slip of any.
    let a: Vec<char> = a.chars().take(64).map(fold).collect();
    let b: Vec<char> = b.chars().map(fold).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, d) in b.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, c) in a.iter().enumerate() {
            let replaced = row[j] + usize::from(c != d);
            let mut least = replaced.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *c == b[i - 1] && a[j - 1] == *d {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[a.len()]
}
