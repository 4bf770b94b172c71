//! systemd, the machine's facts from /sys, DMI and /proc, power and logs.
