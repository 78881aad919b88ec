//! To be filled: identity.
