//! Containers through crun under transient systemd units.
