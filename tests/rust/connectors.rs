//! Documents in, operations and requests out.

pub(crate) mod documents;
