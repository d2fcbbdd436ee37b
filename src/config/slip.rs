//! What an unknown name was probably meant to be, or where it would be known.

use super::keys::KEYS;

pub(super) use crate::spelling::nearest;

/// The tables that have a key of that name, as the file writes their headers.
pub(super) fn elsewhere(name: &str) -> Option<String> {
    let homes: Vec<String> = KEYS
        .iter()
        .filter_map(|key| key.path.strip_suffix(name)?.strip_suffix('.'))
        .filter(|parent| !parent.contains('*'))
        .map(|parent| match parent.strip_suffix("[]") {
            Some(list) => format!("[[{}]]", list.replace("[]", "")),
            None => format!("[{}]", parent.replace("[]", "")),
        })
        .collect();
    (!homes.is_empty()).then(|| homes.join(" or "))
}
