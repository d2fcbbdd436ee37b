//! A room imports the type handed to it, never the room it hands to: a module imports only what stands
//! above it in the list of `src/lib.rs`, lower ranks first.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Every module with its place in the list of `src/lib.rs`.
fn places() -> BTreeMap<String, usize> {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    let modules = text
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    modules
        .enumerate()
        .map(|(place, module)| (module.to_owned(), place))
        .collect()
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => sources(&path, into),
            false if path.extension().is_some_and(|extension| extension == "rs") => into.push(path),
            false => {}
        }
    }
}

/// The crate's modules that a text names, as `crate::name` or in a `crate::{…}` group.
fn named(text: &str) -> Vec<String> {
    let word = |rest: &str| {
        rest.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect::<String>()
    };
    let mut modules = Vec::new();
    for rest in text.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => {
                let group = &group[..group.find('}').unwrap_or(group.len())];
                modules.extend(group.split(',').map(|name| word(name.trim())));
            }
            None => modules.push(word(rest)),
        }
    }
    modules
}

#[test]
fn modules_import_only_what_stands_above_them() {
    let places = places();
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    let (mut seen, mut wrong) = (0, Vec::new());
    for file in files {
        let relative = file.strip_prefix("src").unwrap().to_str().unwrap();
        let module = relative.split(['/', '.']).next().unwrap();
        let Some(own) = places.get(module) else {
            assert!(
                matches!(relative, "lib.rs" | "main.rs"),
                "{relative} belongs to no module of lib.rs"
            );
            continue;
        };
        let text = fs::read_to_string(&file).unwrap();
        // Unit tests may look wherever they like.
        let text = text.split("#[cfg(test)]").next().unwrap();
        for name in named(text).iter().filter(|name| *name != module) {
            let Some(place) = places.get(name) else {
                continue;
            };
            seen += 1;
            if place > own {
                wrong.push(format!("{relative} imports {name}, which stands below it"));
            }
        }
    }
    assert!(
        seen > 50,
        "only {seen} imports were found: the test looks in the wrong place"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The list itself goes by the ranks of its comments.
#[test]
fn ranks_are_listed_in_order() {
    let text = fs::read_to_string("src/lib.rs").unwrap();
    let ranks: Vec<u32> = text
        .lines()
        .filter_map(|line| line.strip_prefix("// Rank ")?.parse().ok())
        .collect();
    assert_eq!(ranks, (0..=9).collect::<Vec<_>>());
}
