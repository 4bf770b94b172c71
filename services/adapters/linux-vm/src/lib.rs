//! Virtual machines through libvirt.
