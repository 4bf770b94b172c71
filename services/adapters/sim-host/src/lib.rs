//! A simulated machine that implements every port, with faults and virtual time.
