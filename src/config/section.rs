//! The sections of the file as validated values, one file a section.

mod access;
mod directory;
mod field;
mod issuer;
mod provider;
mod push;
mod route;
mod server;
mod session;
mod upstream;

use super::Secret;

pub use access::*;
pub use directory::*;
pub use field::UserField;
pub use issuer::*;
pub use provider::*;
pub use push::*;
pub use route::*;
pub use server::*;
pub use session::*;
pub use upstream::*;
