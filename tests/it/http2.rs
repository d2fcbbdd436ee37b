//! HTTP/2 towards browsers: streams, their limits and their end.
