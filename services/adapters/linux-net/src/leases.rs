//! Leases of guests that are gone: dnsmasq is told that they are given back.
//!
//! A guest that is deleted gives nothing back, and dnsmasq keeps its address for it until the lease ends. The next guest
//! with that address would get none until then ("not using configured address ... because it is leased to ..."). So the
//! node gives it back for the one that is gone, as RFC 2131 (4.4.6) has a client do it. Addresses are given by ports
//! alone; nothing here decides who has which.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{setsockopt, sockopt::BindToDevice};
use tokio::net::UdpSocket;
use tokio::time::sleep;

use crate::files;

/// Where DHCP servers listen.
const SERVER_PORT: u16 = 67;
/// How often it is said, since nobody answers: the file of leases tells whether it was heard.
const TRIES: u32 = 8;
/// Between two of these.
const PAUSE: Duration = Duration::from_millis(250);
/// Least size of a message in bytes (RFC 1542, 2.1).
const LEAST_SIZE: usize = 300;

/// An address and who has it, by Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    mac: [u8; 6],
    address: Ipv4Addr,
}

/// Gives back what those have leased who stand in no line of `hosts`. What cannot be given back ends by itself within the
/// time of a lease, and is no reason to keep others from their network.
pub async fn give_back(bridge: &str, leases: &Path, hosts: &str) {
    // Once more than it is said, to see whether the last time was heard.
    for tried in 0..=TRIES {
        let text = match files::read(leases) {
            Ok(text) => text.unwrap_or_default(),
            Err(error) => return tracing::warn!(bridge, %error, "leases could not be read"),
        };
        let gone = of_nobody(&text, hosts);
        if gone.is_empty() {
            return;
        }
        if tried == TRIES {
            break;
        }
        if let Err(error) = say(bridge, &gone).await {
            tracing::warn!(bridge, %error, "leases of guests that are gone were not given back");
            return;
        }
        sleep(PAUSE).await;
    }
    tracing::warn!(bridge, "the DHCP server keeps leases of guests that are gone until they end");
}

/// Leases in dnsmasq's own file, one a line: end, Ethernet address, address, name and client id.
fn of_nobody(leases: &str, hosts: &str) -> Vec<Lease> {
    let hosts = hosts.to_ascii_lowercase();
    let known = |mac: &str, address: Ipv4Addr| {
        let (start, inside) = (format!("{mac},"), format!(",{address},"));
        hosts.lines().any(|line| line.starts_with(&start) && line.contains(&inside))
    };
    let read = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (mac, address) = (words.next()?.to_ascii_lowercase(), words.next()?.parse().ok()?);
        (!known(&mac, address)).then_some(Lease { mac: bytes(&mac)?, address })
    };
    leases.lines().filter_map(read).collect()
}

fn bytes(mac: &str) -> Option<[u8; 6]> {
    let parts: Option<Vec<u8>> =
        mac.split(':').map(|part| u8::from_str_radix(part, 16).ok()).collect();
    parts?.try_into().ok()
}

/// The node speaks to itself, through the bridge: dnsmasq goes by the interface that a message comes in on.
async fn say(bridge: &str, gone: &[Lease]) -> io::Result<()> {
    let server = address_of(bridge)?;
    let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)).await?;
    setsockopt(&socket, BindToDevice, &bridge.into())?;
    for lease in gone {
        socket.send_to(&release(*lease, server), SocketAddrV4::new(server, SERVER_PORT)).await?;
    }
    Ok(())
}

fn address_of(bridge: &str) -> io::Result<Ipv4Addr> {
    let own = getifaddrs()?.filter(|found| found.interface_name == bridge);
    let mut addresses = own.filter_map(|found| Some(found.address?.as_sockaddr_in()?.ip()));
    let none = || io::Error::new(io::ErrorKind::AddrNotAvailable, "the bridge has no address");
    addresses.next().ok_or_else(none)
}

/// DHCPRELEASE (RFC 2131, tables 1 and 5).
fn release(lease: Lease, server: Ipv4Addr) -> Vec<u8> {
    // A request, over Ethernet, of addresses of six bytes.
    let mut message = vec![1, 1, 6, 0];
    // Transaction, seconds and flags mean nothing here.
    message.resize(12, 0);
    message.extend(lease.address.octets());
    message.resize(28, 0);
    message.extend(lease.mac);
    // What is left of the hardware's address, server and file.
    message.resize(236, 0);
    message.extend([99, 130, 83, 99]);
    message.extend([53, 1, 7, 54, 4]);
    message.extend(server.octets());
    message.push(255);
    message.resize(LEAST_SIZE, 0);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &str = "02:00:00:00:00:0A,id:*,10.88.0.2,web,1h\n\
                         02:00:00:00:00:02,id:*,10.88.0.3,db,1h\n";

    #[test]
    fn what_no_port_has_is_given_back_and_nothing_else() {
        let leases = "1790000000 02:00:00:00:00:0a 10.88.0.2 web 01:02:00:00:00:00:0a\n\
                      1790000000 02:00:00:00:00:07 10.88.0.3 old *\n\
                      1790000000 02:00:00:00:00:02 10.88.0.9 db *\n\
                      duid 00:01:00:01\nodd\n\
                      1790000000 7 fe80::1 six *\n";
        let lease = |last, host| Lease {
            mac: [2, 0, 0, 0, 0, last],
            address: Ipv4Addr::new(10, 88, 0, host),
        };
        assert_eq!(of_nobody(leases, HOSTS), [lease(7, 3), lease(2, 9)]);
        assert_eq!(of_nobody("", HOSTS), []);
        assert_eq!(of_nobody(leases, "").len(), 3);
    }

    #[test]
    fn the_message_is_as_the_standard_has_it() {
        let lease = Lease { mac: [2, 0, 0, 0, 0, 7], address: Ipv4Addr::new(10, 88, 0, 3) };
        let message = release(lease, Ipv4Addr::new(10, 88, 0, 1));
        assert_eq!(message.len(), 300);
        assert_eq!(message[..4], [1, 1, 6, 0]);
        assert_eq!(message[12..16], [10, 88, 0, 3]);
        assert_eq!(message[28..34], [2, 0, 0, 0, 0, 7]);
        assert_eq!(message[236..251], [99, 130, 83, 99, 53, 1, 7, 54, 4, 10, 88, 0, 1, 255, 0]);
    }
}
