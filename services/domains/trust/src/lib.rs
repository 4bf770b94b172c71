//! Node identity, claim, users, roles, tokens and rate limits.
