//! Usernames as coarsely as an application's database may compare them.
//!
//! Two usernames with one skeleton are one username: accent- and case-insensitive collations, as
//! WorkflowGen's SQL Server has them, would let one of two people in as the other.

use std::fmt;

use icu_casemap::CaseMapper;
use icu_normalizer::DecomposingNormalizer;
use icu_properties::props::{
    BidiControl, DefaultIgnorableCodePoint, GeneralCategory, GeneralCategoryGroup,
};
use icu_properties::{CodePointMapData, CodePointSetData};

/// A username under NFKD, without marks and invisible characters, case folded in full, without outer
/// spaces and with single inner ones.
///
/// Marks go before folding, as those collations do: `ᾳ` is `α` here. Characters that show nothing
/// (joiners, soft hyphens, variation selectors: Default_Ignorable_Code_Point) weigh nothing there,
/// so they are left out too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Skeleton(String);

impl Skeleton {
    /// The skeleton of a username.
    pub fn of(username: &str) -> Self {
        let mut skeleton = coarser(username);
        // Folding may compose what decomposes again. Nothing known needs a third round; the bound
        // is for tables of a later Unicode.
        for _ in 0..4 {
            let next = coarser(&skeleton);
            if next == skeleton {
                break;
            }
            skeleton = next;
        }
        Self(skeleton)
    }

    /// The skeleton's text; never shown to people.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether nothing is left: such a name names nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Skeleton {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn coarser(text: &str) -> String {
    let marks = CodePointMapData::<GeneralCategory>::new();
    let invisible = CodePointSetData::new::<DefaultIgnorableCodePoint>();
    let bare: String = DecomposingNormalizer::new_nfkd()
        .normalize(text)
        .chars()
        .filter(|c| !GeneralCategoryGroup::Mark.contains(marks.get(*c)) && !invisible.contains(*c))
        .collect();
    let folded = CaseMapper::new().fold_string(&bare);
    let words: Vec<&str> = folded.split_whitespace().collect();
    words.join(" ")
}

/// The first kind of character in `username` that no username may have; `None` if it is well.
///
/// Control and unassigned characters, and those that reorder or break the line the name is shown
/// in (bidirectional controls, line and paragraph separators): an administrator would see another
/// name than the one that is stored. Spaces are allowed.
pub fn forbidden_character(username: &str) -> Option<&'static str> {
    let categories = CodePointMapData::<GeneralCategory>::new();
    let bidi = CodePointSetData::new::<BidiControl>();
    username.chars().find_map(|c| match categories.get(c) {
        GeneralCategory::Control => Some("a control character"),
        GeneralCategory::Unassigned | GeneralCategory::Surrogate => Some("an unassigned character"),
        GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => {
            Some("a line separator")
        }
        _ if bidi.contains(c) => Some("a character that reorders text"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(one: &str, other: &str) -> bool {
        Skeleton::of(one) == Skeleton::of(other)
    }

    #[test]
    fn compares_as_coarsely_as_a_database_may() {
        assert!(same("Alice", "aLICE"));
        assert!(same("José", "jose"));
        assert!(same("Jose\u{301}", "José"));
        assert!(same("straße", "STRASSE"));
        assert!(same("ﬁona", "FIONA"));
        assert!(same("ａｌｉｃｅ", "alice"));
        assert!(same("  john \u{a0}  smith ", "John Smith"));
        assert!(same("al\u{ad}i\u{200d}ce", "alice"));
        assert!(same("ΣΊΣΥΦΟΣ", "σίσυφος"));
        assert!(same("İstanbul", "istanbul"));
        assert!(!same("alice", "alise"));
        assert!(!same("john smith", "johnsmith"));
        assert!(!same(r"DOMAIN\alice", "alice"));
        assert!(Skeleton::of(" \u{301}\u{200b} ").is_empty());
    }

    #[test]
    fn every_character_has_a_skeleton_that_stays() {
        let categories = CodePointMapData::<GeneralCategory>::new();
        let empty = [GeneralCategory::Unassigned, GeneralCategory::PrivateUse];
        let assigned = |c: &char| !empty.contains(&categories.get(*c));
        let all = (0..=u32::from(char::MAX)).filter_map(char::from_u32);
        for c in all.filter(assigned) {
            let once = coarser(&coarser(&coarser(&coarser(&format!("a{c}")))));
            assert_eq!(coarser(&once), once, "U+{:04X}", u32::from(c));
        }
    }

    #[test]
    fn refuses_what_hides_in_a_name_and_nothing_else() {
        for bad in [
            "al\0ice",
            "alice\n",
            "al\u{7f}",
            "al\u{85}",
            "al\u{378}",
            "al\u{202e}ice",
            "al\u{2028}",
        ] {
            assert!(forbidden_character(bad).is_some(), "{bad:?}");
        }
        for good in [
            "john smith",
            "o'brien",
            "a@b.example",
            r"DOMAIN\alice",
            "Jörg",
            "山田 太郎",
            "می\u{200c}نا",
            "%41",
        ] {
            assert_eq!(forbidden_character(good), None, "{good:?}");
        }
    }

    proptest! {
        #[test]
        fn is_idempotent(name in "\\PC{0,40}") {
            let once = Skeleton::of(&name);
            prop_assert_eq!(Skeleton::of(once.as_str()), once);
        }

        #[test]
        fn ignores_simple_case(name in "[\\p{Latin}\\p{Greek}\\p{Cyrillic}]{0,40}") {
            let mapper = CaseMapper::new();
            let upper: String = name.chars().map(|c| mapper.simple_uppercase(c)).collect();
            let lower: String = name.chars().map(|c| mapper.simple_lowercase(c)).collect();
            // Dotless i is another letter than i, though its capital is I.
            prop_assume!(!name.contains('ı'));
            prop_assert!(same(&name, &upper));
            prop_assert!(same(&name, &lower));
        }

        #[test]
        fn equals_its_compatible_forms(name in "\\PC{0,40}") {
            let decomposed = DecomposingNormalizer::new_nfkd().normalize(&name).into_owned();
            let composed = icu_normalizer::ComposingNormalizer::new_nfkc().normalize(&name).into_owned();
            prop_assert!(same(&name, &decomposed));
            prop_assert!(same(&name, &composed));
        }

        #[test]
        fn ignores_outer_and_repeated_spaces(one in "[a-z]{1,9}", other in "[a-z]{1,9}", run in "[ \u{a0}\u{3000}]{1,5}") {
            let spaced = format!("{run}{one}{run}{other}{run}");
            let plain = format!("{one} {other}");
            prop_assert!(same(&spaced, &plain));
        }
    }
}
