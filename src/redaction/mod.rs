//! To be filled: redaction.
