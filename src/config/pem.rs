//! The blocks of a PEM file (RFC 7468 2), by what they say they hold: a file is refused by that name.

/// One block.
pub(super) struct Block<'p> {
    /// Such as `PRIVATE KEY`.
    pub(super) label: &'p str,
    /// From `-----BEGIN` on to its end.
    pub(super) text: &'p str,
}

const BEGIN: &str = "-----BEGIN ";

/// Every block of the file; none where it is no PEM. Comments between them are skipped.
pub(super) fn blocks(bytes: &[u8]) -> impl Iterator<Item = Block<'_>> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let starts = text.match_indices(BEGIN).map(|(start, _)| start);
    starts.filter_map(|start| {
        let text = &text[start..];
        let (label, rest) = text[BEGIN.len()..].split_once("-----")?;
        let body = rest.find(BEGIN).unwrap_or(rest.len());
        let end = BEGIN.len() + label.len() + "-----".len() + body;
        // A label is shown to the operator; anything longer is not one.
        (label.len() <= 40).then_some(Block {
            label,
            text: &text[..end],
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_told_apart_whatever_stands_between_them() {
        let file = "Bag Attributes\n-----BEGIN A-----\nYQ==\n-----END A-----\n# x\n-----BEGIN B-----\r\nYg==\r\n";
        let found: Vec<_> = blocks(file.as_bytes()).collect();
        let labels: Vec<_> = found.iter().map(|block| block.label).collect();
        assert_eq!(labels, ["A", "B"]);
        assert!(found[0].text.contains("-----END A-----"));
        assert!(!found[0].text.contains("BEGIN B"));
        assert!(found[1].text.starts_with("-----BEGIN B-----"));
        for none in ["", "-----BEGIN ", "-----BEGIN X", "\u{fffd}", "x-----"] {
            assert_eq!(blocks(none.as_bytes()).count(), 0, "{none}");
        }
        assert_eq!(blocks(&[0xff, 0xfe]).count(), 0);
    }
}
