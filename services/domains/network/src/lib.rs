//! Networks, ports, uplinks and forwards: rules, plans and the ports to the machine.
