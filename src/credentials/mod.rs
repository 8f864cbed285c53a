//! Credentials: key ring and envelope.
