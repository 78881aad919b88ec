//! To be filled: telemetry.
