//! The raw TOML shape.

/// stub
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {}
/// stub
#[derive(Debug)]
pub struct Faults {}
/// stub
#[derive(Debug)]
pub struct Key {}
/// stub
pub const KEYS: &[Key] = &[];
