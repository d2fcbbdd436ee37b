//! From session claims to user fields, by a directory's mapping. Compiled once when the file is
//! read; `explain` tells every step, and applying a mapping is its result, so both always agree.

use crate::config::{self, Missing, Sync, UserField};
use crate::oidc::ClaimSet;

/// A directory's compiled mapping.
#[derive(Debug, Clone)]
pub struct Mapping {}

/// What a mapping makes of a claim set, field by field, in the file's order.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// One entry a mapped field.
    pub fields: Vec<MappedField>,
}

/// One mapped field.
#[derive(Debug, Clone)]
pub struct MappedField {
    /// Which field.
    pub field: UserField,
    /// The value; `None` is missing; an error says expected and found, never the value.
    pub value: Result<Option<String>, String>,
    /// The claim it came from; `None` for a constant or when none was present.
    pub claim: Option<String>,
    /// When it is written.
    pub sync: Sync,
    /// What it does when missing.
    pub missing: Missing,
}

impl Mapping {
    /// Compiles a directory's mapping.
    pub fn new(_directory: &config::Directory) -> Self {
        todo!()
    }

    /// Maps a claim set.
    pub fn explain(&self, _claims: &ClaimSet) -> Explanation {
        todo!()
    }
}
