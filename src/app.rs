//! To be filled: app.
