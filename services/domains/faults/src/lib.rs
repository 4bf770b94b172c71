//! The alarm catalogue and the rules of raising and clearing alarms.
