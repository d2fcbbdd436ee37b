//! `[access]`: who may come in, whatever their directory.

use crate::expression::Expression;

/// One of `access.rules`, checked in their order after the mapping.
#[derive(Debug, Clone)]
pub struct AccessRule {
    /// Must hold.
    pub require: Expression,
    /// What a person for whom it does not hold reads.
    pub message: Option<String>,
}
