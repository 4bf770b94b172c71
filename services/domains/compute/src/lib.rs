//! Virtual machines: life cycle, plans and the hypervisor port.
