//! OAuth 2 client credentials.
