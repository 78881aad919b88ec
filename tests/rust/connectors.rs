//! Documents in, operations and requests out.

mod documents;
