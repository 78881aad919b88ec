//! To be filled: catalog.
