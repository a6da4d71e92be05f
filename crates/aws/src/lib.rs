//! AWS client configuration, identity and error classification.
