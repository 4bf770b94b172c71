//! Node facts, inventory, first boot and power actions.
