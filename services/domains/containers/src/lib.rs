//! Pods of OCI containers: life cycle, plans and the runtime port.
