//! stub

pub mod page;
