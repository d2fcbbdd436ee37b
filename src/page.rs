//! stub: layout of every page, and the reader's language
