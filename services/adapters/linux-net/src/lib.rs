//! Links, addresses, bridges, namespaces, nftables, DHCP client and dnsmasq on Linux.
