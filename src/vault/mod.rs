//! To be filled: vault.
